"""The JSON shape of sdp-transform: equal to its own reading, save where it misreads, and back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import sdp_transform
from hypothesis import given
from hypothesis import strategies as st

from sdp import Limits, SdpSyntaxError, SessionDescription
from tests.rows import by_row
from tests.sdp import corpus

MISSING = "absent"
EVERY = corpus.every()
"""Descriptions by name."""

DEVIATIONS = {
    "tcptype": "its table looks for a word `tcpfield`, so TCP candidates lose their type",
    "after tcptype": "and what follows the type, generation and network, is lost with it",
    "leading zero": "it makes every run of digits a number, so 0560693492 loses its zero and names another foundation",
    "whole name": "it takes an attribute by the beginning of its name, so rtcp-mux-only becomes rtcp-mux",
    "port count": "its m= pattern does not know `port/count`, so the whole m= line is lost",
}
"""Where our dictionary differs from sdp-transform 1.1.0's, because it is wrong."""

MUX_ONLY = {"value": "rtcp-mux-only"}
FIRST_FIELDS = ("type", "port", "numPorts", "protocol", "payloads")


def differences(ours: Any, theirs: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Every leaf in which two dictionaries differ, types included."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in {**ours, **theirs}:
            yield from differences(ours.get(key, MISSING), theirs.get(key, MISSING), f"{path}.{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for number, (our, their) in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(our, their, f"{path}[{number}]")
    elif type(ours) is not type(theirs) or ours != theirs:
        yield path, ours, theirs


def reason(path: str, ours: Any, theirs: Any, candidate: Mapping[str, Any]) -> str | None:
    """Which of the known deviations a difference is."""
    key = path.rpartition(".")[2]
    if key == "tcptype" and theirs == MISSING:
        return "tcptype"
    if key in ("generation", "network-id", "network-cost") and theirs == MISSING and "tcptype" in candidate:
        return "after tcptype"
    if isinstance(ours, str) and isinstance(theirs, int) and ours.lstrip("0") == str(theirs) and ours != str(theirs):
        return "leading zero"
    if key == "rtcpMux" and ours == MISSING:
        return "whole name"
    if key == "invalid" and [other for other in ours if other != MUX_ONLY] == ([] if theirs == MISSING else theirs):
        return "whole name"
    if key in FIRST_FIELDS and theirs == MISSING:
        return "port count"
    return None


def at(data: Any, path: str) -> Mapping[str, Any]:
    """The dictionary that holds the leaf at `path`."""
    for part in path.rpartition(".")[0].replace("[", ".").replace("]", "").split(".")[1:]:
        data = data[int(part)] if part.isdecimal() else data[part]
    assert isinstance(data, Mapping)
    return data


def known_differences(text: str) -> set[str]:
    """The kinds of deviation in one description; an unknown difference fails."""
    ours = SessionDescription.parse(text).to_dict()
    found = set()
    for path, our, their in differences(ours, sdp_transform.parse(text)):
        kind = reason(path, our, their, at(ours, path))
        assert kind is not None, (path, our, their)
        found.add(kind)
    return found


@by_row("path", corpus.own(), ids=corpus.name)
def test_own_descriptions_read_as_sdp_transform_reads_them(path: Path) -> None:
    """The same dictionary, value for value and type for type, but for its bugs."""
    assert known_differences(path.read_text()) <= DEVIATIONS.keys()


def test_published_descriptions_read_as_sdp_transform_reads_them() -> None:
    """Over all of them; every listed deviation really occurs somewhere."""
    found = {kind for text in EVERY.values() for kind in known_differences(text)}
    assert found == DEVIATIONS.keys()


LINES = sorted({line for text in EVERY.values() for line in text.splitlines() if line and not line.startswith("v=")})


@given(st.lists(st.sampled_from(LINES), max_size=12))
def test_any_mixture_of_known_lines_reads_as_sdp_transform_reads_it(lines: list[str]) -> None:
    """Lines of all descriptions, in any order and number: repeated, out of place, merged."""
    assert known_differences("\r\n".join(["v=0", *lines, ""])) <= DEVIATIONS.keys()


@by_row(
    ("line", "key", "ours", "theirs"),
    [
        ("a=ice-pwd:0042", "icePwd", "0042", 42),
        ("a=ice-ufrag:1_0", "iceUfrag", "1_0", 10),
        ("a=ice-ufrag:12e4", "iceUfrag", "12e4", 120000.0),
        ("a=rtcp-mux-only", "invalid", [{"value": "rtcp-mux-only"}], None),
        ("p=+1", "phone", "+1", 1),
    ],
)
def test_what_sdp_transform_misreads_outside_them(line: str, key: str, ours: object, theirs: object) -> None:
    """Text that merely looks like a number stays text; an attribute is taken by its whole name."""
    text = f"v=0\r\n{line}\r\n"
    assert SessionDescription.parse(text).to_dict().get(key) == ours
    assert sdp_transform.parse(text).get(key) == theirs


@by_row("text", EVERY.values(), ids=EVERY)
def test_our_dictionary_reads_back_as_the_same_dictionary(text: str) -> None:
    """What the shape can carry comes back; a session name is made up where there was none."""
    first = SessionDescription.parse(text).to_dict()
    again = SessionDescription.from_dict(json.loads(json.dumps(first)))
    assert again.to_dict() == {"name": "-", **first}
    assert SessionDescription.parse(str(again)) == again


@by_row("text", EVERY.values(), ids=EVERY)
def test_what_sdp_transform_made_is_read(text: str) -> None:
    """Its dictionaries become descriptions that give the same dictionary again."""
    theirs = sdp_transform.parse(text)
    if any("type" not in media for media in theirs["media"]):
        with pytest.raises(SdpSyntaxError, match=r"media\[0\]\.type"):
            SessionDescription.from_dict(theirs)
        return
    assert SessionDescription.from_dict(theirs).to_dict() == {"name": "-", **theirs}


@by_row("text", EVERY.values(), ids=EVERY)
def test_sdp_transform_reads_what_we_make(text: str) -> None:
    """Its writer takes our dictionaries, and what it writes reads like the original."""
    ours = SessionDescription.parse(text).to_dict()
    written = sdp_transform.write(json.loads(json.dumps(ours)))
    for where, again, our in differences(sdp_transform.parse(written), ours):
        lost = again == MISSING or our == MISSING
        assert lost or reason(where, our, again, at(ours, where)), (where, again, our)


def test_attributes_the_shape_does_not_know_are_kept_as_text() -> None:
    """Under "invalid", and written back."""
    text = "v=0\r\ns=-\r\na=x-unknown:1\r\na=flag\r\na=7\r\nm=audio 9 RTP/AVP 0\r\na=candidate:none\r\n"
    data = SessionDescription.parse(text).to_dict()
    assert data["invalid"] == [{"value": "x-unknown:1"}, {"value": "flag"}, {"value": 7}]
    assert data["media"][0]["invalid"] == [{"value": "candidate:none"}]
    assert str(SessionDescription.from_dict(data)) == text


def test_lines_the_shape_has_no_key_for_are_left_out() -> None:
    """k= and lines of unknown types have no place in it."""
    data = SessionDescription.parse("v=0\ns=-\nk=prompt\ny=1\nc=TN RFC2543 x\n").to_dict()
    assert data == {"version": 0, "name": "-", "media": []}


def test_the_smallest_dictionary_makes_a_description() -> None:
    """v= and s= are made up like sdp-transform does; None counts as absent."""
    assert str(SessionDescription.from_dict({})) == "v=0\r\ns=-\r\n"
    assert str(SessionDescription.from_dict({"version": None, "name": None, "media": None})) == "v=0\r\ns=-\r\n"
    media = {
        "type": "audio",
        "port": 9,
        "protocol": "RTP/AVP",
        "direction": "sendonly",
        "ptime": 0.125,
        "invalid": None,
    }
    assert str(SessionDescription.from_dict({"media": [media]})) == (
        "v=0\r\ns=-\r\nm=audio 9 RTP/AVP\r\na=ptime:0.125\r\na=sendonly\r\n"
    )


@by_row(
    ("data", "expected"),
    [
        ([], "an object at the description"),
        ({"media": {}}, None),
        ({"media": {"0": 1}}, "a list at media"),
        ({"media": [1]}, r"an object at media\[0\]"),
        ({"media": [{}]}, r"text or a number at media\[0\]\.type"),
        ({"origin": "me"}, "an object at origin"),
        ({"origin": {"username": "me"}}, r"text or a number at origin\.sessionId"),
        ({"rtp": {"payload": 0}}, "a list at rtp"),
        ({"rtp": [0]}, r"an object at rtp\[0\]"),
        ({"rtp": [{"payload": 0}]}, r"text or a number at rtp\[0\]\.codec"),
        ({"mid": True}, r"text or a number at mid"),
        ({"mid": float("nan")}, r"text or a number at mid"),
        ({"mid": float("inf")}, r"text or a number at mid"),
        ({"mid": 10**5000}, r"text or a number at mid"),
        ({"mid": ["a"]}, r"text or a number at mid"),
        ({"direction": "both"}, "a direction at direction"),
        (
            {"media": [{"type": "audio", "port": 9, "protocol": "X", "direction": []}]},
            r"direction at media\[0\]\.direction",
        ),
        ({"invalid": [{}]}, r"text or a number at invalid\[0\]"),
        ({"invalid": 1}, "a list at invalid"),
        ({"version": 1}, 'expected "v=0"'),
        ({"name": "a\r\nm=audio 9 RTP/AVP 0"}, "values without line ends"),
        ({"name": "a\rb"}, "values without line ends"),
        ({"name": "a\0b"}, "a character other than NUL and CR"),
        ({"name": "\ud800"}, "a Unicode character"),
        ({"media": [{"type": "audio", "port": 70000, "protocol": "X"}]}, "a port of at most 65535"),
    ],
)
def test_a_dictionary_of_another_shape_is_refused_by_key(data: Any, expected: str | None) -> None:
    """Whatever the JSON holds, the only error is ours, and it names the key."""
    if expected is None:
        assert SessionDescription.from_dict(data).media == ()
        return
    with pytest.raises(SdpSyntaxError, match=expected):
        SessionDescription.from_dict(data)


def test_limits_hold_for_dictionaries_too() -> None:
    """from_dict takes the same limits as parse."""
    with pytest.raises(SdpSyntaxError, match="at most 20 bytes"):
        SessionDescription.from_dict({"name": "x" * 30}, Limits(size=20))


def test_digits_beyond_reason_stay_text() -> None:
    """A number of thousands of digits is no number, and costs nothing."""
    text = "v=0\r\na=mid:" + "9" * 5000 + "\r\n"
    assert SessionDescription.parse(text).to_dict()["mid"] == "9" * 5000


def test_both_spellings_of_bfcp_floors_are_read() -> None:
    """RFC 8856's mstrm is written, the drafts' m-stream is read as well."""
    for word in ("mstrm", "m-stream"):
        data = SessionDescription.parse(f"v=0\ns=-\na=floorid:1 {word}:3\n").to_dict()
        assert data["bfcpFloorId"] == {"id": 1, "mStream": 3}
        assert SessionDescription.from_dict(data).lines[-1] == "a=floorid:1 mstrm:3"
