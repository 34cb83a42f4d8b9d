"""Settings to paste into other clients: librdkafka and kcat, Java, Python."""

from __future__ import annotations

from pathlib import Path


def settings(bootstrap: str, ca: Path, token: str, token_url: str, client: str, secret: str, topic: str) -> str:
    """The text that the demo ends with. `token` is good for an hour; `client` and `secret` fetch new ones."""
    return f"""\
A token for {client} (good for an hour):

TOKEN='{token}'

New ones come from the issuer:

curl --cacert {ca} -u '{client}:{secret}' -d grant_type=client_credentials {token_url}

kcat and librdkafka (the token as SASL/PLAIN's password):

kcat -b {bootstrap} -X security.protocol=SASL_SSL -X ssl.ca.location={ca} \\
     -X sasl.mechanism=PLAIN -X sasl.username=token -X sasl.password="$TOKEN" -t {topic} -C -e

librdkafka (fetching tokens by itself):

security.protocol=SASL_SSL
ssl.ca.location={ca}
sasl.mechanism=OAUTHBEARER
sasl.oauthbearer.method=oidc
sasl.oauthbearer.client.id={client}
sasl.oauthbearer.client.secret={secret}
sasl.oauthbearer.token.endpoint.url={token_url}
https.ca.location={ca}

Java (client.properties, for example for kafka-console-consumer --command-config):

bootstrap.servers={bootstrap}
security.protocol=SASL_SSL
ssl.truststore.type=PEM
ssl.truststore.location={ca}
sasl.mechanism=PLAIN
sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username="token" \\
  password="{token}";

Python (confluent-kafka):

from confluent_kafka import Consumer
consumer = Consumer({{
    "bootstrap.servers": "{bootstrap}", "security.protocol": "SASL_SSL", "ssl.ca.location": "{ca}",
    "sasl.mechanism": "PLAIN", "sasl.username": "token", "sasl.password": "{token}",
    "group.id": "orders-mine", "auto.offset.reset": "earliest",
}})
consumer.subscribe(["{topic}"])
print(consumer.poll(10).value())
"""
