"""Load tests: the gateway beside the peers it is compared with, on a real Kafka, and what was measured (results/)."""
