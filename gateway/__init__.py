"""A security gateway for Apache Kafka, Apache Pulsar and Amazon Kinesis.

The life of a frame
-------------------

    client <-> edge.listener, edge.arrival -> edge.pump <-> <protocol>.session <-> edge.upstream <-> broker
                (accept, TLS handshake)                          |
                                              request -> rights (core.policy) -> plan
                                                                 |
                                                  audit event -> edge.audit -> log

Bytes come in. The *session* of a protocol splits them into frames, decodes those that have to be looked at, asks the
principal's *rights* for a *decision* on each action (an operation on a resource), makes a *plan* of the decisions, and
leaves *effects*: forward these bytes, answer these, ask for an outside fact, mute, close with a reason. The *pump*
performs effects. Nothing is forwarded that was not decided, and no `await` stands between a decision and its effect.

In Kafka's room the way of a request is session -> traffic -> (produce_fetch, the fast path, or codec -> authorize over
table) -> plan; that of an answer is session -> relay -> (walk, or codec -> the plan's finish).

In Pulsar's room a client's command goes session -> commands -> traffic (authorize over table; handles), a broker's
session -> commands -> relay. A request of its HTTP interface goes http -> web.session -> rest -> web.serving.

Glossary
--------

principal   who acts: (method, issuer, name). ``alice`` of one issuer is not ``alice`` of another.
identity    a principal with what was proven about it: claims, certificate, address, the end of its validity.
issuer      an authority whose tokens are believed, named in the configuration.
backend     one upstream cluster. Policies, caches and topic ids are scoped by backend.
listener    where clients of one backend connect: addresses, TLS, authentication.
upstream    the connection to a broker that belongs to one client connection.
control     the gateway's own connection to a backend, which learns its brokers, versions and topics.
resource    (kind, name): what is acted upon, e.g. (topic, payments.orders). Kinds belong to a system.
operation   a system's own word for an action, e.g. Kafka's ``Read``; a *verb* is the policy file's word for some.
role        rules (allow or deny) with a name; a *binding* gives roles to principals.
rights      what one identity may do on one backend under one policy revision.
decision    allowed or not, by which rule, and why. A denial in the audit has an id, which explains it later.
plan        what becomes of one request: forward (as it is, or in part), answer, wait for a fact, or refuse.
fact        what a session has to know from outside, and *asks* for: an issuer's keys, what a topic is called.
quota       what one principal may use; its *account* is what it has used, over all its connections.
reason      a stable code that says why something was refused, throttled or closed (docs/reasons.md).
revision    one immutable set of policy files, named by its digest.

Rooms, imports pointing one way (upwards in this list) and never in a circle; a tool checks both
------------------------------------------------------------------------------------------------

core      decisions: no I/O, no clock, no protocol
wire      bytes that are no protocol's own, read within bounds
http      I/O-free HTTP/1.1 and HTTP/2: requests in, answers out, each with one reading
kafka, pulsar, kinesis    one folder per protocol; they do not import each other. Kinesis: a vocabulary so far
edge      every socket, timer and task
ops       what an operator touches: composition root, CLI, configuration files, admin port, metrics
"""

__version__ = "0.1.0"
