"""Every offered API and version, beside a real broker's own authorizer.

The same request goes once straight to the broker as a principal with ACLs, and once through the engine with rights of
equal meaning to the same broker as a super user. The two answers must be the same. What may differ, and why, stands
with its case; the result is written to docs/kafka-apis.md (`python -m tests.equivalence` writes it anew).

wire         connections to the broker that speak the codec's bodies
acls         ACLs as the broker takes them, and the same as rights of a view
world        the broker with its topics, groups and principals
gateway      a tiny driver that performs the engine's plans
cases        requests: for each API, what is asked
compare      what is made equal before two answers are compared
asking       a case asked twice
matrix       the document
"""
