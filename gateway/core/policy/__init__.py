"""The policy language: model (the file as types) -> load (files to one revision) -> table (how it is looked up) ->
decide (what one identity may do) -> explain (why). Docs: docs/policy.md.
"""

from __future__ import annotations

from gateway.core.policy.decide import PolicySet
from gateway.core.policy.load import load_policy, policy_revision
from gateway.core.policy.model import DEFAULT_QUOTA

__all__ = ["DEFAULT_QUOTA", "PolicySet", "load_policy", "policy_revision"]
