"""A security gateway for Apache Kafka, Apache Pulsar and Amazon Kinesis.

The life of a frame
-------------------

    client <-> edge.listener -> edge.tls -> edge.pump <-> <protocol>.session <-> edge.upstream <-> broker
                                               |
                                    actions -> rights (core.policy) -> decision
                                               |
                                          audit event -> edge.audit -> log, metrics, detection

Bytes come in. The *session* of a protocol splits them into frames, turns a frame into *actions* (an operation
on a resource), asks the principal's *rights* for a *decision* and leaves *effects*: forward these bytes, answer
these, ask for an outside fact, mute, close with a reason. The *pump* performs effects. Nothing is forwarded
that was not decided, and no `await` stands between a decision and its effect.

Glossary
--------

principal   who acts: (method, issuer, name). ``alice`` of one issuer is not ``alice`` of another.
identity    a principal with what was proven about it: claims, certificate, address, the end of its validity.
issuer      an authority whose tokens are believed, named in the configuration.
backend     one upstream cluster. Policies, caches and topic ids are scoped by backend.
listener    where clients of one backend connect: addresses, TLS, authentication.
upstream    the connection to a broker that belongs to one client connection.
resource    (kind, name): what is acted upon, e.g. (topic, payments.orders). Kinds belong to a system.
operation   a system's own word for an action, e.g. Kafka's ``Read``; a *verb* is the policy file's word for some.
role        rules (allow or deny) with a name; a *binding* gives roles to principals.
rights      what one identity may do on one backend under one policy revision.
decision    allowed or not, by which rule, and why.
reason      a stable code that says why something was refused, throttled or closed (docs/reasons.md).
revision    one immutable set of policy files, named by its digest.

Rooms, imports pointing one way (upwards in this list)
------------------------------------------------------

core      decisions: no I/O, no clock, no protocol
wire      bytes: bounds-checked cursor, length-prefixed splitter
http      I/O-free HTTP
kafka, pulsar, kinesis    one folder per protocol; they do not import each other
edge      every socket, timer and task
ops       what an operator touches: composition root, CLI, configuration files, admin port, metrics
"""

__version__ = "0.1.0"
