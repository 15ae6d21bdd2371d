"""What makes two codecs the same, and how their numbers are mapped."""

from __future__ import annotations

from sdp import Codec, SessionDescription, payload_map, read_codecs
from sdp.codecs import event_map, find_match, matched_codecs, parameters, renumbered
from tests.rows import by_row
from tests.sdp.plans import CHROME_VIDEO, described


def codecs_of(section: str) -> tuple[Codec, ...]:
    return read_codecs(described(section).media[0])


def h264(fmtp: str, payload_type: int = 96) -> Codec:
    return Codec("H264", 90000, payload_type=payload_type, fmtp=fmtp)


def test_names_are_compared_without_case() -> None:
    """RFC 8866 section 6.6: encoding names are case-insensitive."""
    assert Codec("pcmu", 8000).matches(Codec("PCMU", 8000))


def test_clock_rate_and_channels_belong_to_the_identity() -> None:
    """L16 at another rate, or in stereo, is another codec."""
    assert not Codec("L16", 44100).matches(Codec("L16", 48000))
    assert not Codec("L16", 44100).matches(Codec("L16", 44100, 2))


def test_static_payload_types_need_no_rtpmap() -> None:
    """RFC 3551 section 6 gives them their meaning."""
    codecs = codecs_of("m=audio 4000 RTP/AVP 0 8 9 18 10 13")
    assert [codec.rtpmap for codec in codecs] == [
        "PCMU/8000",
        "PCMA/8000",
        "G722/8000",
        "G729/8000",
        "L16/44100/2",
        "CN/8000",
    ]


def test_a_mono_codec_may_say_so() -> None:
    """G722/8000/1 is G722/8000, and is written in the short form."""
    (codec,) = codecs_of("m=audio 4000 RTP/AVP 9|a=rtpmap:9 G722/8000/1")
    assert codec.matches(Codec("G722", 8000))
    assert codec.rtpmap == "G722/8000"


@by_row("rtpmap", ["opus", "opus/", "opus/x", "/48000", "opus/0", "opus/99999999999", "opus/４８"])
def test_a_format_whose_rtpmap_says_nothing_is_left_out(rtpmap: str) -> None:
    """What it is cannot be known; the rest of the section stays usable."""
    assert [c.name for c in codecs_of(f"m=audio 4000 RTP/AVP 111 0|a=rtpmap:111 {rtpmap}")] == ["PCMU"]


@by_row("rtpmap", ["PCMA", "PCMA/", "PCMA/x", "PCMA / 8000", "/8000", "", "\t"])
def test_a_static_payload_type_keeps_its_codec_under_an_unreadable_rtpmap(rtpmap: str) -> None:
    """The line counts as absent, as one that is empty does."""
    assert [c.rtpmap for c in codecs_of(f"m=audio 4000 RTP/AVP 8|a=rtpmap:8 {rtpmap}")] == ["PCMA/8000"]


@by_row("channels", ["0", "x", "256", "1000", ""])
def test_unusable_channels_count_as_one(channels: str) -> None:
    """A phone that writes nonsense after the rate means mono."""
    (codec,) = codecs_of(f"m=audio 4000 RTP/AVP 96|a=rtpmap:96 iLBC/8000/{channels}")
    assert codec.channels == 1


def test_formats_that_are_no_payload_types_are_left_out() -> None:
    """Numbers above 127, words, repeated numbers and dynamic numbers without a map name no codec."""
    assert [c.payload_type for c in codecs_of("m=audio 4000 RTP/AVP 128 x 0 0 8 1234 97 ²")] == [0, 8]


def test_the_first_map_of_a_payload_type_counts() -> None:
    """A second rtpmap for one payload type would change what packets mean."""
    (codec,) = codecs_of("m=audio 4000 RTP/AVP 96|a=rtpmap:96 opus/48000/2|a=rtpmap:96 iLBC/8000")
    assert codec.name == "opus"


def test_feedback_for_all_formats_is_feedback_for_each() -> None:
    """RFC 4585 section 4.2: * stands for every payload type."""
    codecs = codecs_of("m=video 4 RTP/AVPF 96 31|a=rtpmap:96 VP8/90000|a=rtcp-fb:* nack|a=rtcp-fb:96 nack pli")
    assert [codec.feedback for codec in codecs] == [("nack", "nack pli"), ("nack",)]


def test_long_parameters_are_read_but_not_remembered() -> None:
    """Strangers cannot fill the cache with large values."""
    for length in (300, 8000):
        long = f"|a=fmtp:96 x={'y' * length}|a=rtcp-fb:96 {'z' * 500}"
        (codec,) = codecs_of("m=audio 4000 RTP/AVP 96|a=rtpmap:96 opus/48000/2" + long)
        assert codec.fmtp == "x=" + "y" * length


def test_codecs_of_a_section_are_read_once() -> None:
    """The second look is free."""
    media = described("m=audio 4000 RTP/AVP 0").media[0]
    assert read_codecs(media) is read_codecs(media)


def test_parameters_are_read_leniently() -> None:
    """Spaces, case and missing values do no harm."""
    assert parameters(" Mode = 20 ; useinbandfec=1;0-15;;") == {"mode": "20", "useinbandfec": "1", "0-15": ""}


@by_row(
    ("one", "other", "same"),
    [
        ("profile-level-id=42e01f;packetization-mode=1", "profile-level-id=42e034;packetization-mode=1", True),
        ("profile-level-id=42e01f;packetization-mode=1", "profile-level-id=4de01f;packetization-mode=1", True),
        ("profile-level-id=42e01f;packetization-mode=1", "profile-level-id=42001f;packetization-mode=1", False),
        ("profile-level-id=42e01f;packetization-mode=1", "profile-level-id=42e01f", False),
        ("profile-level-id=640c1f", "profile-level-id=64001f", False),
        ("profile-level-id=42001f", "", True),
        ("profile-level-id=58f01f", "profile-level-id=42e01f", True),
        ("profile-level-id=58c01f", "profile-level-id=42e01f", True),
        ("profile-level-id=58801f", "profile-level-id=42001f", True),
        ("profile-level-id=zzz", "profile-level-id=zzz", True),
        ("profile-level-id=770010", "profile-level-id=770020", True),
        ("profile-level-id=770010", "profile-level-id=780010", False),
    ],
)
def test_h264_is_the_same_where_profile_and_packetization_mode_are(one: str, other: str, same: bool) -> None:
    """RFC 6184 section 8.1: the level may differ, the profile (table 5) and the mode may not."""
    assert h264(one).matches(h264(other)) is same


@by_row(
    ("name", "one", "other", "same"),
    [
        ("VP9", "profile-id=2", "profile-id=0", False),
        ("VP9", "profile-id=0", "", True),
        ("AV1", "profile=1", "", False),
        ("AV1", "level-idx=5;profile=0;tier=0", "", True),
        ("H265", "profile-id=1;tx-mode=SRST", "level-id=93", True),
        ("H265", "profile-id=2", "", False),
        ("AMR-WB", "octet-align=1", "", False),
        ("opus", "stereo=1", "", True),
    ],
)
def test_other_codecs_compare_the_parameters_of_their_identity(name: str, one: str, other: str, same: bool) -> None:
    """Profiles and framing must be equal; wishes such as stereo need not."""
    assert Codec(name, 90000, fmtp=one).matches(Codec(name, 90000, fmtp=other)) is same


def test_an_echoed_number_stands_in_for_parameters_left_out() -> None:
    """Phones that answer H264 without any parameters mean what was offered under that number."""
    ours = h264("profile-level-id=42e01f;packetization-mode=1", 102)
    bare = h264("", 102)
    assert find_match(bare, [ours]) is ours
    assert find_match(h264("", 103), [ours]) is None
    assert find_match(Codec("H264", 90000), [Codec("H264", 90000, fmtp="packetization-mode=1")]) is None


def test_payload_types_are_mapped_by_codec() -> None:
    """The same codec under two numbers; what only one side has is absent."""
    receive = codecs_of("m=audio 4 RTP/AVP 111 0 126|a=rtpmap:111 opus/48000/2|a=rtpmap:126 telephone-event/8000")
    send = codecs_of("m=audio 4 RTP/AVP 96 101 8|a=rtpmap:96 OPUS/48000/2|a=rtpmap:101 telephone-event/8000")
    assert payload_map(receive, send) == {111: 96, 126: 101}
    assert payload_map([Codec("PCMU", 8000)], receive) == {}
    assert payload_map(receive, [Codec("PCMU", 8000)]) == {}


def test_retransmissions_are_mapped_with_the_codec_they_repeat() -> None:
    """RFC 4588: rtx of VP9 is never taken for rtx of VP8, nor kept where its codec has gone."""
    chrome = codecs_of(CHROME_VIDEO)
    other = codecs_of(
        "m=video 4 RTP/AVPF 120 121 122 123|a=rtpmap:120 VP9/90000|a=rtpmap:121 rtx/90000|a=fmtp:121 apt=120"
        "|a=rtpmap:122 rtx/90000|a=fmtp:122 apt=77|a=rtpmap:123 ulpfec/90000"
    )
    assert payload_map(chrome, other) == {98: 120, 99: 121, 116: 123}
    assert [c.name for c, _ in matched_codecs(other, chrome)] == ["VP9", "rtx", "ulpfec"]
    numbers = [(ours.payload_type, theirs.payload_type) for ours, theirs in matched_codecs(other, chrome)]
    assert numbers == [(120, 98), (121, 99), (123, 116)]


def test_redundancy_names_its_levels_by_their_new_numbers() -> None:
    """RFC 2198: red's parameters are payload types."""
    red = Codec("red", 48000, 2, payload_type=63, fmtp="111/111")
    again = renumbered(red, {111: 96})
    assert again is not None
    assert again.fmtp == "96/96"
    assert renumbered(red, {110: 96}) is None
    assert renumbered(Codec("red", 90000, fmtp=""), {}) == Codec("red", 90000)
    assert renumbered(Codec("rtx", 90000, fmtp="apt=96"), {}) is None


def test_digits_are_known_by_clock_rate() -> None:
    """Chrome offers telephone-event at 8000 and 48000 Hz; the first of a rate counts."""
    codecs = codecs_of(
        "m=audio 4 RTP/AVP 110 126 127|a=rtpmap:110 telephone-event/48000|a=rtpmap:126 telephone-event/8000"
        "|a=rtpmap:127 telephone-event/8000"
    )
    assert event_map(codecs) == {48000: 110, 8000: 126}
    assert all(codec.is_event and not codec.is_media for codec in codecs)


def test_a_number_is_changed_without_changing_the_codec() -> None:
    """Renumbering keeps everything else."""
    codec = Codec("opus", 48000, 2, 111, "stereo=1")
    assert codec.numbered(96) == Codec("opus", 48000, 2, 96, "stereo=1")
    assert codec.numbered(111) is codec


def test_an_empty_section_has_no_codecs() -> None:
    """Rejected sections are seen without formats."""
    text = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=audio 0 RTP/AVP\r\n"
    assert read_codecs(SessionDescription.parse(text).media[0]) == ()


def test_digits_without_a_number_are_in_no_map() -> None:
    """A codec that nobody has numbered yet cannot be sent."""
    assert event_map([Codec("telephone-event", 8000)]) == {}
