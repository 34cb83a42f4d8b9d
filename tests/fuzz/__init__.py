"""Bytes at random, against the parsers."""
