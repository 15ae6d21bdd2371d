"""Descriptions with lines that a call does not need, or cannot do without: a phone, the gateway, a PBX, on the wire."""

from __future__ import annotations

import asyncio
import contextlib
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.sip.auth.account import Credentials
from gateway.sip.invite import events
from gateway.sip.invite.incoming import IncomingSession
from tests.interop.gateway import PASSWORDS, Gateway, check_log, config_on_free_ports, gateway_with
from tests.media.engine_support import Phone, frequency_of
from tests.media.plane_rig import until
from tests.media.rtpengine_support import rtpengine
from tests.net.peers import LOOPBACK, Application, Recorder

AT_THE_PBX = "127.0.0.2"
CALLER_HZ, CALLEE_HZ = 400.0, 700.0
NEAR = 15.0
AT_ONCE = 6
"""Calls side by side."""
ENGINES = ("python", "native", pytest.param("rtpengine", marks=pytest.mark.peer))

OWN = "120"
"""Payload type under which a callee names and sends Opus, whatever it was offered as."""

Edit = Callable[[str], str]


def plus(*lines: str) -> Edit:
    """Add lines to the audio section."""
    return lambda sdp: sdp + "".join(f"{line}\r\n" for line in lines)


def other(old: str, new: str) -> Edit:
    """Write something else in one place."""

    def edit(sdp: str) -> str:
        assert sdp.count(old) == 1, (old, sdp)
        return sdp.replace(old, new)

    return edit


def plus_in(old: str, new: str, line: str) -> Edit:
    """Write something else in one place, and add a line to the audio section."""
    return lambda sdp: plus(line)(other(old, new)(sdp))


def address(line: str, media: str = "") -> Edit:
    """Write another c= line for the session, "" for none, and one for the audio."""
    place = "c=IN IP4 127.0.0.1\r\n"
    return lambda sdp: sdp.replace(place, f"{line}\r\n" if line else "", 1) + (f"{media}\r\n" if media else "")


GOES_ON: dict[str, Edit] = {
    "as it should be": plus(),
    "ptime without a value": plus("a=ptime:"),
    "ptime behind a blank": plus("a=ptime: 20"),
    "maxptime without a value": plus("a=maxptime:"),
    "bandwidth without a value": other("t=0 0", "b=CT:\r\nt=0 0"),
    "bandwidth with a fraction": other("t=0 0", "b=AS:64.5\r\nt=0 0"),
    "bandwidth with a fraction, of the audio": other("a=rtpmap:0", "b=AS:64.5\r\na=rtpmap:0"),
    "a NUL at the end": lambda sdp: sdp + "\0",
    "a blank line at the end": lambda sdp: sdp + " \r\n",
    "small letters": other("RTP/AVP", "rtp/avp"),
    "rtcp without a value": other("a=rtcp:", "a=rtcp:\r\na=x-rtcp:"),
    "rtcp beyond all ports": other("a=rtcp:", "a=rtcp:70000\r\na=x-rtcp:"),
    "rtcp at a name": plus("a=rtcp:5005 IN IP4 nobody.invalid"),
    "setup of no role": plus("a=setup:", "a=setup:both"),
    "fingerprint of nothing": plus("a=fingerprint:", "a=fingerprint:sha-256 x"),
    "a key that is none": plus("a=crypto:x"),
    "a section more": plus("m=video 0 RTP/AVP 31", "m=application 0 DTLS/SCTP 5000"),
    "sixty-three sections more": plus(*["m=video 0 RTP/AVP 31"] * 63),
    "a name that is known": address("c=IN IP4 localhost"),
    "leading zeros": address("c=IN IP4 127.000.000.001"),
    "a name that the audio replaces": address("c=IN IP4 nobody.invalid", "c=IN IP4 127.0.0.1"),
}
"""Edits of a description after which the call is as good as before."""

ENDS: dict[str, Edit] = {
    "a name that nobody knows": address("c=IN IP4 nobody.invalid"),
    "a bad name of the audio": address("c=IN IP4 127.0.0.1", "c=IN IP4 nobody.invalid"),
    "neither name nor address": address("c=IN IP4 127.0.0.999"),
    "no c= line": address(""),
    "half a c= line": address("c=IN IP4"),
    "more sections than are carried": plus(*["m=video 0 RTP/AVP 31"] * 64),
}
"""Edits after which nobody could be heard."""
NO_KEYS = {
    "no key at all": other("RTP/AVP", "RTP/SAVP"),
    "a key that is none": plus_in("RTP/AVP", "RTP/SAVP", "a=crypto:x"),
    "a key that is too short": plus_in(
        "RTP/AVP", "RTP/SAVP", "a=crypto:1 AEAD_AES_128_GCM inline:" + b64encode(bytes(27)).decode()
    ),
    "no fingerprint": other("RTP/AVP", "UDP/TLS/RTP/SAVP"),
    "a fingerprint of nothing": plus_in("RTP/AVP", "UDP/TLS/RTP/SAVP", "a=fingerprint:sha-256 x"),
}
"""Offers that are to be protected, and say no key."""


@dataclass(frozen=True)
class Line:
    """One call: how it came out, and how the callee's side ended."""

    status: int
    callee: str
    """ "" where nobody rang, "talks" where each heard the other, else how it was left."""


class Pbx:
    """A PBX that answers each call with the edit of a description that the number names."""

    def __init__(self, edits: dict[str, Edit], codec: str = "pcmu") -> None:
        self.codec = codec
        self._edits = list(edits.values())
        self._answering: list[asyncio.Task[None]] = []
        self.agent = UserAgent(UserAgentConfig(listen=((AT_THE_PBX, 0),)), Application(self._called))
        self.phones: dict[int, Phone] = {}
        self.ends: dict[int, Recorder] = {}

    def _called(self, session: IncomingSession, recorder: Recorder) -> None:
        self._answering.append(asyncio.ensure_future(self._answer(session, recorder)))

    async def _answer(self, session: IncomingSession, recorder: Recorder) -> None:
        number = int(session.request.uri.user or "") - 100
        phone = self.phones[number] = await Phone((self.codec,), ssrc=0x2000 + number).open()
        self.ends[number] = recorder
        phone.take(session.request.body.decode())
        edit = self._edits[number] if number < len(self._edits) else plus()
        said = edit(phone.sdp())
        session.answer(said.encode())
        if OWN in said:
            phone.numbers[self.codec] = int(OWN)
        phone.play(CALLEE_HZ, self.codec)

    async def close(self) -> None:
        await asyncio.gather(*self._answering)
        for phone in self.phones.values():
            await phone.close()
        await self.agent.close()


@contextlib.asynccontextmanager
async def gateway_on(engine: str, folder: Path, pbx: Pbx) -> AsyncIterator[Gateway]:
    await pbx.agent.start()
    trunk = {"name": "office", "uri": f"sip:{AT_THE_PBX}:{pbx.agent.listening[0][2]}", "options_interval": 0}
    changes = {
        "LIMITS__LOAD": "0",
        "TRUNKS": json.dumps([trunk]),
        "ROUTES": json.dumps([{"match": "0*", "to": "trunk:office", "strip": 1}]),
    }
    with contextlib.ExitStack() as stack:
        if engine == "rtpengine":
            daemon = stack.enter_context(rtpengine())
            changes["MEDIA__ENGINE"] = f"rtpengine:{daemon.address[0]}:{daemon.address[1]}"
        else:
            changes["MEDIA__PLANE"] = engine
        config = config_on_free_ports(folder, **changes)
        async with gateway_with(config, folder / "gateway.log") as gateway:
            yield gateway
            await gateway.idle()
            check_log(await gateway.journal.text())
    await pbx.close()


async def call(gateway: Gateway, agent: UserAgent, pbx: Pbx, number: int, edit: Edit, codec: str = "pcmu") -> Line:
    """Call through the trunk with an edited offer, and hang up once each has heard the other."""
    phone = await Phone((codec,), ssrc=0x1000 + number).open()
    session = agent.invite(
        f"sip:0{100 + number}@{gateway.app.sip_hostport}",
        caller=f"<sip:1001@{gateway.config.domain}>",
        body=edit(phone.sdp()).encode(),
        credentials=Credentials("1001", PASSWORDS["1001"]),
    )
    try:
        outcome = await Recorder(session).wait_for_one_of(events.Answered, events.Failed)
        if isinstance(outcome, events.Failed):
            if number not in pbx.ends:
                return Line(outcome.status, "")
            await pbx.ends[number].wait(events.Ended)
            return Line(outcome.status, "ended")
        assert isinstance(outcome, events.Answered)
        phone.take(outcome.body.decode())
        phone.play(CALLER_HZ, codec)
        theirs = pbx.phones[number]
        talks = await in_time(lambda: hears(phone, codec, CALLEE_HZ) and hears(theirs, pbx.codec, CALLER_HZ))
        # No packet of theirs may come to ports that the next call has.
        await pbx.phones.pop(number).close()
        session.hangup()
        await pbx.ends[number].wait(events.Ended)
        return Line(200, "talks" if talks else "silent")
    finally:
        await phone.close()


async def in_time(condition: Callable[[], bool]) -> bool:
    try:
        await until(condition)
    except TimeoutError:
        return False
    return True


def hears(phone: Phone, codec: str, frequency: float) -> bool:
    phone.packets = phone.packets[-60:]
    return any(abs(frequency_of(*phone.heard(codec, number)) - frequency) < NEAR for number in (None, int(OWN)))


async def outcomes(engine: str, folder: Path, edits: dict[str, Edit], *, of_the_callee: bool) -> dict[str, Line]:
    """Every edit in a call of its own, of what the caller or of what the callee says."""
    pbx = Pbx(edits if of_the_callee else {})
    agent = UserAgent(UserAgentConfig(listen=LOOPBACK), Application())
    await agent.start()
    room = asyncio.Semaphore(AT_ONCE)

    async def one(number: int, edit: Edit) -> Line:
        async with room:
            return await call(gateway, agent, pbx, number, plus() if of_the_callee else edit)

    try:
        async with gateway_on(engine, folder, pbx) as gateway:
            lines = await asyncio.gather(*[one(number, edit) for number, edit in enumerate(edits.values())])
    finally:
        await agent.close()
    return dict(zip(edits, lines, strict=True))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("of_the_callee", [False, True], ids=["offers", "answers"])
async def test_a_line_that_a_call_does_not_need_ends_none(engine: str, of_the_callee: bool, tmp_path: Path) -> None:
    """Each side hears the other, whatever the optional line says."""
    found = await outcomes(engine, tmp_path, GOES_ON, of_the_callee=of_the_callee)
    assert found == dict.fromkeys(GOES_ON, Line(200, "talks"))


@pytest.mark.parametrize("engine", ENGINES)
async def test_an_offer_that_nothing_can_come_of_rings_nowhere(engine: str, tmp_path: Path) -> None:
    """The caller is refused with 488 before the callee hears of the call."""
    edits = ENDS | NO_KEYS
    found = await outcomes(engine, tmp_path, edits, of_the_callee=False)
    assert found == dict.fromkeys(edits, Line(488, ""))


@pytest.mark.parametrize("engine", ENGINES)
async def test_an_answer_that_nothing_can_come_of_is_ended(engine: str, tmp_path: Path) -> None:
    """The callee gets ACK and BYE, the caller hears why."""
    found = await outcomes(engine, tmp_path, ENDS, of_the_callee=True)
    assert {name: line.callee for name, line in found.items()} == dict.fromkeys(ENDS, "ended")
    assert {line.status for line in found.values()} == {488}


@pytest.mark.parametrize("engine", ["python", "native"])
@pytest.mark.parametrize("codec", ["opus", "pcmu"], ids=["forwarded", "transcoded"])
async def test_a_callee_that_numbers_opus_by_itself_is_heard(engine: str, codec: str, tmp_path: Path) -> None:
    """It answers 120 for our number, and sends 120: RFC 3264 section 5.1 has it otherwise, peers do so."""
    pbx = Pbx({"its own number": lambda sdp: sdp.replace("107", OWN)}, "opus")
    assert await one_call(engine, tmp_path, pbx, plus(), codec) == Line(200, "talks")


@pytest.mark.parametrize("engine", ["python", "native"])
async def test_opus_needs_no_second_channel_in_its_name(engine: str, tmp_path: Path) -> None:
    """RFC 7587 section 7 wants "/2"; some phones leave it out, and mean the same."""
    short = other("opus/48000/2", "opus/48000")
    assert await one_call(engine, tmp_path, Pbx({"short": short}, "opus"), short, "opus") == Line(200, "talks")


async def one_call(engine: str, folder: Path, pbx: Pbx, edit: Edit, codec: str) -> Line:
    agent = UserAgent(UserAgentConfig(listen=LOOPBACK), Application())
    await agent.start()
    try:
        async with gateway_on(engine, folder, pbx) as gateway:
            return await call(gateway, agent, pbx, 0, edit, codec)
    finally:
        await agent.close()
