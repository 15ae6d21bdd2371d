"""Descriptions of callees that cannot be used: a preview is passed over, a 2xx ends the callee that sent it, alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gateway.call.state import State
from gateway.media.rtpengine.bencode import Encodable
from tests.app.scripted_callers import CALLERS, UNUSABLE, SipCaller, calling, previewed
from tests.app.scripted_house import GOOD, house
from tests.media.engine_support import phone_sdp, until
from tests.media.ng_daemon import daemon
from tests.rows import by_row

PREVIEWS = UNUSABLE | {
    "more lines than offered": f"{GOOD}m=audio 40004 RTP/AVP 0\r\nm=video 40006 RTP/AVP 96\r\n",
    "an empty ptime": f"{GOOD}a=ptime:\r\n",
    "a name": GOOD.replace("c=IN IP4 127.0.0.1", "c=IN IP4 media.invalid"),
}
"""Descriptions that other rules may find usable are previews, too: what they say is not asked here."""


@by_row("reliable", [False, True])
@by_row("caller", CALLERS)
@by_row("preview", PREVIEWS)
async def test_a_preview_that_cannot_be_used_is_passed_over(
    tmp_path: Path, preview: str, caller: str, reliable: bool
) -> None:
    """The call is judged by the 200, also behind a reliable 183, which gets its PRACK; nobody is cancelled."""
    async with house(tmp_path) as there, calling(there, caller, "04711") as placed:
        invite = await previewed(there.trunk, PREVIEWS[preview], reliable=reliable)
        await there.trunk.send(there.trunk.says(invite, 200))
        await there.trunk.request("ACK")
        assert await placed.status() == 200
        assert not there.trunk.has("CANCEL")
        assert not there.trunk.has("BYE")


@by_row("preview", UNUSABLE)
async def test_a_usable_preview_behind_an_unusable_one_is_heard(tmp_path: Path, preview: str) -> None:
    """The caller rings at the first 183 and has a description with the second; a bare 200 takes that one."""
    async with house(tmp_path) as there, calling(there, "sip", "04711") as placed:
        assert isinstance(placed, SipCaller)
        invite = await previewed(there.trunk, UNUSABLE[preview], reliable=False)
        assert getattr(await placed.phone.rings, "status", None) == 180
        await there.trunk.send(there.trunk.says(invite, 183))
        await until(lambda: [call.state for call in there.app.calls] == [State.EARLY])
        await there.trunk.send(there.trunk.says(invite, 200, sdp=None))
        assert await placed.status() == 200


async def test_unusable_previews_of_a_callee_are_logged_once(tmp_path: Path) -> None:
    """One line a callee, whatever else its 183s hold."""
    async with house(tmp_path) as there, calling(there, "sip", "04711") as placed:
        invite = await there.trunk.request("INVITE")
        for preview in UNUSABLE.values():
            await there.trunk.send(there.trunk.says(invite, 183, preview))
        await there.trunk.send(there.trunk.says(invite, 200))
        assert await placed.status() == 200
    assert (tmp_path / "log").read_text(encoding="utf-8").count("early description ignored") == 1


async def test_a_bare_200_takes_the_preview_of_its_own_phone(tmp_path: Path) -> None:
    """A phone whose own 183 cannot be used is not given the description of another phone of that user."""
    async with house(tmp_path, same_user=True) as there, calling(there, "sip", "1002") as placed:
        first, second = there.phones
        good = await previewed(first, GOOD, reliable=False)
        await until(lambda: [call.state for call in there.app.calls] == [State.EARLY])
        bare = await previewed(second, UNUSABLE["a refused line"], reliable=False)
        await second.send(second.says(bare, 200, sdp=None))
        await second.request("ACK")
        await second.accepts("BYE")
        await first.send(first.says(good, 200, sdp=None))
        assert await placed.status() == 200
        assert not first.has("BYE")


@by_row("reliable", [False, True])
@by_row("preview", UNUSABLE)
async def test_a_usable_preview_outlasts_an_unusable_one(tmp_path: Path, preview: str, reliable: bool) -> None:
    """A bare 200 takes the first description, after any number of unusable ones."""
    async with house(tmp_path) as there, calling(there, "sip", "04711") as placed:
        invite = await previewed(there.trunk, GOOD, reliable=reliable)
        await until(lambda: [call.state for call in there.app.calls] == [State.EARLY])
        for _ in range(6):
            await there.trunk.send(there.trunk.says(invite, 183, UNUSABLE[preview]))
        await there.trunk.send(there.trunk.says(invite, 200, sdp=None))
        assert await placed.status() == 200
        assert not there.trunk.has("BYE")


@by_row("number", ["8000", "1002"])
@by_row("preview", UNUSABLE)
async def test_a_preview_of_one_phone_leaves_the_answer_of_another(tmp_path: Path, preview: str, number: str) -> None:
    """Both as phones of one user and as users of one group."""
    async with house(tmp_path, same_user=number == "1002") as there, calling(there, "sip", number) as placed:
        first, second = there.phones
        await previewed(first, UNUSABLE[preview], reliable=False)
        await second.send(second.says(await second.request("INVITE"), 200))
        await second.request("ACK")
        assert await placed.status() == 200
        await first.request("CANCEL")
        assert not second.has("BYE")


@by_row("caller", CALLERS)
@by_row("answer", UNUSABLE)
async def test_a_200_that_cannot_be_used_is_acknowledged_and_ended(tmp_path: Path, answer: str, caller: str) -> None:
    """The caller hears 488."""
    async with house(tmp_path) as there, calling(there, caller, "04711") as placed:
        invite = await there.trunk.request("INVITE")
        await there.trunk.send(there.trunk.says(invite, 200, UNUSABLE[answer]))
        await there.trunk.request("ACK")
        await there.trunk.accepts("BYE")
        assert await placed.status() == 488


@by_row("number", ["8000", "1002"])
@by_row("at_once", [False, True])
@by_row("answer", UNUSABLE)
async def test_a_200_that_cannot_be_used_ends_that_phone_alone(
    tmp_path: Path, answer: str, at_once: bool, number: str
) -> None:
    """The other phone rings on, or has answered at the same moment, and has the call."""
    async with house(tmp_path, same_user=number == "1002") as there, calling(there, "sip", number) as placed:
        first, second = there.phones
        bad, good = await first.request("INVITE"), await second.request("INVITE")
        await first.send(first.says(bad, 200, UNUSABLE[answer]))
        if not at_once:
            await first.request("ACK")
            await first.accepts("BYE")
        await second.send(second.says(good, 200))
        await second.request("ACK")
        assert await placed.status() == 200
        if at_once:
            await first.request("ACK")
            await first.accepts("BYE")
        assert not second.has("BYE")


@by_row("preview", [name for name in UNUSABLE if name != "the other IP version"])
async def test_a_preview_that_the_media_engine_refuses_is_passed_over(tmp_path: Path, preview: str) -> None:
    """Also where rtpengine judges it, which relays between IP versions."""

    def judging(request: dict[str, Any]) -> Encodable:
        if request["command"] == "ping":
            return {"result": "pong"}
        if request["command"] in ("offer", "answer") and request["sdp"] in map(str.encode, UNUSABLE.values()):
            return {"result": "error", "error-reason": "no"}
        return {"result": "ok", "sdp": phone_sdp(codecs=("pcmu",)), "tags": {}}

    async with (
        daemon(judging) as (_, (host, port)),
        house(tmp_path, MEDIA__ENGINE=f"rtpengine:{host}:{port}") as there,
    ):
        async with calling(there, "sip", "04711") as placed:
            invite = await previewed(there.trunk, UNUSABLE[preview], reliable=False)
            await there.trunk.send(there.trunk.says(invite, 200))
            await there.trunk.request("ACK")
            assert await placed.status() == 200
            assert not there.trunk.has("CANCEL")
        async with calling(there, "sip", "04711") as placed:
            invite = await there.trunk.request("INVITE")
            await there.trunk.send(there.trunk.says(invite, 200, UNUSABLE[preview]))
            await there.trunk.accepts("BYE")
            assert await placed.status() >= 488
