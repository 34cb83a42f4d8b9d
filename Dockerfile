# The gateway as an image: built in one stage, run in another that has neither compiler nor package client. It runs as
# nobody in particular (10001), writes nothing but its runtime folder, and is at home on a read-only file system:
#
#     docker build -t streaming-gateway .
#     docker run --read-only --tmpfs /run/streaming-gateway:uid=10001,mode=0700 --cap-drop ALL \
#         --security-opt no-new-privileges -v ./conf:/etc/gateway:ro -p 9094:9094 -p 9100-9109:9100-9109 streaming-gateway

FROM python:3.12-slim-bookworm AS build
# For the compiled pieces; without a compiler the gateway would run interpreted.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY requirements/run.txt requirements/
RUN python -m venv /opt/gateway && \
    /opt/gateway/bin/pip install --no-cache-dir --require-hashes -r requirements/run.txt
COPY pyproject.toml setup.py README.md LICENSE ./
COPY gateway gateway
RUN /opt/gateway/bin/pip install --no-cache-dir --no-deps --no-build-isolation . && \
    /opt/gateway/bin/pip uninstall --yes cython setuptools pip && \
    /opt/gateway/bin/python -m compileall -q /opt/gateway/lib

FROM python:3.12-slim-bookworm
RUN groupadd --gid 10001 gateway && \
    useradd --no-log-init --no-create-home --uid 10001 --gid 10001 --home-dir /nonexistent \
        --shell /usr/sbin/nologin gateway && \
    install -d -o 10001 -g 10001 -m 0700 /run/streaming-gateway
COPY --from=build /opt/gateway /opt/gateway
USER 10001:10001
ENV PATH=/opt/gateway/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 RUNTIME_DIRECTORY=/run/streaming-gateway
# Ports are those of the configuration. The admin port listens on loopback, inside the container.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s \
    CMD ["gateway", "health", "--config", "/etc/gateway/gateway.yaml"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["gateway"]
CMD ["run", "--config", "/etc/gateway/gateway.yaml"]
