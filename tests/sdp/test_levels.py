"""What sides that take different pictures all take, as each of them is told it."""

from __future__ import annotations

import pytest

from sdp import Codec, SessionDescription, read_codecs
from sdp.levels import PictureLimit, all_take, key_of, limit_of, limited, limits_of, of_many
from tests.rows import by_row
from tests.sdp.corpus import OWN


def h264(level: str, more: str = "") -> Codec:
    return Codec("H264", 90_000, payload_type=96, fmtp=f"packetization-mode=1;profile-level-id={level}{more}")


def of(name: str) -> tuple[Codec, ...]:
    """The pictures that a real browser or phone has offered."""
    description = SessionDescription.parse((OWN / f"{name}.sdp").read_bytes().decode())
    return next(read_codecs(media) for media in description.media if media.kind == "video")


def told(codecs: tuple[Codec, ...], *others: tuple[Codec, ...]) -> list[str]:
    """H.264 as a side is told it that sees and is seen by the others."""
    limits = all_take([limits_of(each) for each in (codecs, *others)])
    return [limited(codec, limits).fmtp for codec in codecs if codec.key[0] == "h264"]


@by_row(
    ("codec", "limit"),
    [
        (h264("42e01f"), PictureLimit(62, 108_000, 3_600)),
        (h264("42e00c"), PictureLimit(24, 6_000, 396)),
        (h264("42f00b"), PictureLimit(21, 1_485, 99)),
        (h264("640009"), PictureLimit(21, 1_485, 99)),
        (h264("428016", ";max-mbps=108000;max-fs=3600"), PictureLimit(44, 108_000, 3_600)),
        # Less than its level, no number, and more digits than any: the level's own.
        (h264("428016", ";max-mbps=1;max-fs=x"), PictureLimit(44, 20_250, 1_620)),
        (h264("428016", ";max-fs=" + "9" * 5_000), PictureLimit(44, 20_250, 1_620)),
        (h264("4280ff"), PictureLimit(510, 2_073_600, 36_864)),
        (h264("428000"), PictureLimit(0, 1_485, 99)),
        (h264("zz"), None),
        (Codec("H264", 90_000), None),
        (Codec("H263", 90_000, fmtp="profile-level-id=42e01f"), None),
    ],
)
def test_what_a_side_takes_is_its_level_or_what_it_says_beyond(codec: Codec, limit: PictureLimit | None) -> None:
    """Macroblocks a second and a picture (ITU-T H.264 table A-1); what is no level is none."""
    assert limit_of(codec) == limit
    if limit is not None and limit.level:
        assert limited(h264("42e028"), {key_of(h264("42e028")): limit}) != h264("42e028")


def test_chromium_is_told_the_level_of_a_phone_that_takes_less_in_every_profile() -> None:
    """A phone with one profile gets the others as that one; the packetization mode that it has not is not limited."""
    said = told(of("chrome-audio-video-offer"), (h264("42e00c", ";level-asymmetry-allowed=1"),))
    modes = [each.partition("packetization-mode=")[2][0] for each in said]
    levels = [each.partition("profile-level-id=")[2][:6] for each in said]
    assert [level for mode, level in zip(modes, levels, strict=True) if mode == "1"] == ["42000c", "42e00c", "4d000c"]
    assert [level for mode, level in zip(modes, levels, strict=True) if mode == "0"] == ["42001f", "42e01f"]
    assert all("level-asymmetry-allowed=1" in each and "max-" not in each for each in said)


def test_chromium_and_a_phone_that_says_its_limits_beyond_its_level_lose_nothing() -> None:
    """Level 2.2 with the pictures of level 3.1, as real phones offer it; in mode 0 that one takes no more than 2.2."""
    said = told(of("chrome-audio-video-offer"), of("cisco-8845-video-offer"))
    assert [each for each in said if "packetization-mode=1" in each] == [
        f"level-asymmetry-allowed=1;packetization-mode=1;profile-level-id={level};max-mbps=108000;max-fs=3600"
        for level in ("420016", "42e016", "4d0016")
    ]
    assert all(each.endswith("16") for each in said if "packetization-mode=0" in each)
    assert told(of("cisco-8845-video-offer"), of("chrome-audio-video-offer")) == [
        codec.fmtp for codec in of("cisco-8845-video-offer") if codec.key[0] == "h264"
    ]


def test_who_takes_as_much_or_says_nothing_leaves_what_was_said_as_it_is() -> None:
    """Firefox has Chromium's level; a phone that names none means what it was offered."""
    chromium = of("chrome-audio-video-offer")
    own = [codec.fmtp for codec in chromium if codec.key[0] == "h264"]
    assert told(chromium) == told(chromium, of("firefox-audio-video-offer"), (Codec("H264", 90_000),)) == own


def test_one_who_takes_more_in_a_profile_of_its_own_is_told_the_least_in_the_others() -> None:
    """A browser with high profile at level 5.2 beside the baseline at 3.1, and another one with the baseline alone."""
    both, other = (h264("42e01f"), h264("640034")), (h264("42e028"),)
    assert told(both, other) == [h264("42e01f").fmtp, h264("640028").fmtp]
    assert told(other, both) == [h264("42e01f").fmtp]


def coded(name: str, fmtp: str) -> Codec:
    return Codec(name, 90_000, payload_type=97, fmtp=fmtp)


@by_row(
    ("name", "own", "others", "told_then"),
    [
        ("VP8", "", [""], ""),
        ("VP8", "", ["max-fs=396"], "max-fs=396"),
        ("VP8", "", ["max-fs=396;max-fr=30", "max-fs=1620;max-fr=15"], "max-fr=15;max-fs=396"),
        ("VP8", "max-fs=12288;max-fr=60", ["max-fs=396;max-fr=15"], "max-fs=396;max-fr=15"),
        ("VP8", "max-fs=12288;max-fr=60", ["max-fr=15"], "max-fs=12288;max-fr=15"),
        ("VP8", "max-fs=396", ["max-fs=12288", ""], "max-fs=396"),
        # No picture, no number, more digits than any: no bound.
        ("VP8", "", ["max-fs=0;max-fr=x", "max-fs=" + "9" * 5_000], ""),
        ("VP9", "profile-id=0", ["max-fs=396"], "profile-id=0;max-fs=396"),
        ("VP9", "profile-id=0;max-fr=60", ["max-fr=15"], "profile-id=0;max-fr=15"),
        ("VP9", "profile-id=2", ["profile-id=0;max-fs=396"], "profile-id=2"),
        ("AV1", "level-idx=9;profile=0;tier=1", ["level-idx=4;profile=0;tier=0"], "level-idx=4;profile=0;tier=0"),
        ("AV1", "level-idx=9;profile=0;tier=1", ["profile=0"], "level-idx=5;profile=0;tier=0"),
        ("AV1", "", ["level-idx=0"], "level-idx=0;tier=0"),
        ("AV1", "", ["level-idx=9"], ""),
        ("AV1", "profile=1;level-idx=9", ["profile=0;level-idx=5"], "profile=1;level-idx=9"),
        ("H263", "max-fs=9", ["max-fs=1"], "max-fs=9"),
    ],
)
def test_each_codec_is_bounded_by_its_own_parameters(name: str, own: str, others: list[str], told_then: str) -> None:
    """VP8 and VP9: RFC 7741 and 9628 section 6.1; AV1: its payload format, 7.2.1."""
    codec = coded(name, own)
    limits = all_take([limits_of([each]) for each in (codec, *(coded(name, other) for other in others))])
    assert limited(codec, limits).fmtp == told_then


def test_a_bound_that_is_gone_is_said_no_more() -> None:
    """Who was told the slowest one's is told its own again."""
    own = limits_of([coded("VP8", "max-fr=60")])
    assert limited(coded("VP8", "max-fs=396;max-fr=15;x=y"), own).fmtp == "max-fr=60;x=y"


def test_what_a_side_takes_of_one_codec_says_nothing_of_another() -> None:
    """A phone with VP8 alone, and a browser with both."""
    browser = of("chrome-audio-video-offer")
    limits = all_take([limits_of(browser), limits_of([coded("VP8", "max-fs=396")])])
    assert [codec.name for codec in browser if limited(codec, limits) != codec] == ["VP8"]


def test_who_is_told_a_lower_level_is_told_of_no_higher_one() -> None:
    """`max-recv-level` and all else by which it takes more than its level (RFC 6184 section 8.1)."""
    beyond = ";max-recv-level=e01f;max-mbps=108000;max-fs=3600;max-br=14000"
    assert told((h264("42e015", beyond),), (h264("42e00c"),)) == [h264("42e00c").fmtp]


def test_who_says_a_codec_twice_takes_the_lesser() -> None:
    """Under two payload types; in any order."""
    both = [coded("VP8", "max-fs=396;max-fr=30"), coded("VP8", "max-fs=1620;max-fr=15")]
    assert limits_of(both) == limits_of(both[::-1]) == limits_of([coded("VP8", "max-fs=396;max-fr=15")])


@pytest.mark.parametrize("name", ["VP8", "VP9"])
def test_of_many_none_is_told_less_than_the_lowest_level_of_h264_has(name: str) -> None:
    """What H.264 and AV1 have as their lowest level stays."""
    small = [coded(name, "max-fs=1;max-fr=1"), h264("42e00a"), coded("AV1", "level-idx=0")]
    bound = of_many(limits_of(small))
    assert limited(coded(name, ""), bound).fmtp == "max-fr=5;max-fs=99"
    assert [limited(codec, bound) for codec in small[1:]] == small[1:]
    assert of_many(limits_of([coded(name, "max-fs=100;max-fr=6")])) == limits_of([coded(name, "max-fs=100;max-fr=6")])
