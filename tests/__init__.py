"""Tests. The shared pieces (``tests.certificates``, ``tests.tokens``, ``tests.real.kafka``) are ordinary modules."""
