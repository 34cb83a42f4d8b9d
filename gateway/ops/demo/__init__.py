"""``gateway demo``: the main job, shown on one machine with nothing but Python.

A development token issuer (issuer), an embedded broker (broker, or cluster), the gateway itself as a process
over TLS (process), and a real client library through it (client). steps shows five things beside the gateway's own
audit lines; paste prints settings for other clients. Everything lives in one folder that is removed at the end.
"""
