"""`gateway sdp`: what people and machines get to see, and with which status."""

from __future__ import annotations

import json
import re
from pathlib import Path

from typer.testing import CliRunner, Result

from gateway.commands.sdp import sdp_app
from gateway.commands.sdp_view import clean
from sdp import SessionDescription
from sdp.attributes import Candidate, Crypto
from tests.rows import by_row
from tests.sdp import corpus

FOUNDATION = re.compile(r"[A-Za-z0-9+/]{1,32}")
"""ice-char, RFC 8839 section 5.1."""
CHROME = str(corpus.OWN / "chrome-audio-offer-gathered.sdp")
YEALINK = str(corpus.OWN / "yealink-t46-offer.sdp")
SRTP = str(corpus.OWN / "freeswitch-srtp-offer.sdp")


def run(*arguments: str, given: str | bytes | None = None) -> Result:
    return CliRunner().invoke(sdp_app, list(arguments), input=given)


@by_row("path", corpus.own(), ids=corpus.name)
def test_show_shows_every_description(path: Path) -> None:
    """Every section's kind and every codec is there."""
    result = run("show", str(path))
    assert result.exit_code == 0, result.output
    for media in SessionDescription.parse(path.read_bytes()).media:
        assert f"{media.kind} {media.port} {media.protocol}" in result.output
        for rtpmap in media.rtpmaps:
            assert rtpmap.encoding in result.output
    assert "malformed" not in result.output


def test_show_reads_all_that_matters() -> None:
    """Candidates, extensions, direction and mid; passwords and keys stay hidden."""
    output = run("show", CHROME).output
    for expected in (
        "mid 0  sendrecv",
        "198.51.100.9",
        "tcptype active",
        "203.0.113.77 46154",
        "transport-cc",
        "sdes:mid",
    ):
        assert expected in output
    assert "JtQm3f0aLk7y9VdW2pRz5hNc" not in output
    keys = run("show", SRTP).output
    assert "AEAD_AES_256_GCM" in keys
    assert "inline" not in keys
    assert "0123456789" not in keys


def test_show_names_static_payload_types_and_rejected_sections() -> None:
    """Payload type 0 is PCMU without a rtpmap (RFC 3551); port 0 is a rejection."""
    result = run("show", "-", given="v=0\ns=x\nm=audio 9 RTP/AVP 0 77 x\nm=video 0 RTP/AVP 31\n")
    assert "PCMU" in result.output
    assert "video 0 RTP/AVP  rejected" in result.output


def test_show_tells_what_is_malformed() -> None:
    """The rest is shown all the same."""
    result = run("show", "-", given="v=0\nm=audio 9 RTP/AVP 96\na=rtpmap:96\na=candidate:1\n")
    assert result.exit_code == 0
    assert "malformed: line 3, column 12: expected a space and an encoding name" in result.output
    assert "malformed: line 4" in result.output


def test_show_writes_the_json_shape() -> None:
    """--json is to_dict()."""
    assert (
        json.loads(run("show", YEALINK, "--json").output)
        == SessionDescription.parse(Path(YEALINK).read_bytes()).to_dict()
    )


@by_row("command", [["show"], ["translate", "--to", "webrtc"], ["lint"]])
def test_a_description_cannot_steer_the_terminal(command: list[str]) -> None:
    """Escape sequences and rich's own markup are printed as plain text."""
    result = run(
        *command,
        "-",
        given="v=0\no=- 1 1 IN IP4 1.1.1.1\ns=\x1b[31m[red]x\nt=0 0\nm=audio 9 RTP/AVP 0\na=\x1b]0;x:\x9b\n",
    )
    assert "\x1b" not in result.output
    assert "\x9b" not in result.output
    assert clean("a\x1b[b]\t") == "a\ufffd[b]\ufffd"
    if command[0] != "lint":
        assert "[31m[red]x" in result.output


def test_lint_says_what_is_wrong_with_status_1() -> None:
    """Severity, line and RFC of each finding, and the sum."""
    result = run("lint", "-", given="v=0\ns=-\nt=0 0\nm=audio 9 RTP/AVP 96\nc=IN IP4 10.0.0.1\n")
    assert result.exit_code == 1
    for expected in ("error", "RFC 8866 section 6.6", "payload type 96 is dynamic", "warning", "1 error, 2 warnings"):
        assert expected in result.output


def test_lint_is_silent_about_what_is_good() -> None:
    """Status 0, and also with nothing but warnings."""
    result = run("lint", SRTP)
    assert (result.exit_code, result.output.strip()) == (0, "0 errors, 0 warnings")
    warned = run("lint", str(corpus.OWN / "polycom-vvx-hold-offer.sdp"))
    assert warned.exit_code == 0
    assert "0 errors, 1 warning" in warned.output


def test_lint_speaks_json() -> None:
    """For machines: counts and findings."""
    result = run("lint", "-", "--json", given="nonsense")
    assert result.exit_code == 1
    data = json.loads(result.output)
    assert (data["errors"], data["warnings"]) == (1, 0)
    assert data["findings"][0]["code"] == "unreadable"


@by_row("to", ["rtp", "webrtc", "sdes"])
@by_row("name", ["chrome-audio-offer", "firefox-audio-offer", "safari-audio-offer", "asterisk-offer", "pjsip-offer"])
def test_translate_makes_what_the_other_side_speaks(name: str, to: str) -> None:
    """The result is a description of that kind with our address and fresh keys."""
    file = str(corpus.OWN / f"{name}.sdp")
    result = run("translate", file, "--to", to, "--json", "--address", "198.51.100.77", "--port", "20000")
    assert result.exit_code == 0, result.output
    data = json.loads(result.output)
    description = SessionDescription.parse(data["sdp"])
    assert data["description"] == description.to_dict()
    (media,) = description.media
    assert media.port == 20000
    assert media.protocol == {"rtp": "RTP/AVP", "webrtc": "UDP/TLS/RTP/SAVPF", "sdes": "RTP/SAVP"}[to]
    assert [len(crypto.keys[0].key_and_salt) for crypto in media.all(Crypto)] == ([28, 30] if to == "sdes" else [])
    candidates = list(media.all(Candidate))
    assert [candidate.address for candidate in candidates] == (["198.51.100.77"] if to == "webrtc" else [])
    assert all(FOUNDATION.fullmatch(candidate.foundation) for candidate in candidates)
    assert run("lint", "-", given=data["sdp"]).exit_code == 0


def test_translate_shows_both_side_by_side() -> None:
    """What goes is marked <, what comes >, what changes |."""
    result = run("translate", CHROME, "--to", "rtp")
    assert result.exit_code == 0
    lines = [line.split() for line in result.output.splitlines()]
    assert lines[0] == ["given", "to", "rtp"]
    assert ["a=ice-lite"] not in lines
    assert ["a=rtcp-mux", "<"] in lines
    assert [">", "c=IN", "IP4", "192.0.2.1"] in lines
    assert ["a=rtpmap:0", "PCMU/8000", "a=rtpmap:0", "PCMU/8000"] in lines
    assert any(line[:2] == ["m=audio", "61665"] and "|" in line and "RTP/AVP" in line for line in lines)


def test_translate_drops_whole_sections() -> None:
    """A section that the other side is not offered stands alone."""
    source = Path(CHROME).read_text() + (corpus.OWN / "chrome-datachannel-offer.sdp").read_text().partition("m=")[
        2
    ].join(["m=", ""])
    result = run("translate", "-", "--to", "rtp", given=source)
    assert result.exit_code == 0, result.output
    assert "m=application 9 UDP/DTLS/SCTP" in result.output


def test_translate_takes_a_codec_order_and_an_ipv6_address() -> None:
    """--codecs comes first in the m= line; addresses may be IPv6."""
    data = json.loads(
        run(
            "translate", YEALINK, "--to", "webrtc", "--json", "--codecs", "PCMA,opus", "--address", "2001:db8::7"
        ).output
    )
    media = SessionDescription.parse(data["sdp"]).media[0]
    assert media.formats[:2] == ("8", "106")
    assert media.candidates[0].address == "2001:db8::7"


def test_translate_answers_an_offer() -> None:
    """With --offer, FILE is the other side's answer."""
    answer = json.loads(run("translate", YEALINK, "--to", "webrtc", "--offer", CHROME, "--json").output)
    media = SessionDescription.parse(answer["sdp"]).media[0]
    assert media.setup == "passive"
    assert media.mid == "0"


@by_row(
    ("arguments", "given", "status", "word"),
    [
        (["show", "no-such-file"], None, 2, "No such file"),
        (["show", "."], None, 2, "directory"),
        (["show", "-"], "nonsense", 2, 'line 1, column 1: expected "v=0"'),
        (["show", "-"], "v=0\n" + "a=x\n" * 30000, 2, "at most 65536 bytes"),
        (["translate", "-", "--to", "rtp"], "v=1\nm=\n", 2, "line 1, column 1"),
        (["translate", YEALINK, "--to", "rtp", "--address", "here"], None, 2, "--address is not an IP address"),
        (["translate", YEALINK, "--to", "fax"], None, 2, "fax"),
        (["translate", str(corpus.OWN / "chrome-datachannel-offer.sdp"), "--to", "rtp"], None, 1, "nothing"),
    ],
)
def test_what_cannot_be_done_is_said(arguments: list[str], given: str | None, status: int, word: str) -> None:
    """One line on standard error and a status, never a traceback."""
    result = run(*arguments, given=given)
    assert result.exit_code == status
    assert word in result.stderr
    assert "Traceback" not in result.output


def test_the_commands_explain_themselves() -> None:
    """--help reads well, and no command at all shows it."""
    for arguments in (["--help"], []):
        output = run(*arguments).output
        for word in ("show", "lint", "translate", "standard input"):
            assert word in output
