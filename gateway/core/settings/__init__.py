"""The gateway's configuration as types. ops.config reads the files; everything else takes these frozen values, by
``from gateway.core.settings import ...``.

Every limit has a non-zero default (docs/limits.md is generated from here). Units stand last in a name. An unknown
key is a mistake. One file per subject; `whole` puts them together, `values` is what all are made of.
"""

from __future__ import annotations

from gateway.core.settings.addressing import Addressing, BrokerPorts, NodeIdRange, NodeIds, SniNames
from gateway.core.settings.admin import Admin, Health
from gateway.core.settings.audit import AuditSettings
from gateway.core.settings.backends import Backend, Web
from gateway.core.settings.issuers import ALGORITHMS, Algorithm, Issuer, KeySource
from gateway.core.settings.limits import Limits
from gateway.core.settings.listeners import Authentication, Listener, ProxyProtocol
from gateway.core.settings.own_accounts import OauthAccount, OwnAccount, PasswordAccount, ScramAccount
from gateway.core.settings.policies import Policies
from gateway.core.settings.tls import AdminTls, BackendTls, CertificatePair, ListenerTls
from gateway.core.settings.values import Duration, HostPort, Model, Name, Network, Port, Size
from gateway.core.settings.whole import WORKERS_MAX, Settings

__all__ = [
    "ALGORITHMS",
    "WORKERS_MAX",
    "Addressing",
    "Admin",
    "AdminTls",
    "Algorithm",
    "AuditSettings",
    "Authentication",
    "Backend",
    "BackendTls",
    "BrokerPorts",
    "CertificatePair",
    "Duration",
    "Health",
    "HostPort",
    "Issuer",
    "KeySource",
    "Limits",
    "Listener",
    "ListenerTls",
    "Model",
    "Name",
    "Network",
    "NodeIdRange",
    "NodeIds",
    "OauthAccount",
    "OwnAccount",
    "PasswordAccount",
    "Policies",
    "Port",
    "ProxyProtocol",
    "ScramAccount",
    "Settings",
    "Size",
    "SniNames",
    "Web",
]
