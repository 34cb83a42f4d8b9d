"""Unmodified clients through the gateway, on a real broker that authorizes too."""

from __future__ import annotations

from tests.real.pulsar.site import Site, receive


def test_what_is_produced_is_consumed(site: Site) -> None:
    topic = site.topic()
    with site.client() as client:
        consumer = client.subscribe(topic, "app-sub")
        producer = client.create_producer(topic)
        for number in range(100):
            producer.send(f"order {number}".encode())
        assert receive(consumer, 100) == [f"order {number}".encode() for number in range(100)]
