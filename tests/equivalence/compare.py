"""What is made equal before two answers are compared, since it differs between any two runs of the same request."""

from __future__ import annotations

from typing import Any

_VARYING = {
    "throttleTimeMs", "logAppendTimeMs", "timestamp",
}  # fmt: skip
"""Times."""
_MADE_UP = {"memberId", "leader", "producerId", "baseOffset"}
"""Ids and offsets that the broker makes up; only whether there is one is compared."""


def settled(value: Any, labels: dict[str, str], field: str = "") -> Any:
    """The value with times and made-up ids replaced, this run's label in names too, and lists in a settled order.

    Kafka keeps many of these lists in hash maps or shuffles them, so their order means nothing to a client.
    """
    if isinstance(value, dict):
        return {name: settled(each, labels, name) for name, each in value.items() if name not in _VARYING}
    if isinstance(value, list):
        return sorted((settled(each, labels, field) for each in value), key=repr)
    if field in _MADE_UP:
        return value if value in ("", None, -1) else "made up"
    if isinstance(value, bytes | memoryview):
        raw = bytes(value)
        return labels.get(raw.hex(), "made up" if field == "topicId" and any(raw) else raw)
    if isinstance(value, str):
        for label, common in labels.items():
            value = value.replace(label, common)
    return value


def differences(direct: Any, gateway: Any, path: str = "") -> list[str]:
    """Where two settled answers differ, one line each."""
    if isinstance(direct, dict) and isinstance(gateway, dict):
        return [
            line
            for name in sorted({*direct, *gateway})
            for line in differences(direct.get(name, "absent"), gateway.get(name, "absent"), f"{path}.{name}")
        ]
    if isinstance(direct, list) and isinstance(gateway, list) and len(direct) == len(gateway):
        return [
            line
            for index, pair in enumerate(zip(direct, gateway, strict=True))
            for line in differences(*pair, f"{path}[{index}]")
        ]
    return [] if direct == gateway else [f"{path.lstrip('.')}: broker {direct!r}, gateway {gateway!r}"]
