"""An answer tells the caller what the callee takes, not what the caller had said of itself."""

from __future__ import annotations

import pytest

from sdp import Codec, negotiate, read_codecs, translate
from sdp.declaring import declaring
from tests.rows import by_row
from tests.sdp.plans import browser_plan, described, phone_plan

VOICE = "m=audio 4000 RTP/AVP 0"
BOTH = "level-asymmetry-allowed=1"
MODE = "packetization-mode=1"


def told(offered: str, answered: str, name: str = "H264") -> str:
    """The parameters of the answer that a caller gets whose offer says `offered`, of a callee that says `answered`."""
    offer = described(VOICE, f"m=video 4002 RTP/AVP 96|a=rtpmap:96 {name}/90000|a=fmtp:96 {offered}")
    line = f"|a=fmtp:99 {answered}" if answered else ""
    theirs = described(VOICE, f"m=video 5002 RTP/AVP 99|a=rtpmap:99 {name}/90000{line}")
    plan = phone_plan(media=("audio", "video"))
    made = translate(theirs, plan, offer=offer)
    agreed = negotiate(offer, made, local="answerer")
    [codec] = read_codecs(made.media[1])
    assert codec.payload_type == 96
    assert [one.payload_type for one in agreed.media[1].send] == [96]
    return codec.fmtp


@by_row(
    ("offered", "answered", "profile"),
    [
        (f"profile-level-id=42e01f;{BOTH}", f"profile-level-id=42e00c;{BOTH}", "42e00c"),
        (f"profile-level-id=42e01f;{BOTH}", f"profile-level-id=42e028;{BOTH}", "42e028"),
        (f"profile-level-id=42e01f;{BOTH}", "profile-level-id=42e00c", "42e00c"),
        (f"profile-level-id=42e01f;{BOTH}", "profile-level-id=42e028", "42e01f"),
        ("profile-level-id=42e01f", f"profile-level-id=42e028;{BOTH}", "42e01f"),
        (f"profile-level-id=42e01f;{BOTH}", f"profile-level-id=4de00c;{BOTH}", "42e00c"),
        # 1b: level 1.1 with the flag, below 1.1 and above 1.
        ("profile-level-id=42e01f", "profile-level-id=42f00b", "42f00b"),
        ("profile-level-id=42e00b", "profile-level-id=42f00b", "42f00b"),
        ("profile-level-id=42f00b", "profile-level-id=42e00b", "42f00b"),
        ("profile-level-id=42f00b", "profile-level-id=42e00a", "42e00a"),
        (f"profile-level-id=42f00b;{BOTH}", f"profile-level-id=42e00b;{BOTH}", "42e00b"),
        ("profile-level-id=64001f", "profile-level-id=640009", "640009"),
        ("profile-level-id=64000b", "profile-level-id=640009", "640009"),
    ],
)
def test_the_level_of_h264_is_what_the_callee_takes(offered: str, answered: str, profile: str) -> None:
    """RFC 6184 section 8.2.2: each its own where both allow that levels differ, else the lower one for both."""
    said = told(f"{MODE};{offered}", f"{MODE};{answered}").split(";")
    assert [f"profile-level-id={profile}"] == [part for part in said if part.startswith("profile")]
    assert said[0] == MODE
    differ = BOTH in offered and BOTH in answered
    assert (BOTH in said) == differ
    assert ("level-asymmetry-allowed=0" in said) == (BOTH in offered and not differ)


@by_row("answered", ["", MODE, f"{MODE};profile-level-id=zz"])
def test_a_phone_that_names_no_level_means_what_it_was_offered(answered: str) -> None:
    """What is no level is none."""
    offered = f"{BOTH};{MODE};profile-level-id=42001f"
    line = Codec("H264", 90_000, payload_type=99, fmtp=answered)
    named = declaring(Codec("H264", 90_000, payload_type=96, fmtp=offered), line).fmtp
    assert sorted(named.split(";")) == sorted(offered.split(";"))


@by_row(
    ("name", "offered", "answered", "expected"),
    [
        ("VP8", "max-fs=3600;max-fr=30", "max-fs=396;max-fr=15", "max-fs=396;max-fr=15"),
        ("VP8", "max-fs=3600", "", "max-fs=3600"),
        ("VP9", "profile-id=0;max-fs=3600", "max-fs=396", "profile-id=0;max-fs=396"),
        ("AV1", "level-idx=9;profile=0;tier=0", "level-idx=5", "profile=0;level-idx=5"),
        ("H265", "level-id=120;profile-id=1", "level-id=93;profile-id=1", "profile-id=1;level-id=93"),
        ("H264", f"{MODE};sprop-parameter-sets=AAAA", f"{MODE};sprop-parameter-sets=BBBB;max-mbps=11880",
         f"{MODE};sprop-parameter-sets=BBBB;max-mbps=11880"),
    ],
)  # fmt: skip
def test_what_one_side_declares_of_pictures_reaches_the_other(
    name: str, offered: str, answered: str, expected: str
) -> None:
    """Limits and parameter sets are those of whom the caller sends to and hears from; the profile is the offer's."""
    assert told(offered, answered, name) == expected


def test_a_browser_is_told_the_limits_of_a_phone_that_called_it_and_of_one_that_it_calls() -> None:
    """Offers carry the caller's own, answers the callee's."""
    phone = described(VOICE, "m=video 4002 RTP/AVP 96|a=rtpmap:96 H264/90000|a=fmtp:96 profile-level-id=42e00c")
    offer = translate(phone, browser_plan(media=("audio", "video")))
    assert "profile-level-id=42e00c" in str(offer.media[1])


@pytest.mark.parametrize(
    ("name", "rate", "offered", "answered"),
    [
        ("telephone-event", 8000, "0-16", "0-11"),
        ("AMR", 8000, "octet-align=1;mode-set=0,2", "octet-align=1;mode-set=7"),
    ],
)
def test_what_is_neither_a_picture_nor_opus_stays_as_it_was_offered(
    name: str, rate: int, offered: str, answered: str
) -> None:
    """The digits and the modes of a caller's own line are what it is answered (RFC 3264 section 6.1)."""
    line = Codec(name, rate, payload_type=96, fmtp=offered)
    assert declaring(line, Codec(name, rate, payload_type=101, fmtp=answered)) == line
