"""Listening addresses are really tried, and what peers are told follows from them."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gateway.config import Advertised, Config, HostPort, advertised, check_ports, load
from gateway.config.ports import default_route_address, is_own_address
from gateway.errors import AwayError, ConfigError
from tests.netns import host
from tests.ports import free_ports
from tests.rows import by_row


def on_free_ports() -> Config:
    """A configuration whose every port was free a moment ago."""
    sip, web, also, webrtc = free_ports(4)
    return load(
        None,
        {
            "GATEWAY_SIP__LISTEN": f"udp:127.0.0.1:{sip}",
            "GATEWAY_WEB__LISTEN": f"127.0.0.1:{web}",
            "GATEWAY_WEB__ALSO_LISTEN": f"127.0.0.1:{also}",
            "GATEWAY_WEBRTC__LISTEN": f"127.0.0.1:{webrtc}",
            "GATEWAY_RTP__PORTS": "1024-1027",
        },
    )


@contextmanager
def taken(port: int, kind: socket.SocketKind) -> Iterator[None]:
    with socket.socket(type=kind) as holder:
        holder.bind(("127.0.0.1", port))
        if kind == socket.SOCK_STREAM:
            holder.listen(1)
        yield


def test_free_ports_pass_and_stay_free() -> None:
    """The check leaves nothing bound behind."""
    config = on_free_ports()
    check_ports(config)
    check_ports(config)


@by_row(
    ("key", "kind", "word"),
    [
        ("sip.listen.0", socket.SOCK_DGRAM, "UDP"),
        ("web.listen", socket.SOCK_STREAM, "TCP"),
        ("web.also_listen.0", socket.SOCK_STREAM, "TCP"),
        ("webrtc.listen", socket.SOCK_DGRAM, "UDP"),
    ],
)
def test_port_in_use_names_its_key(key: str, kind: socket.SocketKind, word: str) -> None:
    """A port that another program holds is refused by the key that wants it; it may be free at the next start."""
    config = on_free_ports()
    ports = {"sip.listen.0": config.sip.listen[0].port} | {key: at.port for key, at in config.web.listeners}
    port = ports.get(key, config.webrtc.listen.port)
    with taken(port, kind), pytest.raises(AwayError) as caught:
        check_ports(config)
    assert caught.value.key == key
    assert caught.value.reason == f"{word} 127.0.0.1:{port} is already in use by another program"
    check_ports(config)


def test_web_port_may_have_just_been_closed() -> None:
    """A connection in TIME_WAIT does not make a restart fail."""
    config = on_free_ports()
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", config.web.listen.port))
        server.listen(1)
        client = socket.create_connection(server.getsockname())
        connection, _ = server.accept()
        connection.close()
        client.close()
    check_ports(config)


@by_row("key", ["sip.listen.0", "web.listen", "webrtc.listen", "rtp.listen"])
def test_address_of_another_machine_names_its_key(key: str) -> None:
    """An address that this machine does not have is refused."""
    section, name = key.split(".")[:2]
    text = {"sip.listen.0": "udp:192.0.2.1:5060", "rtp.listen": "192.0.2.1"}.get(key, "192.0.2.1:5999")
    base = on_free_ports()
    environ = {
        "GATEWAY_SIP__LISTEN": str(base.sip.listen[0]),
        "GATEWAY_WEB__LISTEN": str(base.web.listen),
        "GATEWAY_WEBRTC__LISTEN": str(base.webrtc.listen),
        "GATEWAY_RTP__PORTS": "1024-1027",
    }
    config = load(None, environ | {f"GATEWAY_{section.upper()}__{name.upper()}": text})
    with pytest.raises(ConfigError, match="not an address of this machine") as caught:
        check_ports(config)
    assert caught.value.key == key
    assert not isinstance(caught.value, AwayError)


def test_port_without_rights_names_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal of the system is put into words."""

    def refuse(self: socket.socket, address: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse, raising=False)
    with pytest.raises(ConfigError, match="need rights") as caught:
        check_ports(Config())
    assert caught.value.key == "sip.listen.0"
    assert not isinstance(caught.value, AwayError)


def test_ports_of_rtpengine_are_not_ours_to_try() -> None:
    """With rtpengine the media ports are not bound here."""
    config = on_free_ports()
    with taken(config.webrtc.listen.port, socket.SOCK_DGRAM):
        check_ports(config.model_copy(update={"media": config.media.model_copy(update={"engine": "rtpengine:h:1"})}))


def test_advertised_address_follows_from_the_listen_address() -> None:
    """Configured, else listened on, else the interface of the default route; the port likewise."""
    assert advertised("127.0.0.1", 5060) == HostPort("127.0.0.1", 5060)
    assert advertised("0.0.0.0", 5060, Advertised("203.0.113.1")) == HostPort("203.0.113.1", 5060)
    assert advertised("0.0.0.0", 5060, Advertised("sip.example.com", 5099)) == HostPort("sip.example.com", 5099)
    assert advertised("0.0.0.0", 5060) == HostPort(default_route_address(), 5060)
    assert advertised("::", 5060).host not in ("::", "0.0.0.0")


def test_machine_without_network_advertises_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a default route the gateway still starts."""

    def refuse(self: socket.socket, address: object) -> None:
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", refuse, raising=False)
    assert default_route_address() == "127.0.0.1"
    assert default_route_address("::") == "::1"


def test_an_address_is_ours_while_the_machine_has_it() -> None:
    """Asked of the kernel each time; not what is good on one link alone, nor what means many machines."""
    own = ["127.0.0.1", "::1", default_route_address()]
    others = [
        "198.51.100.77",
        "2001:db8:77::1",
        "fe80::1",
        "169.254.0.1",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "::",
    ]
    assert [is_own_address(host) for host in own] == [True] * len(own)
    assert [is_own_address(host) for host in others] == [False] * len(others)


@pytest.mark.serial
def test_an_address_is_ours_from_when_a_cable_brings_it() -> None:
    """And no longer than it does."""
    with host() as there:
        assert is_own_address(there.here)
        assert not is_own_address(there.there)
    assert not is_own_address(there.here)
