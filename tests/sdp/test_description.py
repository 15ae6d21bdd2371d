"""Descriptions: nothing lost, views on demand, edits as new values."""

from __future__ import annotations

from pathlib import Path

import pytest

import sdp
from sdp import (
    Bandwidth,
    Connection,
    Direction,
    MediaDescription,
    MediaLine,
    Origin,
    SdpSyntaxError,
    SessionDescription,
)
from sdp.attributes import (
    ATTRIBUTES,
    Candidate,
    Crypto,
    Fingerprint,
    Group,
    Mid,
    RtcpMux,
    RtpMap,
    Setup,
    SetupRole,
    Ssrc,
)
from sdp.fields import FIELDS, Key, Repeat, Timing, Zones
from tests.rows import by_row
from tests.sdp import corpus

MALFORMED = {
    "sdp-transform/alac": {("rtpmap", 7)},
    "sdp-transform/simulcast": {("simulcast", 28)},
    "sdp-transform/st2110-20": {("mid", 23)},
}
"""Attributes of published descriptions that are not of their RFC's form, with their lines."""

OFFER = (
    "v=0\r\n"
    "o=- 1 2 IN IP4 192.0.2.1\r\n"
    "s=-\r\n"
    "c=IN IP4 192.0.2.1\r\n"
    "t=0 0\r\n"
    "a=fingerprint:sha-256 AA:BB\r\n"
    "a=sendonly\r\n"
    "m=audio 4000 RTP/AVP 0 8\r\n"
    "b=AS:64\r\n"
    "a=rtpmap:0 PCMU/8000\r\n"
    "a=rtpmap:8 PCMA/8000\r\n"
    "a=x-unknown:kept\r\n"
    "y=kept too\r\n"
    "a=rtcp-mux\r\n"
    "m=video 0 RTP/AVP 31\r\n"
    "c=IN IP6 2001:db8::1\r\n"
    "a=inactive\r\n"
)


@by_row("path", corpus.own(), ids=corpus.name)
def test_own_descriptions_come_out_byte_for_byte(path: Path) -> None:
    """Well-formed text in is text out."""
    text = path.read_bytes()
    assert str(SessionDescription.parse(text)).encode() == text


def test_published_descriptions_come_out_with_crlf() -> None:
    """Nothing but the line ends may change, whichever came."""
    for name, text in corpus.published().items():
        crlf = text.replace("\n", "\r\n")
        assert str(SessionDescription.parse(text)) == crlf, name
        assert str(SessionDescription.parse(crlf)) == crlf, name


def test_every_view_of_every_description_round_trips() -> None:
    """A view written and read again is the same view; what is malformed in published ones is known."""
    for case, text in corpus.every().items():
        description = SessionDescription.parse(text, strict=True)
        malformed = set()
        for section in (description, *description.media):
            for name, view in ATTRIBUTES.items():
                try:
                    values = section.all(view)
                except SdpSyntaxError as error:
                    malformed.add((name, error.line))
                    continue
                assert [view.parse(str(value)) for value in values] == list(values), (case, name)
            for letter, field in FIELDS.items():
                for written in section.field_values(letter):
                    value = field.parse(written)
                    assert field.parse(str(value)) == value, (case, letter)
        assert malformed == MALFORMED.get(case, set()), case


def test_lf_and_crlf_read_alike() -> None:
    """A line ends with CRLF or LF; CRLF is written."""
    assert SessionDescription.parse(OFFER.replace("\r\n", "\n")) == SessionDescription.parse(OFFER)
    assert str(SessionDescription.parse(OFFER.replace("\r\n", "\n"))) == OFFER


def test_a_missing_last_line_end_and_empty_last_lines_are_forgiven() -> None:
    """What peers get wrong at the very end costs nothing to read."""
    assert str(SessionDescription.parse(OFFER.rstrip("\r\n"))) == OFFER
    assert str(SessionDescription.parse(OFFER + "\r\n\n")) == OFFER


def test_bytes_that_are_not_utf8_come_out_as_they_came() -> None:
    """A session name in ISO 8859-1 survives (RFC 8866 section 6.10)."""
    text = OFFER.replace("s=-", "s=Büro").encode("latin-1")
    description = SessionDescription.parse(text)
    assert description.name == "Büro"
    assert description.charset == "latin-1"
    assert bytes(description) == text
    assert bytes(SessionDescription.parse("v=0\r\ns=Büro\r\n")) == "v=0\r\ns=Büro\r\n".encode()


def test_session_fields_are_typed() -> None:
    """o=, s=, c=, b= of the session part."""
    description = SessionDescription.parse(OFFER)
    assert description.origin == Origin("-", "1", 2, "192.0.2.1")
    assert description.name == "-"
    assert description.connection == Connection("192.0.2.1")
    assert description.bandwidths == ()
    assert description.fingerprints == (Fingerprint("sha-256", "AA:BB"),)
    assert description.setup is None


def test_media_fields_are_typed() -> None:
    """The m= line and the views over its section."""
    audio, video = SessionDescription.parse(OFFER).media
    assert audio.media_line == MediaLine("audio", 4000, "RTP/AVP", ("0", "8"))
    assert (audio.kind, audio.port, audio.protocol, audio.formats) == ("audio", 4000, "RTP/AVP", ("0", "8"))
    assert audio.bandwidths == (Bandwidth("AS", 64),)
    assert audio.rtpmaps == (RtpMap(0, "PCMU", 8000), RtpMap(8, "PCMA", 8000))
    assert audio.fmtps == ()
    assert audio.candidates == ()
    assert audio.cryptos == ()
    assert audio.mid is None
    assert audio.rtcp_mux
    assert not video.rtcp_mux
    assert video.direction is Direction.INACTIVE


def test_times_zones_and_keys_are_typed() -> None:
    """t=, r=, z=, k= of a session that nobody calls but some announce."""
    description = SessionDescription.parse((corpus.OWN / "multicast-session.sdp").read_bytes())
    assert description.timings[0] == Timing(3724394400, 3724398000)
    assert len(description.timings) == 2
    assert description.repeats == (Repeat(604800, 3600, (0, 90000)),)
    assert description.zones == Zones(((3730928400, -3600), (3749680800, 0)))
    assert description.key == Key("prompt")
    assert description.media[0].key == Key("clear", "no secret at all")
    assert description.media[1].key is None


def test_what_is_absent_is_none() -> None:
    """An empty description has no origin, name or connection."""
    empty = SessionDescription.parse("v=0\n")
    assert empty.origin is None
    assert empty.name is None
    assert empty.connection is None
    assert empty.direction is None
    assert empty.zones is None
    assert empty.repeats == ()
    assert empty.media == ()


def test_raw_values_are_at_hand() -> None:
    """Known or not, an attribute is found by its name."""
    description = SessionDescription.parse(OFFER)
    audio = description.media[0]
    assert audio.has("x-unknown")
    assert not audio.has("unknown")
    assert audio.values("rtpmap") == ("0 PCMU/8000", "8 PCMA/8000")
    assert audio.value("x-unknown") == "kept"
    assert audio.value("rtcp-mux") == ""
    assert audio.value("mid") is None
    assert audio.field_values("y") == ("kept too",)
    assert audio.line_numbers("x-unknown") == (12,)
    assert audio.line_numbers("m=") == (8,)


def test_the_session_speaks_where_the_section_is_silent() -> None:
    """c=, direction and attributes fall back to session level."""
    description = SessionDescription.parse(OFFER)
    audio, video = description.media
    assert description.connection_of(audio) == Connection("192.0.2.1")
    assert description.connection_of(video) == Connection("2001:db8::1", "IP6")
    assert description.direction_of(audio) is Direction.SENDONLY
    assert description.direction_of(video) is Direction.INACTIVE
    assert SessionDescription.parse("v=0\nm=audio 1 RTP/AVP 0\n").direction_of(audio) is Direction.SENDRECV
    assert description.first_of(audio, Fingerprint) == Fingerprint("sha-256", "AA:BB")
    assert description.all_of(audio, Fingerprint) == (Fingerprint("sha-256", "AA:BB"),)
    own = audio.with_attribute(Fingerprint("sha-1", "CC"))
    assert description.first_of(own, Fingerprint) == Fingerprint("sha-1", "CC")
    assert description.all_of(own, Fingerprint) == (Fingerprint("sha-1", "CC"),)


def test_the_first_of_two_directions_holds() -> None:
    """Two direction attributes in one section: the first is taken."""
    section = MediaDescription(("m=audio 1 RTP/AVP 0", "a=recvonly", "a=sendrecv"))
    assert section.direction is Direction.RECVONLY


def test_views_are_read_once() -> None:
    """The same view asked for twice is the same object."""
    section = SessionDescription.parse(OFFER).media[0]
    assert section.all(RtpMap) is section.all(RtpMap)
    assert section.media_line is section.media_line
    assert section.bandwidths is section.bandwidths


@by_row(
    ("line", "view", "column", "expected"),
    [
        ("a=candidate:1 1 udp x 192.0.2.1 9 typ host", Candidate, 20, "a space and a priority"),
        ("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:#", Crypto, 43, "a key in base64"),
        ("a=ssrc:99999999999 cname:x", Ssrc, 18, "a space and an attribute"),
        ("a=setup:both", Setup, 9, "active, passive, actpass or holdconn"),
    ],
)
def test_a_malformed_value_names_line_column_and_what_was_expected(
    line: str, view: type[Candidate | Crypto | Ssrc | Setup], column: int, expected: str
) -> None:
    """A strict reader raises when the view is asked for, as seen from the whole text; others pass the line over."""
    assert SessionDescription.parse(OFFER + line + "\r\n").media[1].all(view) == ()
    description = SessionDescription.parse(OFFER + line + "\r\n", strict=True)
    with pytest.raises(SdpSyntaxError) as caught:
        description.media[1].all(view)
    assert (caught.value.line, caught.value.column, caught.value.expected) == (18, column, expected)
    assert caught.value.status == 400


@by_row("line", ["c=IN IP4", "b=AS", "o=-"])
def test_a_malformed_field_names_its_line(line: str) -> None:
    """Also the lines other than a=, of a strict reader; others pass them over."""
    read = SessionDescription.parse(f"v=0\n{line}\n")
    assert (read.connection, read.bandwidths, read.origin) == (None, (), None)
    description = SessionDescription.parse(f"v=0\n{line}\n", strict=True)
    with pytest.raises(SdpSyntaxError) as caught:
        _ = (description.connection, description.bandwidths, description.origin)
    assert caught.value.line == 2


def test_errors_never_repeat_the_input() -> None:
    """Keys and passwords stay out of error texts."""
    description = SessionDescription.parse(
        "v=0\nm=audio 1 RTP/SAVP 0\na=crypto:1 A inline:secret!\na=ice-pwd:sec\x7fret\n", strict=True
    )
    for view in (Crypto, ATTRIBUTES["ice-pwd"]):
        with pytest.raises(SdpSyntaxError) as caught:
            description.media[0].all(view)
        assert "sec" not in str(caught.value)


def test_secrets_stay_out_of_views_repr() -> None:
    """A logged view shows no key and no password."""
    key = Crypto.parse("1 AES_CM_128_HMAC_SHA1_80 inline:MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5")
    assert "0123456789" not in repr(key)
    assert "MDEy" not in repr(key)
    assert "topsecret" not in repr(ATTRIBUTES["ice-pwd"].parse("topsecret"))
    assert "topsecret" not in repr(FIELDS["k"].parse("clear:topsecret"))


@by_row("line", ["a=ice-pwd:topsecret", "a=crypto:1 SUITE inline:topsecret", "k=clear:topsecret"])
def test_secrets_stay_out_of_the_repr_of_descriptions(line: str) -> None:
    """A description in a traceback or a log shows all but its keys, on either level."""
    text = f"v=0\n{line}\nm=audio 1 RTP/SAVP 0\n{line}\na=mid:0\n"
    description = SessionDescription.parse(text)
    assert "topsecret" in str(description)
    assert "topsecret" not in repr(description)
    assert "topsecret" not in repr(description.media[0])
    assert repr(description).endswith(
        "media=[MediaDescription(['m=audio 1 RTP/SAVP 0', '{}***', 'a=mid:0'])])".format(
            line[: line.index(":") + 1] if line[0] == "a" else "k="
        )
    )


def test_build_writes_the_order_of_the_rfc() -> None:
    """From values to text in RFC 8866's order, typed attributes and plain text mixed."""
    audio = MediaDescription.build(
        "audio",
        4000,
        "RTP/AVP",
        [0, "101"],
        connection=Connection("192.0.2.2"),
        bandwidths=[Bandwidth("AS", 64)],
        attributes=[RtpMap(0, "PCMU", 8000), RtcpMux(), "fmtp:101 0-15", Setup(SetupRole.ACTPASS)],
    )
    description = SessionDescription.build(
        Origin("-", "1", 1, "192.0.2.1"),
        [audio],
        connection=Connection("192.0.2.1"),
        bandwidths=[Bandwidth("CT", 128)],
        attributes=[Group("BUNDLE", ("0",))],
    )
    assert str(description).split("\r\n") == [
        "v=0",
        "o=- 1 1 IN IP4 192.0.2.1",
        "s=-",
        "c=IN IP4 192.0.2.1",
        "b=CT:128",
        "t=0 0",
        "a=group:BUNDLE 0",
        "m=audio 4000 RTP/AVP 0 101",
        "c=IN IP4 192.0.2.2",
        "b=AS:64",
        "a=rtpmap:0 PCMU/8000",
        "a=rtcp-mux",
        "a=fmtp:101 0-15",
        "a=setup:actpass",
        "",
    ]
    assert audio.setup is SetupRole.ACTPASS
    assert SessionDescription.parse(str(description)) == description


def test_build_without_options_is_short() -> None:
    """Only what must be there is written."""
    media = MediaDescription.build("audio", 0, "RTP/AVP", [0])
    assert str(SessionDescription.build(Origin("-", "1", 1, "0.0.0.0"), [media])) == (
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=audio 0 RTP/AVP 0\r\n"
    )


@by_row("value", ["0\r\na=sendonly", "0\na=sendonly", "0\rx", "0\0x"])
def test_line_ends_cannot_be_smuggled_in(value: str) -> None:
    """A value with a line end is refused, however it is put in."""
    section = MediaDescription.build("audio", 1, "RTP/AVP", [0])
    for edit in (
        lambda: section.with_attribute(Mid(value)),
        lambda: section.replace_attribute(f"mid:{value}"),
        lambda: section.replace_field("i", value),
        lambda: MediaDescription.build("audio", 1, "RTP/AVP", [value]),
        lambda: SessionDescription.build(Origin("-", "1", 1, "0.0.0.0"), [section], name=value),
    ):
        with pytest.raises(SdpSyntaxError):
            edit()


@by_row("lines", [(), ("a=mid:0",), ("m=audio 1 RTP/AVP 0", "m=audio 1 RTP/AVP 0"), ("",)])
def test_a_media_section_begins_with_its_one_m_line(lines: tuple[str, ...]) -> None:
    """Lines that would read back as another structure are refused."""
    with pytest.raises(SdpSyntaxError):
        MediaDescription(lines)


def test_a_session_part_begins_with_the_version() -> None:
    """v=0 is the first line."""
    with pytest.raises(SdpSyntaxError):
        SessionDescription(("s=-",))


def test_a_malformed_m_line_from_a_program_raises_when_asked() -> None:
    """Sections made of raw lines are read like any other."""
    with pytest.raises(SdpSyntaxError) as caught:
        _ = MediaDescription(("m=audio",)).port
    assert (caught.value.line, caught.value.column) == (1, 8)


def section(*attributes: str) -> MediaDescription:
    return MediaDescription.build("audio", 1, "RTP/AVP", [0], attributes=attributes)


def test_edits_leave_the_old_value_alone() -> None:
    """Every helper returns a new value."""
    old = section("mid:0", "sendrecv")
    old.with_attribute("x").without("mid").with_direction(Direction.INACTIVE).replace_field(
        "c", Connection("192.0.2.1")
    )
    assert old == section("mid:0", "sendrecv")
    assert hash(old) == hash(section("mid:0", "sendrecv"))


def test_without_drops_every_attribute_of_the_names() -> None:
    """Names that are not there are no error."""
    assert section("a", "b:1", "c", "b:2").without("b", "c", "d") == section("a")
    same = section("a")
    assert same.without("b") is same


def test_replace_attribute_keeps_the_place() -> None:
    """The new ones stand where the first of the name stood, the others are gone."""
    assert section("a", "mid:0", "b", "mid:1").replace_attribute(Mid("x")) == section("a", "mid:x", "b")
    assert section("a").replace_attribute(Mid("x")) == section("a", "mid:x")
    assert section("a", "ssrc:1 x", "b").replace_attribute("ssrc:2 x", "ssrc:3 x") == section(
        "a", "ssrc:2 x", "ssrc:3 x", "b"
    )


def test_with_direction_replaces_any_other() -> None:
    """There is one direction afterwards."""
    assert section("sendonly", "a", "recvonly").with_direction(Direction.INACTIVE) == section("inactive", "a")
    assert section("a").with_direction(Direction.SENDRECV) == section("a", "sendrecv")


def test_replace_field_finds_the_place_of_the_rfc() -> None:
    """A field is put where RFC 8866 section 5 puts it, or where it was, or is taken away."""
    description = SessionDescription.parse("v=0\no=- 1 1 IN IP4 0.0.0.0\ns=-\nt=0 0\na=x\n")
    with_connection = description.replace_field("c", Connection("192.0.2.1"))
    assert with_connection.lines[3] == "c=IN IP4 192.0.2.1"
    assert with_connection.replace_field("c", Connection("192.0.2.9")).lines[3] == "c=IN IP4 192.0.2.9"
    assert with_connection.replace_field("c") == description
    assert description.replace_field("y", "new").lines[-1] == "y=new"
    assert section("a").replace_field("c", Connection("192.0.2.1")).lines[1] == "c=IN IP4 192.0.2.1"


def test_with_media_and_with_media_line() -> None:
    """Sections and their first lines are replaced whole."""
    description = SessionDescription.parse(OFFER)
    rejected = description.media[0].with_media_line(MediaLine("audio", 0, "RTP/AVP", ("0",)))
    assert rejected.lines == ("m=audio 0 RTP/AVP 0", *description.media[0].lines[1:])
    assert description.with_media([rejected]).media == (rejected,)
    assert description.with_media([]).lines == description.lines


def test_the_package_shows_its_face() -> None:
    """What the issue names is at hand."""
    for name in sdp.__all__:
        assert hasattr(sdp, name)
    assert sdp.SdpNegotiationError("nothing in common").status == 488
    assert sdp.SdpNegotiationError("nothing in common").reason == "nothing in common"
    assert isinstance(sdp.SdpNegotiationError("x"), sdp.SdpError)
    assert str(SdpSyntaxError(0, 3, "a port")) == "column 3: expected a port"


@by_row(
    ("one", "other", "both"),
    [("sendrecv", "sendonly", "sendonly"), ("sendonly", "recvonly", "inactive"), ("sendrecv", "sendrecv", "sendrecv")],
)
def test_direction_algebra(one: str, other: str, both: str) -> None:
    """RFC 3264 section 6.1: what both sides allow; reversing twice changes nothing."""
    assert Direction(one).limited_to(Direction(other)) is Direction(both)
    assert Direction(other).limited_to(Direction(one)) is Direction(both)
    assert Direction(one).reversed().reversed() is Direction(one)
    assert Direction("sendonly").reversed() is Direction.RECVONLY
