"""Is this token an issuer's access token, for us, now? `Validator` says who it is, or why not."""

from gateway.core.tokens.outcome import Accepted, KeyMissing, Outcome, Refused
from gateway.core.tokens.validator import CHECKS, Validator

__all__ = ["CHECKS", "Accepted", "KeyMissing", "Outcome", "Refused", "Validator"]
