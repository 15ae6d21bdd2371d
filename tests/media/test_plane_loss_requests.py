"""What is asked of the engine in the moment in which its plane dies is done, as if it had died a moment later."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.embedded.plane.native.plane import NativePlane
from gateway.media.engine import Kind, MediaEvent, MediaFailed, MediaLost, Party
from tests.media.engine_support import config, phone_sdp, until
from tests.media.plane_rig import native_plane

pytestmark = pytest.mark.wall

CALLER, CALLEE, COMES = (Party(tag, Kind.RTP) for tag in ("caller", "callee", "comes"))


class Rig:
    """Two phones that talk, and one that has agreed to come in, on a native plane."""

    def __init__(self, folder: Path) -> None:
        self.plane: NativePlane = native_plane(folder)
        self.engine = EmbeddedEngine(config(), make_plane=lambda: self.plane)
        self.events: list[MediaEvent] = []
        self.engine.subscribe(self.events.append)

    async def talk(self) -> None:
        engine = self.engine
        await engine.offer("call", CALLER, CALLEE, phone_sdp())
        await engine.answer("call", CALLEE, CALLER, phone_sdp(port=41002))
        await engine.create_offer("call", COMES, CALLER)
        await engine.answer("call", COMES, None, phone_sdp(port=41004))

    def kill(self) -> None:
        """The plane is dead, and nobody has noticed."""
        process = self.plane.process_id
        assert process is not None
        os.kill(process, signal.SIGKILL)
        os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)

    async def lost(self, *tags: str) -> None:
        """These parties are to be offered another transport."""
        await until(lambda: {each.tag for each in self.events if isinstance(each, MediaLost)} >= set(tags))
        assert not [each for each in self.events if isinstance(each, MediaFailed)]

    async def agree(self, party: Party, peer: Party, port: int) -> None:
        await self.engine.create_offer("call", party, peer)
        await self.engine.answer("call", party, None, phone_sdp(port=port))


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    made = Rig(tmp_path)
    await made.engine.start()
    await made.talk()
    yield made
    await made.engine.close()


def joined(engine: EmbeddedEngine, tag: str) -> str | None:
    other = engine._session("call").party(tag).joined
    return None if other is None else other.party.tag


async def replace(engine: EmbeddedEngine) -> None:
    await engine.join("call", "caller", "comes")
    await engine.release("call", "callee")


async def turn_back(engine: EmbeddedEngine) -> None:
    await engine.release("call", "comes")
    await engine.join("call", "caller", "callee")


async def take_back(engine: EmbeddedEngine) -> None:
    await engine.isolate("call", "callee")
    await engine.join("call", "caller", "callee")


@pytest.mark.parametrize(
    ("ask", "left", "talks_with"),
    [
        (replace, {"caller", "comes"}, "comes"),
        (turn_back, {"caller", "callee"}, "callee"),
        (take_back, {"caller", "callee", "comes"}, "callee"),
    ],
)
async def test_who_talks_with_whom_is_changed_while_the_plane_is_dead(
    rig: Rig, ask: Callable[[EmbeddedEngine], Awaitable[None]], left: set[str], talks_with: str
) -> None:
    """They do so as soon as they have agreed to what they are offered then."""
    rig.kill()
    await ask(rig.engine)
    await rig.lost(*left)
    assert joined(rig.engine, "caller") == talks_with
    other = Party(talks_with, Kind.RTP)
    await rig.agree(CALLER, other, 41000)
    await rig.agree(other, CALLER, 41006)
    await rig.engine.join("call", "caller", talks_with)


@pytest.mark.parametrize("call", ["call", "another"])
async def test_an_offer_that_is_made_while_the_plane_is_dead_is_of_the_next(rig: Rig, call: str) -> None:
    """For somebody who is to come in, and for a call that begins: it names ports that there are."""
    engine, target = rig.engine, Party("target", Kind.RTP)
    rig.kill()
    if call == "call":
        await engine.create_offer(call, target, CALLER)
        await engine.answer(call, target, None, phone_sdp(port=41008))
    else:
        await engine.offer(call, CALLER, target, phone_sdp())
        await engine.answer(call, target, CALLER, phone_sdp(port=41008))
    await rig.lost("caller", "callee", "comes")
    assert not [each for each in rig.events if isinstance(each, MediaLost) and each.tag == "target"]
    flow = engine._session(call).party("target").flow
    assert flow is not None
    assert await rig.plane.snapshot((flow,))


async def test_what_a_party_says_while_the_plane_is_dead_is_taken(rig: Rig) -> None:
    """Its answer to what was offered over the transport that is gone, and our answer to its offer: both are offered
    the next."""
    engine = rig.engine
    await engine.offer("call", CALLEE, CALLER, phone_sdp(port=41002))
    rig.kill()
    assert await engine.answer("call", CALLER, CALLEE, phone_sdp())
    await rig.lost("caller", "callee")
    await rig.agree(CALLER, CALLEE, 41000)
    await rig.agree(CALLEE, CALLER, 41002)
    await engine.join("call", "caller", "callee")


async def test_a_party_of_another_call_comes_in_while_the_plane_is_dead(rig: Rig) -> None:
    """It is offered another transport where it has come to."""
    engine = rig.engine
    await engine.offer("other", Party("c", Kind.RTP), Party("d", Kind.RTP), phone_sdp(port=41010))
    await engine.answer("other", Party("d", Kind.RTP), Party("c", Kind.RTP), phone_sdp(port=41012))
    rig.kill()
    await engine.adopt("call", "other", "d")
    await engine.join("call", "caller", "d")
    await until(lambda: MediaLost("call", "d") in rig.events)
    assert joined(engine, "caller") == "d"
