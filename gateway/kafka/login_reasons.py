"""Why the gateway's own account could not be proven to a broker."""

from __future__ import annotations

from gateway.core.reasons import reason

_ENDED = "The connection ends; clients retry."

ACCOUNT_REFUSED = reason(
    "account-refused",
    cause="The broker refused the gateway's own account: wrong user, password or token.",
    client_sees=_ENDED,
    remedy="Compare backends[].account with the broker's credentials; a changed file is read by itself.",
)
ACCOUNT_MECHANISM = reason(
    "account-mechanism-refused",
    cause="The broker does not offer the SASL mechanism of the gateway's own account, or no SASL at all.",
    client_sees=_ENDED,
    remedy="The detail lists the broker's mechanisms: see sasl.enabled.mechanisms and the port of its listener.",
)
SERVER_UNPROVEN = reason(
    "account-server-unproven",
    cause="In SCRAM the broker did not prove that it knows the account: nonce, iterations or signature are wrong.",
    client_sees=_ENDED,
    remedy="Whoever answered is not the broker, or it is damaged. The password was not disclosed; find out who it is.",
)
ACCOUNT_PROTOCOL = reason(
    "account-protocol-error",
    cause="The broker's answer to the gateway's own login was none, or could not be decoded.",
    client_sees=_ENDED,
    remedy="Check that the backend's port is one with SASL (SASL_SSL), and the broker's log.",
)
ACCOUNT_SECRET_UNFIT = reason(
    "account-secret-unfit",
    cause="The gateway's own name, password or token holds characters that the SASL mechanism forbids.",
    client_sees=_ENDED,
    remedy="Look for an empty file, a file of another format, or control characters.",
)
ACCOUNT_RENEWAL_TIMEOUT = reason(
    "account-renewal-timeout",
    cause="The broker did not answer the gateway's re-authentication (KIP-368) in time.",
    client_sees=_ENDED,
    remedy="Look at the broker's load; the client's next connection begins anew.",
)
