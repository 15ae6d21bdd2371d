"""Descriptions with lines that a call does not need, or cannot do without: a phone, the gateway, a PBX, on the wire."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.net.config import UserAgentConfig
from gateway.net.tap import Direction
from gateway.net.user_agent import UserAgent
from gateway.sip.flow import Flow
from tests.app.tolerated import (
    CALLEE_HZ,
    CALLER_HZ,
    CROSSED,
    ENDS,
    ENGINES,
    GOES_ON,
    OWN_NUMBERS,
    TOO_MANY,
    UNPROTECTED,
    Call,
    Ear,
    Edit,
    Line,
    Pbx,
    call,
    gateway_on,
    heard,
    offering,
    other,
    outcomes,
)
from tests.net.peers import LOOPBACK, Application


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


class Reasons:
    """Method or status, and Reason, of each message that a user agent receives with one; a `MessageTap`."""

    def __init__(self) -> None:
        self.received: list[tuple[str, str]] = []

    def message(self, direction: Direction, data: bytes, flow: Flow, time: float) -> None:
        start, *lines = data.decode().split("\r\n\r\n")[0].split("\r\n")
        for line in lines if direction is Direction.IN else ():
            name, _, value = line.partition(": ")
            if name == "Reason":
                self.received.append((start.removeprefix("SIP/2.0 ").split()[0], value))


@pytest.mark.parametrize(
    ("said", "answer", "heard_by_caller", "heard_by_callee"),
    [
        (Call(edit=TOO_MANY), str, ["488"], []),
        (Call(), TOO_MANY, ["488"], ["BYE"]),
        (Call(change=TOO_MANY), str, ["488"], []),
        (Call(change=TOO_MANY, by_callee=True), str, [], ["488"]),
    ],
    ids=["offer", "answer", "re-INVITE", "re-INVITE of the callee"],
)
async def test_the_limit_of_sections_is_said(
    said: Call, answer: Edit, heard_by_caller: list[str], heard_by_callee: list[str], tmp_path: Path
) -> None:
    """The Reason of a refusal, or of the BYE, names the limit."""
    limit = 'Q.850;cause=88;text="not-acceptable: at most 64 media sections"'
    pbx, caller, callee = Pbx({"": answer}), Reasons(), Reasons()
    agent = UserAgent(UserAgentConfig(listen=LOOPBACK), Application())
    agent.taps.add(caller)
    pbx.agent.taps.add(callee)
    await agent.start()
    try:
        async with gateway_on("python", tmp_path, pbx) as gateway:
            await call(gateway, agent, pbx, 0, said)
    finally:
        await agent.close()
    assert [start for start, reason in caller.received if reason == limit] == heard_by_caller
    assert [start for start, reason in callee.received if reason == limit] == heard_by_callee


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("codec", "presses"), [("opus", True), ("pcmu", False)], ids=["forwarded, with digits", "transcoded"]
)
async def test_a_callee_that_numbers_by_itself_is_heard(engine: str, codec: str, presses: bool, tmp_path: Path) -> None:
    """Its answer has other numbers than our offer, and it sends by those, which RFC 3264 section 5.1 rules out."""
    presses = presses and engine != "rtpengine"  # which says no digits to the caller of such a callee
    calls = dict.fromkeys(OWN_NUMBERS, Call(codec=codec, presses=presses))
    found = await outcomes(engine, tmp_path, calls, Pbx({}, numbers=list(OWN_NUMBERS.values())))
    assert found == dict.fromkeys(OWN_NUMBERS, Line(200, "talks"))


@pytest.mark.parametrize("engine", ["python", "native"])
@pytest.mark.parametrize("codec", ["opus", "pcmu"])
async def test_a_callee_that_numbers_otherwise_may_send_by_ours(engine: str, codec: str, tmp_path: Path) -> None:
    """Numbers of an answer say what the callee receives by; its packets go by the offer's (RFC 3264 section 5.1)."""
    pbx = Pbx({}, numbers=list(CROSSED.values()), sends_by_ours=True)
    found = await outcomes(engine, tmp_path, dict.fromkeys(CROSSED, Call(codec=codec)), pbx)
    assert found == dict.fromkeys(CROSSED, Line(200, "talks"))


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
