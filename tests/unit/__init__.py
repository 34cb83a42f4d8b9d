"""Tests of single parts, without a process, a socket or a broker (but for the loopback where a part is one)."""
