"""Callees behind one proxy that forks our INVITE: a 2xx that cannot be used ends its own branch alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.sip.invite.events import Failed
from gateway.sip.message.message import Request
from tests.app.scripted_callers import CALLERS, UNUSABLE, SipCaller, calling
from tests.app.scripted_house import GOOD, Callee, house
from tests.rows import by_row

BAD = UNUSABLE["a refused line"]


async def rings(callee: Callee, *tags: str, sdp: str | None = None) -> Request:
    """The INVITE of the gateway, which branches with these tags have answered 180."""
    invite = await callee.request("INVITE")
    for tag in tags:
        await callee.send(callee.says(invite, 180, sdp, tag=tag))
    return invite


@by_row("ringing", ["ab", "a", "b", ""])
@by_row("caller", CALLERS)
@by_row("answer", UNUSABLE)
async def test_an_unusable_200_leaves_the_answer_of_another_branch(
    tmp_path: Path, answer: str, caller: str, ringing: str
) -> None:
    """Both answers come at once, of branches that have rung before or not."""
    async with house(tmp_path) as there, calling(there, caller, "04711") as placed:
        trunk = there.trunk
        invite = await rings(trunk, *ringing)
        await trunk.send(trunk.says(invite, 200, UNUSABLE[answer], tag="a"))
        await trunk.send(trunk.says(invite, 200, tag="b"))
        assert {(await trunk.request("ACK")).to_tag, (await trunk.request("ACK")).to_tag} == {"a", "b"}
        assert (await trunk.accepts("BYE")).to_tag == "a"
        assert await placed.status() == 200
        assert not trunk.has("BYE")
        assert not trunk.has("CANCEL")


async def answers_in_vain(trunk: Callee, invite: Request, tag: str) -> None:
    """Have a branch answer with a description that cannot be used: it gets ACK and BYE."""
    await trunk.send(trunk.says(invite, 200, BAD, tag=tag))
    assert (await trunk.request("ACK")).to_tag == tag
    assert (await trunk.accepts("BYE")).to_tag == tag


@pytest.mark.parametrize("sdp", [None, GOOD])
async def test_a_branch_that_rings_may_answer_after_an_unusable_200(tmp_path: Path, sdp: str | None) -> None:
    """The second answer takes the call once the first branch has been ended, also from a third branch."""
    async with house(tmp_path) as there, calling(there, "sip", "04711") as placed:
        trunk = there.trunk
        invite = await rings(trunk, *"abc", sdp=sdp)
        for tag in "ab":
            await answers_in_vain(trunk, invite, tag)
        await trunk.send(trunk.says(invite, 200, tag="c"))
        assert (await trunk.request("ACK")).to_tag == "c"
        assert await placed.status() == 200
        await trunk.send(trunk.says(invite, 200, tag="late"))
        assert (await trunk.request("ACK")).to_tag == "late"
        assert (await trunk.accepts("BYE")).to_tag == "late"


@pytest.mark.parametrize(("patience", "sooner"), [("1", True), ("32", False)])
async def test_a_caller_hears_488_where_no_other_branch_answers(tmp_path: Path, patience: str, sooner: bool) -> None:
    """Within `sip.timers.other_answers` of the unusable 200; a branch that answers later gets ACK and BYE."""
    async with house(tmp_path, SIP__TIMERS__OTHER_ANSWERS=patience) as there, calling(there, "sip", "04711") as placed:
        assert isinstance(placed, SipCaller)
        trunk = there.trunk
        invite = await rings(trunk, *"ab")
        await answers_in_vain(trunk, invite, "a")
        done, _ = await asyncio.wait([placed.phone.outcome], timeout=5)
        assert bool(done) is sooner
        outcome = await placed.phone.outcome
        assert isinstance(outcome, Failed)
        assert outcome.status == 488
        assert not trunk.has("CANCEL")
        if sooner:
            await trunk.send(trunk.says(invite, 200, tag="b"))
            assert (await trunk.request("ACK")).to_tag == "b"
            assert (await trunk.accepts("BYE")).to_tag == "b"


@pytest.mark.parametrize("judged", [True, False])
async def test_a_caller_that_leaves_ends_each_branch_that_answered(tmp_path: Path, judged: bool) -> None:
    """While the other branch may answer yet, and after it has."""
    async with house(tmp_path) as there, calling(there, "sip", "04711") as placed:
        assert isinstance(placed, SipCaller)
        trunk = there.trunk
        invite = await rings(trunk, *"ab")
        await answers_in_vain(trunk, invite, "a")
        if judged:
            await trunk.send(trunk.says(invite, 200, tag="b"))
            await trunk.request("ACK")
            assert await placed.status() == 200
        placed.phone.session.hangup()
        await placed.phone.over
        if not judged:
            await trunk.send(trunk.says(invite, 200, tag="b"))
            await trunk.request("ACK")
        assert (await trunk.accepts("BYE")).to_tag == "b"
