"""Settings to paste into other clients: kcat and librdkafka, Java, Python."""

from __future__ import annotations

from pathlib import Path

from gateway.ops.demo.steps import ALLOWED_TOPIC


def settings(bootstrap: str, ca: Path, token: str, token_url: str, client: str, secret: str) -> str:
    """The text that the demo ends with. `token` is good for an hour; `client` and `secret` fetch new ones."""
    topic = ALLOWED_TOPIC
    return f"""\
Try it with clients of your own, in another terminal. First a token for {client}, good for an hour:

TOKEN='{token}'
export TOKEN CA={ca}

kcat (the token as SASL/PLAIN's password; ask for {topic}.pii to be denied):

kcat -b {bootstrap} -t {topic} -C -e -X security.protocol=SASL_SSL -X ssl.ca.location="$CA" \\
     -X sasl.mechanism=PLAIN -X sasl.username=token -X sasl.password="$TOKEN"

Java (the policy allows groups called orders-*):

cat > client.properties <<END
security.protocol=SASL_SSL
ssl.truststore.type=PEM
ssl.truststore.location=$CA
sasl.mechanism=PLAIN
sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username="token" password="$TOKEN";
END
kafka-console-consumer.sh --bootstrap-server {bootstrap} --consumer.config client.properties \\
     --topic {topic} --group orders-java --from-beginning --max-messages 3

Python (pip install confluent-kafka; or .venv/bin/python of this project):

cat > consume.py <<END
import os
from confluent_kafka import Consumer

consumer = Consumer({{
    "bootstrap.servers": "{bootstrap}", "security.protocol": "SASL_SSL", "ssl.ca.location": os.environ["CA"],
    "sasl.mechanism": "PLAIN", "sasl.username": "token", "sasl.password": os.environ["TOKEN"],
    "group.id": "orders-python", "auto.offset.reset": "earliest",
}})
consumer.subscribe(["{topic}"])
print(consumer.poll(10).value())
consumer.close()
END
python3 consume.py

Any librdkafka client that fetches its tokens by itself:

security.protocol=SASL_SSL
ssl.ca.location={ca}
sasl.mechanism=OAUTHBEARER
sasl.oauthbearer.method=oidc
sasl.oauthbearer.client.id={client}
sasl.oauthbearer.client.secret={secret}
sasl.oauthbearer.token.endpoint.url={token_url}
https.ca.location={ca}

A new token by hand:

curl --cacert "$CA" -u '{client}:{secret}' -d grant_type=client_credentials {token_url}
"""
