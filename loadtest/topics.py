"""The topics that the stand-in has and the scale curves go round."""

from __future__ import annotations


def topic_name(number: int) -> str:
    """All are of one length."""
    return f"load.t{number:06}"


def topic_number(name: str) -> int:
    return int(name.rpartition(".t")[2])


def topic_id(number: int) -> bytes:
    return b"load-curve" + number.to_bytes(6, "big")


def id_number(topic_id: bytes) -> int:
    return int.from_bytes(topic_id[-6:], "big")
