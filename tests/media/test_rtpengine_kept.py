"""What is left at rtpengine when a gateway dies: its next process goes on with it, and ends what no record knows."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.media.engine import Kind, MediaError, Party
from gateway.media.rtpengine import kept, requests
from gateway.media.rtpengine.client import NgHost
from gateway.media.rtpengine.engine import RtpengineEngine
from gateway.media.rtpengine.ng import Reply, Request
from sdp import SessionDescription
from tests.media import rtpengine_support
from tests.media.engine_support import Browser, Phone, audio_of, browser_sdp, frequency_of, phone_sdp, until
from tests.media.rtpengine_support import sdes_sdp, written
from tests.rows import by_row

pytestmark = pytest.mark.wall

BROWSER = Party("browser", Kind.WEBRTC)
PHONE = Party("phone", Kind.RTP, private_source="127.0.0.1")
SDES = Party("secure", Kind.SDES)
NEAR = 8.0


@contextlib.asynccontextmanager
async def engine(owner: str = "mine-", *, dies: bool = False) -> AsyncIterator[RtpengineEngine]:
    """One process; a dead one says nothing more."""
    made = RtpengineEngine(rtpengine_support.config(rtpengine_support.shared().address, owner=owner))
    await made.start()
    try:
        yield made
    finally:
        if dies:
            made._calls.clear()
        await made.close()


async def there() -> set[str]:
    """The calls that the daemon has."""
    host = NgHost(rtpengine_support.shared().address, rtpengine_support.config().client, time.monotonic, os.urandom)
    await host.open()
    try:
        found = (await host.ask({"command": "list", "limit": 1000}))["calls"]
        assert isinstance(found, list)
        return {str(name) for name in found}
    finally:
        host.close()


async def test_a_call_goes_on_with_the_next_process_and_can_be_held_and_ended() -> None:
    """The audio never stops; hold, resume, digits and the end are the next one's."""
    browser, phone = Browser(600.0, ("pcmu",)), await Phone(("pcmu", "event")).open()
    try:
        async with engine(dies=True) as first:
            phone.take(await first.offer("call", BROWSER, PHONE, await browser.offer()))
            phone.play(1000.0)
            told = await first.answer("call", PHONE, BROWSER, phone.sdp())
            await browser.take_answer(told)
            await until(lambda: abs(browser.heard() - 1000.0) < NEAR)
            values = written(first.values("call"))
        count = len(phone.packets)
        async with engine() as second:
            await second.resume("call", values)
            second.end_left()
            await until(lambda: len(phone.packets) > count + 25)
            await second.offer("call", PHONE, BROWSER, phone.sdp(direction="sendonly"))
            assert "a=recvonly" in await second.accept("call", PHONE)
            await second.offer("call", PHONE, BROWSER, phone.sdp())
            again = await second.accept("call", PHONE)
            assert audio_of(again)[1] == phone.remote[1]
            await second.send_dtmf("call", "phone", "5")
            browser.frames.clear()
            phone.packets.clear()
            await until(lambda: abs(browser.heard() - 1000.0) < NEAR)
            await until(lambda: abs(frequency_of(*phone.heard("pcmu")) - 600.0) < NEAR)
            statistics = await second.delete("call")
        assert statistics.parties["phone"].received.packets > 25
        assert "mine-call" not in await there()
    finally:
        await browser.close()
        await phone.close()


async def test_what_the_next_process_says_is_newer_than_all_that_the_dead_has_said() -> None:
    """Of each description the daemon counts the version itself, of what was written down and what was not."""
    other = Party("other", Kind.RTP, private_source="127.0.0.1")

    async def said(by: RtpengineEngine, direction: str) -> int:
        offer = phone_sdp(port=41002, direction=direction)
        origin = SessionDescription.parse(await by.offer("call", other, PHONE, offer)).origin
        assert origin is not None
        return origin.session_version

    async with engine(dies=True) as first:
        await first.offer("call", PHONE, other, phone_sdp())
        await first.answer("call", other, PHONE, phone_sdp(port=41002))
        values = written(first.values("call"))
        dead = [await said(first, direction) for direction in ("sendonly", "sendrecv", "sendonly")]
    async with engine() as second:
        await second.resume("call", values)
        assert sorted(dead) == dead
        assert await said(second, "sendrecv") > dead[-1]
        await second.delete("call")


async def test_what_no_record_knows_is_ended_and_other_gateways_calls_stay() -> None:
    """Calls in set-up, and those whose record was lost; an rtpengine may be many gateways'."""
    async with engine("other-") as other:
        await other.offer("theirs", PHONE, BROWSER, phone_sdp())
        async with engine(dies=True) as first:
            await first.offer("ringing", PHONE, BROWSER, phone_sdp())
            await first.offer("up", BROWSER, PHONE, browser_sdp())
            await first.answer("up", PHONE, BROWSER, phone_sdp())
            values = written(first.values("up"))
            assert first.values("ringing") is None
        assert {"mine-ringing", "mine-up", "other-theirs"} <= await there()
        async with engine() as second:
            await second.resume("up", values)
            second.end_left()
            assert second._ending is not None
            await second._ending
            names = await there()
            assert "mine-ringing" not in names
            assert {"mine-up", "other-theirs"} <= names


async def test_no_key_is_written_down_and_such_a_call_goes_on_without_its_descriptions() -> None:
    """What a phone said with its keys is asked of it anew; its own re-offer works at once."""
    async with engine(dies=True) as first:
        offer = await first.offer("call", BROWSER, SDES, browser_sdp())
        await first.answer("call", SDES, BROWSER, sdes_sdp(offer))
        values = written(first.values("call"))
    assert "inline:" not in json.dumps(values)
    async with engine() as second:
        await second.resume("call", values)
        again = SessionDescription.parse(await second.offer("call", SDES, BROWSER, sdes_sdp()))
        assert again.media[0].port
        assert await second.answer("call", BROWSER, SDES, browser_sdp(setup="active"))


@by_row(
    "change",
    [{"host": ["127.0.0.1", 1]}, {"name": "mine-nobody"}, {"host": None}, {"parties": 5}, {"rtpengine": 2}],
)
async def test_a_call_that_the_daemon_does_not_have_is_481(change: dict[str, Any]) -> None:
    """Another daemon, one that was restarted, or values of another engine: nothing is left of it here."""
    async with engine() as made:
        await made.offer("up", BROWSER, PHONE, browser_sdp())
        await made.answer("up", PHONE, BROWSER, phone_sdp())
        values = written(made.values("up")) | change
        with pytest.raises(MediaError) as raised:
            await made.resume("again", values)
        assert raised.value.status == 481
        assert made.sessions == 1


@pytest.mark.parametrize("is_told", [True, False])
async def test_what_the_daemon_was_told_of_digits_is_known_to_the_next_process(is_told: bool) -> None:
    """Not what the configuration would have it told by now; records of before do not say."""
    async with engine() as made:
        await made.offer("up", BROWSER, PHONE, browser_sdp())
        await made.answer("up", PHONE, BROWSER, phone_sdp())
        made._calls["up"].digits = is_told
        values = written(made.values("up"))
        [host] = made._hosts.all
        policy = made.config.policy
        assert kept.resumed("again", values, host, policy, 0.0).digits is is_told
        older = {name: value for name, value in values.items() if name != "digits"}
        assert kept.resumed("again", older, host, policy, 0.0).digits is policy.numbers(BROWSER, PHONE)


async def test_a_call_that_the_daemon_will_not_end_keeps_no_other_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said of that one; the others end."""
    async with engine(dies=True) as first:
        for name in ("one", "two", "three"):
            await first.offer(name, PHONE, BROWSER, phone_sdp())
    asked, refused = requests.ask, list[object]()

    async def refusing(host: NgHost, request: Request, *, may_be_large: bool = False) -> Reply:
        if request["command"] == "delete" and not refused:
            refused.append(request["call-id"])
            raise MediaError("refused", 500)
        return await asked(host, request, may_be_large=may_be_large)

    async with engine() as second:
        with monkeypatch.context() as patched:
            patched.setattr("gateway.media.rtpengine.engine.ask", refusing)
            second.end_left()
            assert second._ending is not None
            await second._ending
        left = {"mine-one", "mine-two", "mine-three"} & await there()
        assert left == set(refused)
        await second._end_left()
