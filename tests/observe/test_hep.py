"""HEP3 datagrams, read back by a collector of the test's own, chunk by chunk from the wire."""

from __future__ import annotations

import json
import socket
import struct

import pytest

from gateway.media.engine import PartyStatistics, StreamStatistics
from gateway.observe.hep import RTCP, SIP, Captured, Exporter, encode, report
from tests.observe.collector import chunks
from tests.ports import free_port


def captured(**changes: object) -> Captured:
    values = {
        "protocol": SIP,
        "source": ("192.0.2.7", 5062),
        "target": ("192.0.2.1", 5060),
        "at": 1_700_000_000.25,
        "payload": b"OPTIONS sip:x SIP/2.0\r\n\r\n",
    }
    return Captured(**(values | changes))  # type: ignore[arg-type]


def test_a_message_says_where_it_went_when_and_whose_it_is() -> None:
    """Addresses, ports, time, protocol, our number, the password, the Call-ID, the octets."""
    found = chunks(encode(captured(call_id="abc@x"), 7, "secret"))
    assert found == {
        1: b"\x02",
        2: b"\x11",
        3: socket.inet_aton("192.0.2.7"),
        4: socket.inet_aton("192.0.2.1"),
        7: struct.pack("!H", 5062),
        8: struct.pack("!H", 5060),
        9: struct.pack("!I", 1_700_000_000),
        10: struct.pack("!I", 250_000),
        11: b"\x01",
        12: struct.pack("!I", 7),
        14: b"secret",
        17: b"abc@x",
        15: b"OPTIONS sip:x SIP/2.0\r\n\r\n",
    }


def inet6(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6, text)


def test_ipv6_and_streams_are_told_as_such() -> None:
    """Family 10, protocol 6; an address of ours that is of the other family is the unspecified one."""
    found = chunks(encode(captured(source=("2001:db8::7", 1), target=("2001:db8::1", 2), reliable=True), 7))
    assert (found[1], found[2]) == (b"\x0a", b"\x06")
    assert (found[5], found[6]) == tuple(
        socket.inet_pton(socket.AF_INET6, one) for one in ("2001:db8::7", "2001:db8::1")
    )
    assert not {3, 4, 14, 17} & found.keys()
    mixed = chunks(encode(captured(target=("2001:db8::1", 2)), 7))
    assert mixed[5] == bytes(16)


def test_media_keys_are_starred_out_and_the_length_kept() -> None:
    """Everything else of the message is as it was."""
    key = b"d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj"
    for before in (b"inline:", b"INLINE:", b"inline: ", b"foo Inline:"):
        sdp = b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 " + before + key + b"|2^20|1:32\r\na=x\r\n"
        sent = chunks(encode(captured(payload=sdp), 7))[15]
        assert key not in sent
        assert sent == sdp.replace(key, b"*" * len(key))


def test_a_message_too_long_for_a_datagram_is_cut() -> None:
    """64 KiB and more come over TCP."""
    assert len(encode(captured(payload=b"x" * 100_000), 7)) < 65_507


def test_a_call_id_too_long_for_a_datagram_is_cut_and_no_message_is_too_odd() -> None:
    """As long as a stranger's datagram can be."""
    exporter = Exporter(("127.0.0.1", 9), 7)
    exporter.send([captured(payload=b"x" * 65_400, call_id="y" * 60_000)])
    exporter.close()
    assert chunks(encode(captured(payload=b"x" * 65_400, call_id="y" * 60_000), 7))[17] == b"y" * 256


def test_the_quality_of_a_party_is_an_rtcp_report() -> None:
    """In the members that collectors read: loss as a share of 256, jitter in ticks of 48 kHz."""
    heard = StreamStatistics(packets=900, bytes=144_000, lost=100, jitter_ms=2.5, codec="opus", r_factor=80.0, mos=4.0)
    said = json.loads(
        report("tag", PartyStatistics(received=heard, sent=StreamStatistics(packets=7, bytes=70), rtt_ms=12.5))
    )
    (block,) = said["report_blocks"]
    assert said["type"] == 200
    assert said["sender_information"] == {"packets": 7, "octets": 70}
    assert (block["fraction_lost"], block["packets_lost"], block["ia_jitter"]) == (25, 100, 120)
    assert (said["rtt_ms"], said["r_factor"], said["mos"], said["codec"]) == (12.5, 80.0, 4.0, "opus")
    assert json.loads(report("tag", PartyStatistics()))["report_blocks"][0]["fraction_lost"] == 0


def test_a_collector_that_is_not_there_costs_nothing() -> None:
    """Refused datagrams, an address that is none: counted, never raised."""
    exporter = Exporter(("127.0.0.1", free_port()), 7)
    exporter.send(captured() for _ in range(20))
    exporter.send([captured(source=("not an address", 1))])
    assert exporter.sent + exporter.dropped == 21
    assert exporter.dropped >= 1
    exporter.close()
    exporter.send([captured()])
    exporter.close()


@pytest.mark.parametrize("protocol", [SIP, RTCP])
def test_a_collector_reads_what_was_sent(protocol: int) -> None:
    """Over a real socket."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as collector:
        collector.bind(("127.0.0.1", 0))
        collector.settimeout(30)
        exporter = Exporter(collector.getsockname(), 7)
        exporter.send([captured(protocol=protocol)])
        assert chunks(collector.recv(65_536))[11] == bytes([protocol])
        exporter.close()
