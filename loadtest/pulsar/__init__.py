"""The gateway beside Apache Pulsar's own proxy: ``python -m loadtest.pulsar``, ``make bench-pulsar``."""
