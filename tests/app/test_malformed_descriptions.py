"""Any text as a description of a callee, in a 183, a 200, a re-INVITE and an UPDATE, against a whole gateway."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.sip.message.message import Request
from tests.app.phones import Phone
from tests.app.scripted_house import GOOD, Callee, House, house
from tests.fuzzing.descriptions import Base, mutated, written
from tests.media.engine_support import until
from tests.sdp.strategies import DESCRIPTIONS

CALLEE = Base(
    "callee",
    (
        *GOOD.splitlines()[:-1],
        *("a=rtpmap:0 PCMU/8000", "a=ptime:20", "a=maxptime:60", "a=rtcp:40003", "a=sendrecv", "a=ssrc:1 cname:x"),
        *("b=AS:64", "a=label:1", "a=setup:passive", "a=ice-ufrag:abcd", "a=candidate:1 1 udp 1 127.0.0.1 9 typ host"),
    ),
    is_answer=True,
)
pytestmark = pytest.mark.asyncio(loop_scope="module")
EXAMPLES = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def broken(draw: st.DrawFn) -> str:
    """A good description with any one to three of its lines dropped, emptied or garbled, needed ones too."""
    chance: random.Random = draw(st.randoms(use_true_random=False))
    lines = CALLEE.lines
    for _ in range(draw(st.integers(1, 3))):
        lines = tuple(mutated(Base("", lines, is_answer=True), chance.randrange(len(lines)), chance)) or ("",)
    return written(lines)


@st.composite
def without_an_optional_line(draw: st.DrawFn) -> str:
    """A good description with one line that no call needs dropped, emptied or garbled."""
    chance: random.Random = draw(st.randoms(use_true_random=False))
    return written(mutated(CALLEE, draw(st.sampled_from(CALLEE.optional)), chance))


ANY = broken() | DESCRIPTIONS | st.text(st.characters(codec="utf-8"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def there(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    folder: Path = tmp_path_factory.mktemp("house")
    async with house(folder, LIMITS__LOAD="0", SIP__LIMITS__REQUESTS_PER_SECOND="100000") as built:
        yield built


async def dialled(there: House) -> tuple[Phone, Request]:
    """A call, once some ports of earlier ones have rested."""
    await until(lambda: (there.app.calls._engine.ports or (0, 0))[0] < 40)
    phone = Phone(there.agent, there.app, "1001", dials="04711")
    return phone, await there.trunk.request("INVITE")


async def ended(there: House, phone: Phone) -> None:
    """Hang up; nothing else came to the callee."""
    phone.session.hangup()
    await there.trunk.accepts("BYE")
    await phone.over
    assert not any(map(there.trunk.has, ("BYE", "CANCEL", "INVITE", "ACK")))


async def judged(there: House, phone: Phone) -> int:
    """The status of a call whose callee has sent its 200; it is left with ACK, and with BYE where the call ends."""
    await there.trunk.request("ACK")
    status = await phone.status()
    if status == 200:
        await ended(there, phone)
    else:
        await there.trunk.accepts("BYE")
    return status


@EXAMPLES
@given(said=st.lists(ANY, min_size=1, max_size=3), reliable=st.booleans())
async def test_no_text_of_a_183_ends_a_call(there: House, said: list[str], reliable: bool) -> None:
    """The 200 behind it has the call; a reliable 183 gets its PRACK."""
    phone, invite = await dialled(there)
    trunk = there.trunk
    for number, text in enumerate(said, 1):
        more = (("Require", "100rel"), ("RSeq", str(number))) if reliable else ()
        await trunk.send(trunk.says(invite, 183, text, (("Contact", trunk.contact), *more)))
        if reliable:
            await trunk.accepts("PRACK")
    await trunk.send(trunk.says(invite, 200))
    assert await judged(there, phone) == 200


@EXAMPLES
@given(said=ANY)
async def test_any_text_of_a_200_leaves_the_callee_with_ack(there: House, said: str) -> None:
    """Either the call is up, or the caller hears 400 or 488 and the callee gets BYE."""
    phone, invite = await dialled(there)
    await there.trunk.send(there.trunk.says(invite, 200, said))
    assert await judged(there, phone) in (200, 400, 488)


@EXAMPLES
@given(said=without_an_optional_line())
async def test_no_optional_line_of_a_200_ends_a_call(there: House, said: str) -> None:
    """Dropped, emptied or garbled."""
    phone, invite = await dialled(there)
    await there.trunk.send(there.trunk.says(invite, 200, said))
    assert await judged(there, phone) == 200


@EXAMPLES
@given(said=ANY.filter(bool), method=st.sampled_from(["INVITE", "UPDATE"]))
async def test_no_text_of_a_later_offer_ends_a_call(
    there: House, said: str, method: Literal["INVITE", "UPDATE"]
) -> None:
    """The offer gets 200 or a 4xx, and a good one behind it gets 200."""
    phone, invite = await dialled(there)
    trunk = there.trunk
    await trunk.send(trunk.says(invite, 200))
    await trunk.request("ACK")
    assert await phone.status() == 200
    first = await offered(trunk, invite, method, said)
    assert first == 200 or 400 <= first < 500
    assert await offered(trunk, invite, method, GOOD.replace("o=- 1 1 ", "o=- 1 9 ")) == 200
    await ended(there, phone)


async def offered(callee: Callee, invite: Request, method: Literal["INVITE", "UPDATE"], sdp: str) -> int:
    """The status that a later offer of the callee gets."""
    await callee.send(request := callee.in_dialog(method, invite, sdp))
    while (response := await callee.final(method)).cseq != request.cseq:
        assert response.status >= 400  # sent again, for nobody acknowledges a refusal here
    status = response.status
    if method == "INVITE" and status == 200:
        await callee.send(callee.in_dialog("ACK", invite, number=request.cseq.number))
    return status
