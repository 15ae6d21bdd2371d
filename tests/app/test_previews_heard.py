"""Calls behind previews and answers that cannot be used: each side hears the other, by their tones, on both planes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.sip.message.message import Request
from tests.app.desk import Desk
from tests.app.scripted_callers import UNUSABLE, previewed
from tests.app.scripted_house import GOOD, Callee, House, house
from tests.interop.gateway import NEAR, RpcBrowser
from tests.media.engine_support import Phone as RtpPhone
from tests.media.engine_support import frequency_of, until
from tests.rows import by_row

CALLER_HZ, CALLEE_HZ = 400.0, 700.0
PLANES = pytest.mark.parametrize("plane", ["python", "native"])
BAD = UNUSABLE["another codec"]
Hears = Callable[[], bool]


@asynccontextmanager
async def speaking(there: House, kind: str, number: str, *, has_offer: bool = True) -> AsyncIterator[Hears]:
    """A phone or a page that has dialled, and says its tone as soon as it can; whether it hears the callee's."""
    if kind == "json-rpc":
        async with RpcBrowser(CALLER_HZ, ("pcmu",)) as page:
            await page.open(there.app.signed_in_url("alice"))
            await page.dial(number)
            yield lambda: abs((page._ear.tone() or 0.0) - CALLEE_HZ) < NEAR
            await page.hang_up()
        return
    desk = Desk("1001")
    await desk.registered(there.app)
    try:
        desk.dial(there.app, number, None if has_offer else b"")

        def hears() -> bool:
            if desk.rtp.remote is not None and desk.rtp._sending is None:
                desk.rtp.play(CALLER_HZ)
            return desk.hears(CALLEE_HZ)

        yield hears
        desk.session.hangup()
    finally:
        await desk.close()


async def talk(callee: Callee, invite: Request, caller_hears: Hears, tag: str = "t") -> None:
    """Have a callee answer, talk with its caller, and be left."""
    rtp = await RtpPhone(("pcmu",), ssrc=2).open()
    try:
        rtp.take(invite.body.decode())
        await callee.send(callee.says(invite, 200, rtp.sdp(), tag=tag))
        while (await callee.request("ACK")).to_tag != tag:
            pass
        rtp.play(CALLEE_HZ)

        def both() -> bool:
            rtp.packets = rtp.packets[-60:]
            return caller_hears() and abs(frequency_of(*rtp.heard("pcmu")) - CALLER_HZ) < NEAR

        await until(both)
        assert not callee.has("BYE")
    finally:
        await rtp.close()


@PLANES
@by_row("caller", ["sip", "json-rpc"])
async def test_behind_an_unusable_preview_each_hears_the_other(tmp_path: Path, caller: str, plane: str) -> None:
    """Of each kind, reliable and not."""
    async with house(tmp_path, MEDIA__PLANE=plane) as there:
        for number, preview in enumerate(UNUSABLE.values()):
            async with speaking(there, caller, "04711") as hears:
                invite = await previewed(there.trunk, preview, reliable=bool(number % 2))
                await talk(there.trunk, invite, hears)
            await there.trunk.accepts("BYE")


@by_row("caller", ["sip", "json-rpc"])
@by_row("answer", UNUSABLE)
async def test_a_page_hears_of_an_unusable_200_behind_a_good_preview(tmp_path: Path, answer: str, caller: str) -> None:
    """The callee gets ACK and BYE, and the caller is told; it is free for the next call."""
    async with house(tmp_path) as there, RpcBrowser(CALLER_HZ, ("pcmu",)) as page:
        await page.open(there.app.signed_in_url("alice"))
        await page.dial("04711")
        invite = await previewed(there.trunk, GOOD, reliable=False)
        await there.trunk.send(there.trunk.says(invite, 200, UNUSABLE[answer]))
        await there.trunk.request("ACK")
        await there.trunk.accepts("BYE")
        await page.status("ready")
        assert page.last_cause == "not-acceptable"


Branch = Callable[[Callee, Request], Awaitable[None]]


async def bad_preview(callee: Callee, invite: Request) -> None:
    await callee.send(callee.says(invite, 183, BAD, tag="other"))


async def good_preview(callee: Callee, invite: Request) -> None:
    await callee.send(callee.says(invite, 183, GOOD, tag="other"))


async def bad_answer(callee: Callee, invite: Request) -> None:
    await callee.send(callee.says(invite, 200, BAD, tag="other"))
    assert (await callee.request("ACK")).to_tag == "other"
    assert (await callee.accepts("BYE")).to_tag == "other"


@PLANES
@by_row("other", [bad_preview, good_preview, bad_answer], ids=lambda other: other.__name__)
@by_row("fork", ["proxy", "group", "one user"])
async def test_a_caller_without_an_offer_hears_the_branch_that_answers(
    tmp_path: Path, fork: str, other: Branch, plane: str
) -> None:
    """Its INVITE forks at a proxy, or rings a group or two phones of one user; the other branch says this first."""
    async with house(tmp_path, same_user=fork == "one user", MEDIA__PLANE=plane) as there:
        number = {"proxy": "04711", "group": "8000", "one user": "1002"}[fork]
        async with speaking(there, "sip", number, has_offer=False) as hears:
            first, second = (there.trunk, there.trunk) if fork == "proxy" else (there.phones[0], there.phones[1])
            asked = await first.request("INVITE")
            invite = asked if fork == "proxy" else await second.request("INVITE")
            await second.send(second.says(invite, 180, None))
            await other(first, asked)
            await talk(second, invite, hears)
        await second.accepts("BYE")


@PLANES
@by_row("answering", [0, 1])
@by_row("previews", [(GOOD, BAD), (BAD, GOOD), (GOOD, GOOD), (BAD, BAD)], ids=["gb", "bg", "gg", "bb"])
async def test_each_phone_of_a_user_may_answer_behind_any_previews(
    tmp_path: Path, previews: tuple[str, str], answering: int, plane: str
) -> None:
    """The phone that answers is heard, and the other one is cancelled."""
    async with house(tmp_path, same_user=True, MEDIA__PLANE=plane) as there, speaking(there, "sip", "1002") as hears:
        invites = [
            await previewed(phone, preview, reliable=False)
            for phone, preview in zip(there.phones, previews, strict=True)
        ]
        await talk(there.phones[answering], invites[answering], hears)
        await there.phones[1 - answering].request("CANCEL")
