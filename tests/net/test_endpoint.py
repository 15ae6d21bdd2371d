"""What peers are told of our address, and which socket reaches them."""

from __future__ import annotations

import asyncio
import socket

import pytest

from gateway.errors import ConfigError
from gateway.net.config import UserAgentConfig
from gateway.net.endpoint import Endpoint, local_address_for
from gateway.net.udp import UdpLimits
from gateway.sip.errors import SipSyntaxError
from gateway.sip.flow import Flow, is_ip_address
from gateway.sip.message.message import Request, Response
from tests.ports import free_port


class Inbox:
    def __init__(self) -> None:
        self.datagrams: list[tuple[bytes, Flow]] = []
        self.returned: list[tuple[bytes, Flow]] = []
        self.news = asyncio.Event()

    def datagram(self, data: bytes, flow: Flow) -> None:
        self.datagrams.append((data, flow))
        self.news.set()

    def unreachable(self, data: bytes, flow: Flow) -> None:
        self.returned.append((data, flow))
        self.news.set()

    def message(self, message: Request | Response, flow: Flow, size: int) -> None:
        raise AssertionError("no stream is used here")

    def broken(self, error: SipSyntaxError, flow: Flow, data: bytes) -> None:
        raise AssertionError("no stream is used here")


def endpoint_of(config: UserAgentConfig, failed: list[Flow] | None = None) -> tuple[Endpoint, Inbox]:
    inbox = Inbox()
    return Endpoint(config, inbox, (failed if failed is not None else []).append), inbox


async def test_peers_outside_are_told_the_advertised_address() -> None:
    """A peer on this machine is told the real one, and so is one by IPv6, which could not send to it."""
    endpoint, _ = endpoint_of(UserAgentConfig(listen=(("127.0.0.1", 0),), advertised=("198.51.100.1", None)))
    await endpoint.open()
    port = endpoint.listening[0][2]
    assert endpoint.sent_by(Flow("udp", "192.0.2.1", 5060)) == ("198.51.100.1", port)
    assert endpoint.sent_by(Flow("udp", "127.0.0.1", 5060)) == ("127.0.0.1", port)
    assert endpoint.sent_by(Flow("udp", "2001:db8::1", 5060))[0] == "127.0.0.1"
    assert endpoint.sent_by(Flow("udp", "peer.example", 5060)) == ("198.51.100.1", port)
    await endpoint.close()


async def test_an_advertised_port_is_the_one_of_udp() -> None:
    """A stream keeps its own port."""
    loopback = (("127.0.0.1", 0),)
    endpoint, _ = endpoint_of(UserAgentConfig(listen=loopback, listen_tcp=loopback, advertised=("198.51.100.1", 15060)))
    await endpoint.open()
    tcp = next(port for kind, _, port in endpoint.listening if kind == "tcp")
    assert endpoint.sent_by(Flow("udp", "192.0.2.1", 5060)) == ("198.51.100.1", 15060)
    assert endpoint.sent_by(Flow("tcp", "192.0.2.1", 5060)) == ("198.51.100.1", tcp)
    await endpoint.close()


async def test_a_wildcard_listener_names_the_address_that_reaches_the_peer() -> None:
    """0.0.0.0 is never written into a message."""
    endpoint, _ = endpoint_of(UserAgentConfig(listen=(("0.0.0.0", 0),)))
    await endpoint.open()
    port = endpoint.listening[0][2]
    assert endpoint.sent_by(Flow("udp", "127.0.0.1", 5060)) == ("127.0.0.1", port)
    outside = local_address_for("192.0.2.1", "0.0.0.0")
    assert endpoint.sent_by(Flow("udp", "not.resolved.example", 5060)) == (outside, port)
    assert endpoint.sent_by(Flow("udp", "localhost", 5060)) == ("127.0.0.1", port)
    await endpoint.close()


async def test_a_flow_that_was_written_down_goes_out_by_its_own_listener() -> None:
    """A phone that registered at our second address is called from the second, and told of it."""
    endpoint, inbox = endpoint_of(UserAgentConfig(listen=(("127.0.0.1", 0), ("127.0.0.2", 0))))
    await endpoint.open()
    (_, _, first), (_, host, second) = endpoint.listening
    endpoint.send(b"REGISTER", Flow("udp", host, second))
    async with asyncio.timeout(30):
        await inbox.news.wait()
    [(_, source)] = inbox.datagrams
    assert source.local == f"udp:{host}:{second}"
    kept = Flow.parse(str(Flow("udp", "127.0.0.1", first, source.local)))
    assert endpoint.sent_by(kept) == (host, second)
    inbox.news.clear()
    endpoint.send(b"INVITE", kept)
    async with asyncio.timeout(30):
        await inbox.news.wait()
    data, called_from = inbox.datagrams[-1]
    assert (data, called_from.host, called_from.port) == (b"INVITE", host, second)
    await endpoint.close()


async def test_at_a_wildcard_peers_are_told_the_address_of_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """By DHCP it may be another one than a moment ago, to who has been spoken with before as well."""
    now = ["192.0.2.10"]
    monkeypatch.setattr("gateway.net.endpoint.local_address_for", lambda peer, bound: now[0])
    endpoint, _ = endpoint_of(UserAgentConfig(listen=(("0.0.0.0", 0),)))
    await endpoint.open()
    phone = Flow("udp", "192.0.2.1", 5060)
    assert endpoint.sent_by(phone)[0] == "192.0.2.10"
    now[0] = "192.0.2.20"
    async with asyncio.timeout(30):
        while endpoint.sent_by(phone)[0] != "192.0.2.20":  # noqa: ASYNC110  # only asking tells
            await asyncio.sleep(0.05)
    await endpoint.close()


async def test_each_family_goes_out_by_its_own_socket() -> None:
    """An IPv6 peer is not sent to by an IPv4 socket, and is answered by the socket it came to."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    failed: list[Flow] = []
    endpoint, inbox = endpoint_of(UserAgentConfig(listen=(("127.0.0.1", 0), ("::1", 0))), failed)
    await endpoint.open()
    four, six = (port for _, _, port in endpoint.listening)
    endpoint.send(b"to six", Flow("udp", "::1", six))
    endpoint.send(b"to four", Flow("udp", "127.0.0.1", four))
    async with asyncio.timeout(30):
        while len(inbox.datagrams) < 2:
            inbox.news.clear()
            await inbox.news.wait()
    assert {data: (flow.host, flow.port) for data, flow in inbox.datagrams} == {
        b"to six": ("::1", six),
        b"to four": ("127.0.0.1", four),
    }
    assert {flow.local for _, flow in inbox.datagrams} == {f"udp:127.0.0.1:{four}", f"udp:[::1]:{six}"}
    assert failed == []
    await endpoint.close()


async def test_a_datagram_that_nobody_takes_comes_back_with_its_destination() -> None:
    """ICMP port unreachable, at once; a datagram to somebody else is not lost for it."""
    endpoint, inbox = endpoint_of(UserAgentConfig(listen=(("127.0.0.1", 0),)))
    await endpoint.open()
    mine, dead = endpoint.listening[0][2], [free_port() for _ in range(3)]
    for port in dead:
        endpoint.send(b"to nobody", Flow("udp", "127.0.0.1", port))
        endpoint.send(b"to somebody", Flow("udp", "127.0.0.1", mine))
    async with asyncio.timeout(30):
        while len(inbox.datagrams) < 3 or len(inbox.returned) < 3:
            inbox.news.clear()
            await inbox.news.wait()
    assert sorted(flow.port for _, flow in inbox.returned) == sorted(dead)
    assert {data for data, _ in inbox.returned} == {b"to nobody"}
    assert [data for data, _ in inbox.datagrams] == [b"to somebody"] * 3
    await endpoint.close()


async def test_what_the_kernel_does_not_take_waits_within_bounds() -> None:
    """A full socket buffer delays datagrams, in their order, and beyond the bound drops them."""
    config = UserAgentConfig(listen=(("127.0.0.1", 0),), udp=UdpLimits(write_buffer=20))
    endpoint, inbox = endpoint_of(config)
    await endpoint.open()
    [listener] = endpoint._udp
    flow = Flow("udp", "127.0.0.1", listener.port)
    real = listener._sock

    class Full:
        def sendto(self, *_: object) -> int:
            raise BlockingIOError

        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

        def fileno(self) -> int:
            return real.fileno()

    listener._sock = Full()  # type: ignore[assignment]
    for number in range(5):
        endpoint.send(b"datagram %d" % number, flow)
    listener._sock = real
    async with asyncio.timeout(30):
        while len(inbox.datagrams) < 2:
            inbox.news.clear()
            await inbox.news.wait()
    assert [data for data, _ in inbox.datagrams] == [b"datagram 0", b"datagram 1"]
    assert endpoint.dropped == 3
    await endpoint.close()


async def test_an_address_that_is_none_is_reported() -> None:
    """A port beyond 65535, a host that is no address: the datagram comes back, no exception."""
    endpoint, inbox = endpoint_of(UserAgentConfig(listen=(("127.0.0.1", 0),)))
    await endpoint.open()
    wrong = [Flow("udp", "127.0.0.1", 70_000), Flow("udp", "255.255.255.255", 9)]
    for flow in wrong:
        endpoint.send(b"x", flow)
    assert inbox.returned == [(b"x", flow) for flow in wrong]
    await endpoint.close()


@pytest.mark.parametrize(
    "flow", [Flow("udp", "::1", 5060), Flow("tcp", "127.0.0.1", 5060, "gone"), Flow("wss", "192.0.2.1", 443, "gone")]
)
async def test_a_flow_that_nothing_of_ours_reaches_is_reported(flow: Flow) -> None:
    """No IPv6 socket, a connection and a WebSocket that are gone."""
    failed: list[Flow] = []
    endpoint, _ = endpoint_of(UserAgentConfig(listen=(("127.0.0.1", 0),)), failed)
    await endpoint.open()
    endpoint.send(b"x", flow)
    assert failed == [flow]
    await endpoint.close()


async def test_tls_without_a_certificate_is_a_configuration_error() -> None:
    """The key is named."""
    endpoint, _ = endpoint_of(UserAgentConfig(listen_tls=(("127.0.0.1", 0),)))
    with pytest.raises(ConfigError, match=r"sip\.tls"):
        await endpoint.open()


@pytest.mark.parametrize(
    "text",
    ["udp:192.0.2.7:5060", "udp:192.0.2.7:5060/udp:[2001:db8::2]:5060", "tcp:[2001:db8::1]:5061", "wss:192.0.2.1:1"],
)
def test_a_flow_reads_what_it_writes(text: str) -> None:
    """The form that registrations keep."""
    assert str(Flow.parse(text)) == text


@pytest.mark.parametrize("text", ["", "udp:", "udp:h", "udp:h:0", "udp:h:65536", "x:h:1", "udp::5", "udp:h:-1"])
def test_what_is_no_flow_is_a_syntax_error(text: str) -> None:
    """Never anything else."""
    with pytest.raises(SipSyntaxError):
        Flow.parse(text)


@pytest.mark.parametrize(
    ("host", "yes"), [("192.0.2.1", True), ("[::1]", True), ("::1", True), ("1.2.3", False), ("256.1.1.1", False)]
)
def test_addresses_are_told_from_names(host: str, yes: bool) -> None:
    """Only names are looked up."""
    assert is_ip_address(host) is yes
