"""Listening sockets: what they are set to, and what people are told when there can be none."""

from __future__ import annotations

import os
import socket

import pytest

from gatewayd.net.sockets import CannotListen, is_loopback, open_socket
from gatewayd.routes.table import Listen

LOOPBACK = Listen("127.0.0.1", 0)


def test_a_listening_socket_gives_up_silent_peers_and_is_not_inherited() -> None:
    with open_socket(LOOPBACK, patience=1.5) as opened:
        assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 1500
        assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        assert not opened.get_inheritable()
        assert not opened.getblocking()


def test_without_patience_the_kernel_decides() -> None:
    with open_socket(LOOPBACK) as opened:
        assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 0


def test_an_ipv6_address_takes_no_ipv4_clients() -> None:
    with open_socket(Listen("::1", 0)) as opened:
        assert opened.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


def test_an_address_in_use_is_explained() -> None:
    with open_socket(LOOPBACK) as taken:
        port: int = taken.getsockname()[1]
        with pytest.raises(CannotListen, match=rf"http://127\.0\.0\.1:{port}: another process listens there"):
            open_socket(Listen("127.0.0.1", port))


@pytest.mark.parametrize(
    ("listen", "advice"),
    [
        (Listen("203.0.113.1", 0), "no interface of this machine has that address"),
        (Listen("no.such.name.invalid", 0), "has no address here"),
        (Listen("2001:db8::1", 8080), r"http://\[2001:db8::1\]:8080: no interface"),
    ],
)
def test_an_impossible_address_is_explained_and_leaves_nothing_open(listen: Listen, advice: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(CannotListen, match=advice):
        open_socket(listen, patience=1)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may use every port")
def test_a_privileged_port_is_explained() -> None:
    with pytest.raises(CannotListen, match="ports below 1024 need CAP_NET_BIND_SERVICE"):
        open_socket(Listen("127.0.0.1", 1))


@pytest.mark.parametrize(
    ("host", "only_us"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.1", False),
        ("::ffff:192.0.2.1", False),
        ("gateway.internal", False),
        ("localhost.example.com", False),
        ("", False),
    ],
)
def test_loopback_is_what_only_this_machine_reaches(host: str, only_us: bool) -> None:
    assert is_loopback(host) is only_us
