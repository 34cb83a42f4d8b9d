"""Settings to paste into other clients of Pulsar: its own tools (Java), Python, Go."""

from __future__ import annotations

from pathlib import Path

from gateway.ops.demo.pulsar_steps import ALLOWED_TOPIC


def settings(bootstrap: str, ca: Path, token: str, token_url: str, client: str, secret: str) -> str:
    """The text that the demo ends with. `token` is good for an hour; `client` and `secret` fetch new ones."""
    topic = ALLOWED_TOPIC
    return f"""\
Try it with clients of your own, in another terminal. First a token for {client}, good for an hour:

TOKEN='{token}'
export TOKEN CA={ca}

Pulsar's own tools (the policy allows subscriptions called orders-*; ask for {topic}.pii to be denied):

cat > client.conf <<END
brokerServiceUrl=pulsar+ssl://{bootstrap}
webServiceUrl=pulsar+ssl://{bootstrap}
authPlugin=org.apache.pulsar.client.impl.auth.AuthenticationToken
authParams=token:$TOKEN
tlsTrustCertsFilePath=$CA
tlsEnableHostnameVerification=true
END
PULSAR_CLIENT_CONF=$PWD/client.conf bin/pulsar-client consume {topic} -s orders-java -p Earliest -n 3

Python (pip install pulsar-client; or .venv/bin/python of this project):

cat > consume.py <<END
import os
import pulsar

client = pulsar.Client(
    "pulsar+ssl://{bootstrap}", authentication=pulsar.AuthenticationToken(os.environ["TOKEN"]),
    tls_trust_certs_file_path=os.environ["CA"], tls_validate_hostname=True,
)
consumer = client.subscribe("{topic}", "orders-python", initial_position=pulsar.InitialPosition.Earliest)
print(consumer.receive(10_000).data())
client.close()
END
python3 consume.py

Go (github.com/apache/pulsar-client-go):

client, err := pulsar.NewClient(pulsar.ClientOptions{{
    URL:                   "pulsar+ssl://{bootstrap}",
    TLSTrustCertsFilePath: os.Getenv("CA"),
    Authentication:        pulsar.NewAuthenticationToken(os.Getenv("TOKEN")),
}})

A new token by hand:

curl --cacert "$CA" -u '{client}:{secret}' -d grant_type=client_credentials {token_url}
"""
