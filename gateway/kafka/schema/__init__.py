"""Kafka's message definitions as one table: `messages.json`, made by `generate` from the `kafka-clients` jar.

`model` reads the table, `shape` says what a message looks like at one version, and kafka.codec has a decoder and an
encoder made of it. A new Kafka release is a new table, not new code.
"""
