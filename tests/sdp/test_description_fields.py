"""The lines other than a=: what each reads, writes and refuses."""

from __future__ import annotations

import pytest

from sdp import Bandwidth, Connection, MediaLine, Origin, SdpSyntaxError, Timing
from sdp.fields import FIELDS, Field, Key, Repeat, Zones
from tests.rows import by_row

READ: list[tuple[str, Field]] = [
    ("m=audio 49170 RTP/AVP 0 8", MediaLine("audio", 49170, "RTP/AVP", ("0", "8"))),
    ("m=video 49170/2 RTP/AVP 31", MediaLine("video", 49170, "RTP/AVP", ("31",), 2)),
    ("m=video 0 RTP/AVP", MediaLine("video", 0, "RTP/AVP")),
    (
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
        MediaLine("application", 9, "UDP/DTLS/SCTP", ("webrtc-datachannel",)),
    ),
    ("m=image 54111 TCP t38", MediaLine("image", 54111, "TCP", ("t38",))),
    ("o=- 4611731400430051336 2 IN IP4 127.0.0.1", Origin("-", "4611731400430051336", 2, "127.0.0.1")),
    ("o=jdoe 007 1 IN IP6 2001:db8::1", Origin("jdoe", "007", 1, "2001:db8::1", "IP6")),
    ("c=IN IP4 host.example.com", Connection("host.example.com")),
    ("c=IN IP4 233.252.0.1/127", Connection("233.252.0.1", ttl=127)),
    ("c=IN IP4 233.252.0.1/127/3", Connection("233.252.0.1", ttl=127, address_count=3)),
    ("c=IN IP6 ff00::db8:0:101/3", Connection("ff00::db8:0:101", "IP6", address_count=3)),
    ("c=IN IP6 2001:db8::1", Connection("2001:db8::1", "IP6")),
    ("b=AS:128", Bandwidth("AS", 128)),
    ("b=X-YZ:128", Bandwidth("X-YZ", 128)),
    ("t=0 0", Timing()),
    ("t=3724394400 3724398000", Timing(3724394400, 3724398000)),
    ("r=604800 3600 0 90000", Repeat(604800, 3600, (0, 90000))),
    ("z=3730928400 -3600 3749680800 0", Zones(((3730928400, -3600), (3749680800, 0)))),
    ("k=prompt", Key("prompt")),
    ("k=base64:Zm9v", Key("base64", "Zm9v")),
]


@by_row(("line", "value"), READ, ids=[line for line, _ in READ])
def test_reads_and_writes(line: str, value: Field) -> None:
    """A well-formed line is read as the value that writes it."""
    assert FIELDS[line[0]].parse(line[2:]) == value
    assert f"{line[0]}={value}" == line


def test_units_of_repeats_and_zones_are_seconds() -> None:
    """RFC 8866 section 5.10: d, h, m and s; written as seconds."""
    assert Repeat.parse("7d 1h 0 25h") == Repeat(604800, 3600, (0, 90000))
    assert Zones.parse("3730928400 -1h") == Zones(((3730928400, -3600),))
    assert str(Repeat.parse("7d 1h 0 30m 5s")) == "604800 3600 0 1800 5"


@by_row(
    ("line", "column", "expected"),
    [
        ("m=", 1, "a media type"),
        ("m=audio x RTP/AVP 0", 6, "a space and a port"),
        ("m=audio 65536 RTP/AVP 0", 7, "a port of at most 65535"),
        ("m=audio 9 ", 8, "a space and a protocol"),
        ("o=- 1 1 IN IP4", 13, "a space and an address"),
        ("o=- x", 2, "a space and a session id"),
        ("c=IN IP4", 7, "a space and an address"),
        ("c=IN IP6 ff00::1/3/4", 15, "at most one more number after the address"),
        ("b=AS 128", 3, "a colon and a number"),
        ("t=0", 2, "a space and a stop time"),
        ("r=604800 3600", 12, "a space and offsets"),
        ("z=1", 1, "a time and an offset"),
        ("z=1 2 3", 5, "the end of the line"),
        ("k=", 1, "a method"),
    ],
)
def test_refuses_with_column_and_what_was_expected(line: str, column: int, expected: str) -> None:
    """The column counts from 1 at the value."""
    with pytest.raises(SdpSyntaxError) as caught:
        FIELDS[line[0]].parse(line[2:])
    assert (caught.value.column, caught.value.expected) == (column, expected)
