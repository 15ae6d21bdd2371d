"""Descriptions with lines that a call does not need, or cannot do without: a phone, the gateway, a PBX, on the wire."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.app.tolerated import (
    CALLEE_HZ,
    CALLER_HZ,
    ENDS,
    ENGINES,
    GOES_ON,
    OWN_NUMBERS,
    UNPROTECTED,
    Call,
    Ear,
    Line,
    Pbx,
    gateway_on,
    heard,
    offering,
    other,
    outcomes,
)


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
@pytest.mark.parametrize(
    ("codec", "presses"), [("opus", True), ("pcmu", False)], ids=["forwarded, with digits", "transcoded"]
)
async def test_a_callee_that_numbers_by_itself_is_heard(engine: str, codec: str, presses: bool, tmp_path: Path) -> None:
    """Its answer has other numbers than our offer, and it sends by those, which RFC 3264 section 5.1 rules out."""
    calls = dict.fromkeys(OWN_NUMBERS, Call(codec=codec, presses=presses))
    found = await outcomes(engine, tmp_path, calls, Pbx({}, numbers=list(OWN_NUMBERS.values())))
    assert found == dict.fromkeys(OWN_NUMBERS, Line(200, "talks"))


@pytest.mark.parametrize("engine", ["python", "native"])
async def test_a_page_hears_a_callee_that_numbers_by_itself(engine: str, tmp_path: Path) -> None:
    """The page offers Opus as 96, and the callee answers another number."""
    numbers = [{"opus": 97}, {"opus": 97, "event": 101}]
    pbx = Pbx({}, numbers=numbers)
    async with gateway_on(engine, tmp_path, pbx) as gateway:
        page = await gateway.browser("alice", CALLER_HZ)
        for number in range(len(numbers)):
            await page.dial(f"0{100 + number}")
            await page.status("talking")
            await page.tone(CALLEE_HZ)
            phone = pbx.phones.pop(number)
            assert await heard(Ear(phone, "opus", CALLER_HZ)) == "talks"
            await phone.close()
            await page.hang_up()


@pytest.mark.parametrize("engine", ["python", "native"])
async def test_opus_needs_no_second_channel_in_its_name(engine: str, tmp_path: Path) -> None:
    """RFC 7587 section 7 wants "/2"; some phones leave it out, and mean the same."""
    short = other("opus/48000/2", "opus/48000")
    calls = {"": Call(edit=short, codec="opus")}
    assert await outcomes(engine, tmp_path, calls, Pbx({"short": short}, "opus")) == {"": Line(200, "talks")}
