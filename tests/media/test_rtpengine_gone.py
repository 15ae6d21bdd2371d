"""rtpengine that is restarted or gone in mid call, and one of two that is: what the calls hear of it."""

from __future__ import annotations

import pytest

from gateway.media.engine import Kind, MediaError, MediaEvent, MediaFailed, Party
from gateway.media.rtpengine.call import Patience
from gateway.media.rtpengine.engine import RtpengineEngine
from gateway.media.rtpengine.watch import Rhythm
from tests.media import rtpengine_support
from tests.media.engine_support import phone_sdp, until
from tests.media.ng_daemon import daemon
from tests.media.rtpengine_support import rtpengine

pytestmark = pytest.mark.wall

PHONE, OTHER = Party("phone", Kind.RTP), Party("other", Kind.RTP)
OFTEN = Rhythm(soon=0.1, steady=0.1)


async def up(engine: RtpengineEngine, call: str) -> None:
    await engine.offer(call, PHONE, OTHER, phone_sdp())
    await engine.answer(call, OTHER, PHONE, phone_sdp(port=42000))


async def test_one_of_two_that_is_gone_takes_its_calls_along_and_no_others() -> None:
    """After its patience each call there is told of it, once, with the daemon's address; new calls go to the other."""
    with rtpengine() as gone:
        patience = Patience(daemon=0.5)
        addresses = gone.address, rtpengine_support.shared().address
        engine = RtpengineEngine(rtpengine_support.config(*addresses, patience=patience, rhythm=OFTEN))
        events: list[MediaEvent] = []
        engine.subscribe(events.append)
        await engine.start()
        try:
            for call in ("one", "two", "three", "four"):
                await up(engine, call)
            there = {call for call, state in engine._calls.items() if state.host.address == gone.address}
            assert len(there) == 2
            gone.process.kill()
            gone.process.wait()
            await until(lambda: {event.call_id for event in events if isinstance(event, MediaFailed)} == there)
            assert len(events) == 2
            reasons = {event.reason for event in events if isinstance(event, MediaFailed)}
            assert reasons == {f"rtpengine at 127.0.0.1:{gone.address[1]} does not answer"}
            for call in there:
                with pytest.raises(MediaError) as raised:
                    await engine.offer(call, PHONE, OTHER, phone_sdp(direction="sendonly"))
                assert raised.value.status == 503
                await engine.delete(call)
            for call in ("five", "six"):
                await up(engine, call)
                assert (await engine.query(call)).parties.keys() == {"phone", "other"}
            assert engine.sessions == 4
        finally:
            await engine.close()


async def test_calls_of_one_that_says_nothing_at_all_are_given_up_at_once() -> None:
    """A start waits for its ping alone, not once more for each of its calls: SIP is open only then."""
    async with daemon(lambda request: None) as (silent, address):
        engine = RtpengineEngine(rtpengine_support.config(rtpengine_support.shared().address, address))
        await engine.start()
        try:
            await up(engine, "one")
            values = engine.values("one")
            assert values is not None
            for number in range(20):
                with pytest.raises(MediaError) as raised:
                    await engine.resume(f"left-{number}", {**values, "host": list(address)})
                assert raised.value.status == 503
            assert silent.commands() == []
            assert engine.sessions == 1
        finally:
            await engine.close()
