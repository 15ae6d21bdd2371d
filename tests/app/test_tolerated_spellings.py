"""Needed lines in another spelling, and lines of protection in plain RTP: a phone, the gateway, a PBX, on the wire."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.app.tolerated import ENGINES, Call, Edit, Line, Pbx, offering, other, outcomes, plus


def line(pattern: str, new: str) -> Edit:
    """Write another line for the only one that begins so."""

    def edit(sdp: str) -> str:
        changed, count = re.subn(rf"^{pattern}[^\r]*\r\n", f"{new}\r\n" if new else "", sdp, flags=re.MULTILINE)
        assert count == 1, (pattern, sdp)
        return changed

    return edit


PLACE = "127.0.0.1"
SPELLINGS: dict[str, Edit] = {
    "an address with a TTL": line("c=", f"c=IN IP4 {PLACE}/127"),
    "an address behind two blanks": line("c=", f"c=IN  IP4 {PLACE}"),
    "an address in small letters": line("c=", f"c=in ip4 {PLACE}"),
    "an address twice": line("c=", f"c=IN IP4 {PLACE}\r\nc=IN IP4 {PLACE}"),
    "an address of the other version": line("c=", f"c=IN IP6 {PLACE}"),
    "no origin": line("o=", ""),
    "an origin of nothing": line("o=", "o="),
    "an origin with a blank in its name": line("o=", f"o=the phone 1 1 IN IP4 {PLACE}"),
    "an origin without an address": line("o=", "o=phone 1 1 IN IP4"),
    "an origin below zero": line("o=", f"o=phone -1 -1 IN IP4 {PLACE}"),
    "an origin whose version is a word": line("o=", f"o=phone 1 x IN IP4 {PLACE}"),
    "a format that is a word": other("RTP/AVP 0", "RTP/AVP 0 x"),
    "a format beyond all numbers": other("RTP/AVP 0", "RTP/AVP 0 300"),
    "a format below zero": other("RTP/AVP 0", "RTP/AVP 0 -1"),
    "a line of no type": plus("x=y"),
    "a codec without a clock": other("PCMU/8000", "PCMU"),
    "a clock that is a word": other("PCMU/8000", "PCMU/x"),
    "a codec with blanks": other("PCMU/8000", "PCMU / 8000"),
    "feedback": other("RTP/AVP", "RTP/AVPF"),
    "a fingerprint": plus("a=fingerprint:sha-256 " + ":".join(["AB"] * 32), "a=setup:active"),
}
"""Edits of a description after which the call is as good as before."""

ANSWERS = {**SPELLINGS, "a key": plus("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + "A" * 40)}
"""The same of an answer; a key in an offer of plain RTP is a wish for SRTP."""


@pytest.mark.parametrize("engine", ENGINES)
async def test_an_offer_in_another_spelling_is_taken(engine: str, tmp_path: Path) -> None:
    """Each side hears the other; the daemon reads less than the gateway, and gets each line as RFC 8866 has it."""
    found = await outcomes(engine, tmp_path, offering(SPELLINGS))
    assert found == dict.fromkeys(SPELLINGS, Line(200, "talks"))


@pytest.mark.parametrize("engine", ENGINES)
async def test_an_answer_in_another_spelling_is_taken(engine: str, tmp_path: Path) -> None:
    """The same of the callee's 200."""
    found = await outcomes(engine, tmp_path, dict.fromkeys(ANSWERS, Call()), Pbx(ANSWERS))
    assert found == dict.fromkeys(ANSWERS, Line(200, "talks"))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("by_update", [False, True], ids=["re-INVITE", "UPDATE"])
async def test_a_change_in_another_spelling_is_taken(engine: str, by_update: bool, tmp_path: Path) -> None:
    """The same of later offers: re-INVITEs of the caller, UPDATEs of the callee."""
    calls = {name: Call(change=edit, by_callee=by_update, by_update=by_update) for name, edit in SPELLINGS.items()}
    assert await outcomes(engine, tmp_path, calls) == dict.fromkeys(SPELLINGS, Line(200, "talks"))
