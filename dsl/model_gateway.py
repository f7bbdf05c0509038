"""What may be written in `[gateway]`: the part of the grammar that is about clients. See `model`."""

from __future__ import annotations

from typing import NewType

import attrs

from gatewayd.dsl.addresses import Address
from gatewayd.dsl.terms import Count, Duration, Origin, SecretRef, Size, TrustedHost, about


@attrs.frozen
class ListenTls:
    """Certificate of a listener; with it the listener speaks HTTPS."""

    cert: str = attrs.field(metadata=about("PEM file with the certificate chain.", '"/etc/gatewayd/tls.crt"'))
    key: str = attrs.field(metadata=about("PEM file with the private key.", '"/etc/gatewayd/tls.key"'))


@attrs.frozen
class Listener:
    """One address that clients connect to, in its long form."""

    address: Address = attrs.field(metadata=about("`host:port`; IPv6 in brackets.", '"0.0.0.0:8443"'))
    tls: ListenTls | None = attrs.field(
        default=None,
        metadata=about("Serve HTTPS with this certificate.", '{ cert = "tls.crt", key = "tls.key" }'),
    )


Listeners = NewType("Listeners", tuple[Listener, ...])
"""Written as one address, or as an array of addresses and listener tables."""


@attrs.frozen
class GatewayTimeouts:
    """How patient the gateway is with clients."""

    head: Duration = attrs.field(
        default=Duration(10.0),
        metadata=about("From the first byte of a request to the end of its head.", '"10s"', 0.001, 3600),
    )
    body: Duration = attrs.field(
        default=Duration(10.0),
        metadata=about("From the end of the head to the end of the body.", '"10s"', 0.001, 3600),
    )
    idle: Duration = attrs.field(
        default=Duration(75.0),
        metadata=about("Between two requests of one connection.", '"75s"', 0.001, 86400),
    )
    write: Duration = attrs.field(
        default=Duration(30.0),
        metadata=about("How long one write may wait for a client that does not read.", '"30s"', 0.001, 3600),
    )


@attrs.frozen
class GatewayMax:
    """How much the gateway takes from clients."""

    connections: Count = attrs.field(
        default=Count(10_000), metadata=about("Client connections at once.", "10000", 1, 1_000_000)
    )
    calls: Count = attrs.field(
        default=Count(100),
        metadata=about("Calls at once on one connection or in one session.", "100", 1, 100_000),
    )
    sessions: Count = attrs.field(
        default=Count(10_000), metadata=about("Sessions of older clients at once.", "10000", 1, 10_000_000)
    )
    principal_sessions: Count = attrs.field(
        default=Count(1000),
        metadata=about(
            "Of these, sessions of one authenticated principal at once. Anonymous callers share the bound for all.",
            "1000",
            1,
            10_000_000,
        ),
    )
    buffered: Size = attrs.field(
        default=Size(64 * 1024**2),
        metadata=about(
            "Size of the events that are kept for clients that return, of all sessions together.",
            '"64MiB"',
            1024,
            64 * 1024**3,
        ),
    )
    head: Size = attrs.field(
        default=Size(32 * 1024), metadata=about("Size of a request head.", '"32KiB"', 1024, 1024 * 1024)
    )


@attrs.frozen
class GatewaySession:
    """How long the session of an older client lives, and what is kept of it."""

    idle: Duration = attrs.field(
        default=Duration(1800.0), metadata=about("Without any request.", '"30m"', 0.001, 30 * 86400)
    )
    ttl: Duration = attrs.field(default=Duration(86400.0), metadata=about("Altogether.", '"24h"', 0.001, 365 * 86400))
    resume: Duration = attrs.field(
        default=Duration(30.0),
        metadata=about(
            "How long a call or stream whose client went away is kept for its return; `0s` is not at all.",
            '"30s"',
            0,
            3600,
        ),
    )
    buffer: Size = attrs.field(
        default=Size(256 * 1024),
        metadata=about(
            "Size of the events that one session keeps for its client's return, the oldest are dropped first.",
            '"256KiB"',
            1024,
            64 * 1024**2,
        ),
    )
    keys: tuple[SecretRef, ...] = attrs.field(
        default=(),
        metadata=about(
            "What session ids are sealed with, each at least 32 bytes: the first one seals, all of them open. "
            "Default: a key that the gateway makes and keeps in a file.",
            '[{ env = "SESSION_KEY" }, { file = "old.key" }]',
        ),
    )


@attrs.frozen
class GatewayTable:
    """What holds for the whole daemon."""

    listen: Listeners = attrs.field(
        default=Listeners((Listener(Address("127.0.0.1", 8080)),)),
        metadata=about(
            "Where clients connect: an address, or an array of addresses and listener tables.",
            '"127.0.0.1:8080"',
        ),
    )
    admin: Address | None = attrs.field(
        default=None,
        metadata=about(
            "Where health, metrics and the live tree are served; `false` for nowhere. "
            "It has no authentication: keep it on loopback or on a management network.",
            '"127.0.0.1:9090"',
        ),
    )
    drain: Duration = attrs.field(
        default=Duration(30.0), metadata=about("How long calls may finish after SIGTERM.", '"30s"', 0, 3600)
    )
    hosts: tuple[TrustedHost, ...] = attrs.field(
        default=(),
        metadata=about(
            "Trusted `Host` values, with or without port. Loopback names are implied on a loopback listener.",
            '["gw.example.com"]',
        ),
    )
    origins: tuple[Origin, ...] = attrs.field(
        default=(),
        metadata=about("Browser origins that may call the gateway.", '["https://app.example.com"]'),
    )
    keepalive: Duration = attrs.field(
        default=Duration(15.0),
        metadata=about("Silence on a stream after which a comment line is sent.", '"15s"', 0.001, 3600),
    )
    lock_file: str | None = attrs.field(
        default=None,
        metadata=about(
            "The tool lock, as `gatewayd lock` writes it. Default: `tools.lock` beside the main file.", '"tools.lock"'
        ),
    )
    timeouts: GatewayTimeouts = attrs.field(
        default=GatewayTimeouts(), metadata=about("Patience with clients.", '{ head = "10s", body = "10s" }')
    )
    max: GatewayMax = attrs.field(
        default=GatewayMax(), metadata=about("Bounds on what clients may take.", "{ connections = 10000 }")
    )
    session: GatewaySession = attrs.field(
        default=GatewaySession(),
        metadata=about("Sessions of older clients.", '{ idle = "30m", ttl = "24h", resume = "30s" }'),
    )
