"""Descriptions with lines that a call does not need, or cannot do without: a phone, the gateway, a PBX, on the wire."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.app.tolerated import ENDS, ENGINES, GOES_ON, OWN, UNPROTECTED, Call, Line, Pbx, offering, other, outcomes


@pytest.mark.parametrize("engine", ENGINES)
async def test_an_offer_with_a_line_that_no_call_needs_is_taken(engine: str, tmp_path: Path) -> None:
    """Each side hears the other, whatever the line says."""
    found = await outcomes(engine, tmp_path, offering(GOES_ON))
    assert found == dict.fromkeys(GOES_ON, Line(200, "talks"))


@pytest.mark.parametrize("engine", ENGINES)
async def test_an_answer_with_a_line_that_no_call_needs_is_taken(engine: str, tmp_path: Path) -> None:
    """The same of the callee's 200."""
    found = await outcomes(engine, tmp_path, dict.fromkeys(GOES_ON, Call()), Pbx(GOES_ON))
    assert found == dict.fromkeys(GOES_ON, Line(200, "talks"))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("by_callee", [False, True], ids=["caller", "callee"])
async def test_a_change_with_a_line_that_no_call_needs_is_taken(engine: str, by_callee: bool, tmp_path: Path) -> None:
    """The same of a re-INVITE."""
    calls = {name: Call(change=edit, by_callee=by_callee) for name, edit in GOES_ON.items()}
    assert await outcomes(engine, tmp_path, calls) == dict.fromkeys(GOES_ON, Line(200, "talks"))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("by_callee", [False, True], ids=["caller", "callee"])
async def test_a_change_that_nothing_can_come_of_leaves_the_call(engine: str, by_callee: bool, tmp_path: Path) -> None:
    """The re-INVITE gets 488, and each side hears the other as before."""
    calls = {name: Call(change=edit, by_callee=by_callee) for name, edit in ENDS.items()}
    assert await outcomes(engine, tmp_path, calls) == dict.fromkeys(ENDS, Line(488, "talks"))


@pytest.mark.parametrize("engine", ENGINES)
async def test_an_offer_that_nothing_can_come_of_rings_nowhere(engine: str, tmp_path: Path) -> None:
    """The caller is refused with 488 before the callee hears of the call."""
    edits = ENDS | UNPROTECTED
    assert await outcomes(engine, tmp_path, offering(edits)) == dict.fromkeys(edits, Line(488, ""))


@pytest.mark.parametrize("engine", ENGINES)
async def test_an_answer_that_nothing_can_come_of_is_ended(engine: str, tmp_path: Path) -> None:
    """The callee gets ACK and BYE, the caller hears why."""
    found = await outcomes(engine, tmp_path, dict.fromkeys(ENDS, Call()), Pbx(ENDS))
    assert found == dict.fromkeys(ENDS, Line(488, "ended"))


@pytest.mark.parametrize("engine", ["python", "native"])
@pytest.mark.parametrize("codec", ["opus", "pcmu"], ids=["forwarded", "transcoded"])
async def test_a_callee_that_numbers_opus_by_itself_is_heard(engine: str, codec: str, tmp_path: Path) -> None:
    """It answers 120 for our number, and sends 120: RFC 3264 section 5.1 has it otherwise, peers do so."""
    pbx = Pbx({"its own number": lambda sdp: re.sub(r"\b107\b", OWN, sdp)}, "opus")
    assert await outcomes(engine, tmp_path, {"": Call(codec=codec)}, pbx) == {"": Line(200, "talks")}


@pytest.mark.parametrize("engine", ["python", "native"])
async def test_opus_needs_no_second_channel_in_its_name(engine: str, tmp_path: Path) -> None:
    """RFC 7587 section 7 wants "/2"; some phones leave it out, and mean the same."""
    short = other("opus/48000/2", "opus/48000")
    calls = {"": Call(edit=short, codec="opus")}
    assert await outcomes(engine, tmp_path, calls, Pbx({"short": short}, "opus")) == {"": Line(200, "talks")}
