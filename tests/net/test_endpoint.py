"""What peers are told of our address, and which socket reaches them."""

from __future__ import annotations

import asyncio
import socket
import sys

import pytest

from gateway.errors import ConfigError
from gateway.net import packet_info
from gateway.net.config import UserAgentConfig
from gateway.net.endpoint import Endpoint, local_address_for
from gateway.net.udp import UdpLimits
from gateway.sip.errors import SipSyntaxError
from gateway.sip.flow import Flow, is_ip_address
from gateway.sip.message.message import Request, Response
from tests import peers
from tests.ports import free_port
from tests.processes import end
from tests.rows import by_row


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
    peers.ipv6_loopback()
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


@by_row(
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


@by_row(
    "text",
    ["udp:192.0.2.7:5060", "udp:192.0.2.7:5060/udp:[2001:db8::2]:5060", "tcp:[2001:db8::1]:5061", "wss:192.0.2.1:1"],
)
def test_a_flow_reads_what_it_writes(text: str) -> None:
    """The form that registrations keep."""
    assert str(Flow.parse(text)) == text


@by_row("text", ["", "udp:", "udp:h", "udp:h:0", "udp:h:65536", "x:h:1", "udp::5", "udp:h:-1"])
def test_what_is_no_flow_is_a_syntax_error(text: str) -> None:
    """Never anything else."""
    with pytest.raises(SipSyntaxError):
        Flow.parse(text)


@by_row(("host", "yes"), [("192.0.2.1", True), ("[::1]", True), ("::1", True), ("1.2.3", False), ("256.1.1.1", False)])
def test_addresses_are_told_from_names(host: str, yes: bool) -> None:
    """Only names are looked up."""
    assert is_ip_address(host) is yes


@by_row(("wildcard", "asked"), [("0.0.0.0", "127.0.0.1"), ("0.0.0.0", "127.0.0.2"), ("::", "::1")])
async def test_a_wildcard_answers_from_the_address_that_was_asked_and_names_it(wildcard: str, asked: str) -> None:
    """RFC 3581 section 4: who looks where an answer comes from, or is behind NAT, takes no other."""
    endpoint, inbox = endpoint_of(UserAgentConfig(listen=((wildcard, 0),)))
    await endpoint.open()
    port = endpoint.listening[0][2]
    with socket.socket(socket.AF_INET6 if ":" in asked else socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.settimeout(30)
        for number in range(2):
            peer.sendto(b"request", (asked, port))
            while len(inbox.datagrams) <= number:
                inbox.news.clear()
                await asyncio.wait_for(inbox.news.wait(), 30)
            _, flow = inbox.datagrams[-1]
            assert endpoint.sent_by(flow) == (asked, port)
            endpoint.send(b"answer", flow)
            data, source = await asyncio.to_thread(peer.recvfrom, 100)
            assert (data, source[:2]) == (b"answer", (asked, port))
    await endpoint.close()


OWN_NETWORK = """
import asyncio, socket
from gateway.net.udp import open_udp

async def main():
    came = asyncio.get_running_loop().create_future()
    listener = await open_udp("::", 0, lambda data, flow: came.set_result(flow), lambda data, flow: None)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as peer:
        peer.settimeout(30)
        peer.bind(("fd00::1", 0))
        peer.sendto(b"request", ("fd00::2", listener.port))
        flow = await asyncio.wait_for(came, 30)
        listener.send(b"answer", flow)
        print(flow.local == f"udp:[fd00::2]:{listener.port}", peer.recvfrom(100)[1][0])
    listener.close()

asyncio.run(main())
"""


@pytest.mark.wall
async def test_of_several_addresses_of_ipv6_the_one_that_was_asked_answers() -> None:
    """In a network of the test's own: the loopback of this machine has one alone."""
    peers.namespaces(ipv6=True)
    links = "ip link set lo up && ip addr add fd00::1/128 dev lo nodad && ip addr add fd00::2/128 dev lo nodad"
    command = ("unshare", "-n", "sh", "-c", f'{links} && exec "$0" -c "$1"', sys.executable, OWN_NETWORK)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        said, _ = await asyncio.wait_for(process.communicate(), 60)
    finally:
        await end(process)
    assert said.decode().split() == ["True", "fd00::2"]


REQUEST = (
    b"OPTIONS sip:h SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:h>\r\n"
    b"Call-ID: c\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
)


class Streams(Inbox):
    def message(self, message: Request | Response, flow: Flow, size: int) -> None:
        self.datagrams.append((b"", flow))
        self.news.set()


@by_row(("wildcard", "asked"), [("0.0.0.0", "127.0.0.1"), ("0.0.0.0", "127.0.0.2"), ("::", "::1")])
async def test_by_a_connection_to_a_wildcard_the_address_is_named_that_was_asked(wildcard: str, asked: str) -> None:
    """And it is answered by that connection."""
    inbox = Streams()
    endpoint = Endpoint(UserAgentConfig(listen=(), listen_tcp=((wildcard, 0),)), inbox, list[Flow]().append)
    await endpoint.open()
    [(_, _, port)] = endpoint.listening
    reader, writer = await asyncio.open_connection(asked, port)
    try:
        writer.write(REQUEST)
        await asyncio.wait_for(inbox.news.wait(), 30)
        [(_, flow)] = inbox.datagrams
        assert endpoint.sent_by(flow) == (asked, port)
        endpoint.send(b"answer", flow)
        assert await asyncio.wait_for(reader.readexactly(6), 30) == b"answer"
    finally:
        writer.close()
        await endpoint.close()


@by_row("local", ["udp:198.51.100.77:{port}", "udp:127.0.0.2:1", "here"])
async def test_an_address_that_is_ours_no_more_is_neither_named_nor_sent_from(local: str) -> None:
    """A binding of before the machine had another address; the peer is reached all the same."""
    endpoint, _ = endpoint_of(UserAgentConfig(listen=(("0.0.0.0", 0),)))
    await endpoint.open()
    port = endpoint.listening[0][2]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.settimeout(30)
        peer.bind(("127.0.0.1", 0))
        host, number = peer.getsockname()
        flow = Flow("udp", host, number, local.format(port=port))
        assert endpoint.sent_by(flow)[0] in ("127.0.0.1", "127.0.0.2")
        endpoint.send(b"call", flow)
        data, source = await asyncio.to_thread(peer.recvfrom, 100)
        assert (data, source[1]) == (b"call", port)
    await endpoint.close()


async def test_a_socket_of_one_address_does_not_stand_in_for_another_at_its_port() -> None:
    """The listener at loopback has the port of a binding of before, and reaches nobody outside."""
    endpoint, _ = endpoint_of(UserAgentConfig(listen=(("127.0.0.1", 0), ("0.0.0.0", 0))))
    await endpoint.open()
    (_, _, near), (_, _, everywhere) = endpoint.listening
    assert endpoint.sent_by(Flow("udp", "192.0.2.1", 5060, f"udp:198.51.100.77:{near}"))[1] == everywhere
    await endpoint.close()


@by_row("came_to", ["fe80::1", "febf::1", "ff02::1"])
def test_what_came_to_a_link_local_or_multicast_address_is_not_answered_from_it(came_to: str) -> None:
    """The kernel sends nothing from there without an interface (RFC 3542 6.2); from those beside them it does."""
    assert packet_info.local_address(came_to_address(came_to)) == b""
    for beside in ("fe7f::1", "fec0::1", "fd00::1", "::1"):
        assert packet_info.local_address(came_to_address(beside)) == socket.inet_pton(socket.AF_INET6, beside)


def came_to_address(host: str) -> packet_info.Ancillary:
    """What the kernel says of a datagram that came to that address by the second interface."""
    info = socket.inet_pton(socket.AF_INET6, host) + (2).to_bytes(4, sys.byteorder)
    return [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, info)]


async def test_what_came_back_to_a_wildcard_is_told() -> None:
    """Beside the address that it was sent from, the kernel says why (ip(7), IP_RECVERR)."""
    endpoint, inbox = endpoint_of(UserAgentConfig(listen=(("0.0.0.0", 0), ("::", 0))))
    await endpoint.open()
    for host, here in (("127.0.0.1", "udp:127.0.0.2:{}"), ("::1", "udp:[::1]:{}")):
        port = next(number for _, bound, number in endpoint.listening if (":" in bound) == (":" in host))
        inbox.news.clear()
        endpoint.send(b"nobody is there", Flow("udp", host, free_port(), here.format(port)))
        await asyncio.wait_for(inbox.news.wait(), 30)
        assert inbox.returned[-1][0].startswith(b"nobody")
    await endpoint.close()
