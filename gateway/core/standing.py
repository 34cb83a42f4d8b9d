"""Whether what a connection proved when it began would be believed under the configuration as it is now.

Asked by ops.reload about every open connection when the configuration has changed. A token itself is not kept, only
what it claimed: its issuer, audience, lifetime and principal are looked at again, its algorithm and type are not, until
it is renewed. A certificate counts as long as its listener asks for certificates, and calls its CA by the same name.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.core.identity import Identity
from gateway.core.settings import Issuer, Listener
from gateway.core.tokens.checks import CLAIM_CHECKS
from gateway.core.tokens.parts import Parts

_AGAIN = tuple(check for name, check in CLAIM_CHECKS if name in ("audience", "lifetime", "principal"))


def no_longer_believed(identity: Identity, listener: Listener, issuers: Sequence[Issuer], wall: float) -> str:
    """Why the connection may not go on, in words for the audit; "" if it may."""
    principal = identity.principal
    if principal.method == "certificate":
        if listener.tls.client_certificate == "none":
            return f"listener {listener.name} asks for no client certificates any more"
        if listener.tls.client_ca_name != principal.issuer:
            return f"the CA {principal.issuer} is called {listener.tls.client_ca_name} now"
        return ""
    taken = [each for each in issuers if each.name == principal.issuer and each.name in listener.authentication.issuers]
    if not taken:
        return f"tokens of issuer {principal.issuer} are not taken on listener {listener.name} any more"
    return _not_taken(identity, taken[0], wall)


def _not_taken(identity: Identity, issuer: Issuer, wall: float) -> str:
    if identity.claims.get("iss") != issuer.issuer:
        return f"issuer {issuer.name} has another iss now"
    parts = Parts({}, identity.claims, b"", b"")
    for check in _AGAIN:
        refused = check(issuer, parts, wall)
        if refused is not None:
            return f"issuer {issuer.name}: {refused.reason.code} ({refused.detail})"
    if identity.claims.get(issuer.principal_claim) != identity.principal.name:
        return f"issuer {issuer.name} names its principals by {issuer.principal_claim} now"
    return ""
