"""Pulsar's HTTP interface: lookup and admin REST, for listeners of ``protocol: pulsar-http``.

session (requests in, answers out) -> login (whose request it is) -> gateway.pulsar.rest (what becomes of it) -> calls
(the request written anew, for a broker) -> answers (what the client gets). HTTP itself is gateway.http's.
"""
