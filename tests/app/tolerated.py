"""Descriptions with lines that a call does not need, or cannot do without, and calls whose parties write them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.sip.auth.account import Credentials
from gateway.sip.invite import events
from gateway.sip.invite.incoming import IncomingSession
from gateway.sip.invite.session import InviteSession
from gateway.sip.message.message import Response
from tests.interop.gateway import PASSWORDS, Gateway, check_log, config_on_free_ports, gateway_with
from tests.media.engine_support import MAPS, Phone, frequency_of, parsed
from tests.media.plane_rig import until
from tests.media.rtpengine_support import rtpengine
from tests.net.peers import LOOPBACK, Application, Recorder

AT_THE_PBX = "127.0.0.2"
CALLER_HZ, CALLEE_HZ = 400.0, 700.0
NEAR = 15.0
AT_ONCE = 6
"""Calls side by side."""
TRIES = 20
"""Seconds of sound that are listened to, at most."""
ENGINES = ("python", "native", pytest.param("rtpengine", marks=pytest.mark.wall))

CROSSED: dict[str, dict[str, int]] = {"the numbers of two codecs, crossed": {"opus": 8, "pcma": 107}}
"""Payload types by which a callee answers, and that our offer has for each other's codec."""
OWN_NUMBERS: dict[str, dict[str, int]] = {
    "a number that is free": {"opus": 120},
    "the number of refused events": {"opus": 96},
    "the number of the other refused events": {"opus": 97},
    "a static number": {"opus": 8},
    "the number of events, those under another": {"opus": 96, "event": 101},
    "the number of events, those at 48 kHz": {"opus": 96, "event48": 101},
    "the number of events, crossed": {"opus": 97, "event": 96},
    "the number of events, crossed at 48 kHz": {"opus": 96, "event48": 97},
    "events under the number of others": {"opus": 107, "event": 96},
    "events under a free number": {"pcmu": 0, "event": 102},
    "the number of a codec that it takes too": {"opus": 8, "pcma": 100},
    "the number of a codec of the same form": {"g722": 8, "pcma": 100},
    **CROSSED,
    "the numbers of two codecs of one form, crossed": {"pcma": 0, "pcmu": 8},
    "the number of a codec and of events, crossed": {"opus": 96, "event": 107},
}
"""Payload types by which a callee answers and sends, whatever it was offered: both events, at 96 and 97, as others."""

Edit = Callable[[str], str]


def numbered(numbers: dict[str, int]) -> Edit:
    """Number the codecs of a description by these, wherever its lines name them."""
    new = {MAPS[name].split()[0]: str(number) for name, number in numbers.items()}

    def edit(sdp: str) -> str:
        head, formats, maps = re.split(r"(?<=RTP/AVP)([ \d]+)", sdp, maxsplit=1)
        formats = re.sub(r"\d+", lambda found: new[found[0]], formats)
        return head + formats + re.sub(r"(?<=a=rtpmap:)\d+", lambda found: new[found[0]], maps)

    return edit


def plus(*lines: str) -> Edit:
    """Add lines to the audio section."""
    return lambda sdp: sdp + "".join(f"{line}\r\n" for line in lines)


def other(old: str, new: str) -> Edit:
    """Write something else in one place."""

    def edit(sdp: str) -> str:
        assert sdp.count(old) == 1, (old, sdp)
        return sdp.replace(old, new)

    return edit


def every(pattern: str, new: str) -> Edit:
    """Write something else in every place of a pattern, and at least in one."""

    def edit(sdp: str) -> str:
        changed, count = re.subn(pattern, new, sdp, flags=re.MULTILINE)
        assert count, (pattern, sdp)
        return changed

    return edit


def plus_in(old: str, new: str, line: str) -> Edit:
    """Write something else in one place, and add a line to the audio section."""
    return lambda sdp: plus(line)(other(old, new)(sdp))


def address(line: str, media: str = "") -> Edit:
    """Write another c= line for the session, "" for none, and one for the audio."""
    place = "c=IN IP4 127.0.0.1\r\n"
    return lambda sdp: sdp.replace(place, f"{line}\r\n" if line else "", 1) + (f"{media}\r\n" if media else "")


OF_ANYBODY: dict[str, Edit] = {
    "as it should be": str,
    "ptime without a value": plus("a=ptime:"),
    "ptime behind a blank": plus("a=ptime: 20"),
    "maxptime without a value": plus("a=maxptime:"),
    "bandwidth without a value": other("t=0 0", "b=CT:\r\nt=0 0"),
    "bandwidth with a fraction": other("t=0 0", "b=AS:64.5\r\nt=0 0"),
    "a NUL at the end": lambda sdp: sdp + "\0",
    "a blank line at the end": lambda sdp: sdp + " \r\n",
    "a key that is none": plus("a=crypto:x"),
    "sections that cannot be read": plus(
        *("m=video x RTP/AVP 31", "a=rtpmap:31 H261/90000", "m=video", "m=", "a=sendrecv"),
        *("m=<video> 5006 RTP/AVP 31", "m 5006", "m"),
    ),
}
"""Edits of a description of a phone or of a page after which the call is as good as before."""

GOES_ON: dict[str, Edit] = {
    **OF_ANYBODY,
    "bandwidth with a fraction, of the audio": other("a=rtpmap:0", "b=AS:64.5\r\na=rtpmap:0"),
    "small letters": other("RTP/AVP", "rtp/avp"),
    "small letters at the end": other("RTP/AVP", "RTP/avp"),
    "a kind in capitals": other("m=audio", "m=AUDIO"),
    "a capital at the start": other("m=audio", "M=Audio"),
    "rtcp without a value": other("a=rtcp:", "a=rtcp:\r\na=x-rtcp:"),
    "rtcp beyond all ports": other("a=rtcp:", "a=rtcp:70000\r\na=x-rtcp:"),
    "rtcp at a name": plus("a=rtcp:5005 IN IP4 nobody.invalid"),
    "setup of no role": plus("a=setup:", "a=setup:both"),
    "fingerprint of nothing": plus("a=fingerprint:", "a=fingerprint:sha-256 x"),
    "a section more": plus("m=video 0 RTP/AVP 31", "m=application 0 DTLS/SCTP 5000"),
    "sixty-three sections more": plus(*["m=video 0 RTP/AVP 31"] * 63),
    "a name that is known": address("c=IN IP4 localhost"),
    "leading zeros": address("c=IN IP4 127.000.000.001"),
    "a name that the audio replaces": address("c=IN IP4 nobody.invalid", "c=IN IP4 127.0.0.1"),
}
"""Edits of a description after which the call is as good as before."""

TOO_MANY = plus(*["m=video 0 RTP/AVP 31"] * 64)
"""More media sections than are carried."""
ENDS: dict[str, Edit] = {
    "a name that nobody knows": address("c=IN IP4 nobody.invalid"),
    "a bad name of the audio": address("c=IN IP4 127.0.0.1", "c=IN IP4 nobody.invalid"),
    "neither name nor address": address("c=IN IP4 127.0.0.999"),
    "no c= line": address(""),
    "half a c= line": address("c=IN IP4"),
    "more sections than are carried": TOO_MANY,
    "audio without a port": other("m=audio ", "m=audio x"),
    "audio without a kind": other("m=audio ", "m="),
}
"""Edits after which nobody could be heard."""
UNPROTECTED = {
    "a profile of nobody": other("RTP/AVP", "RTP/AP"),
    "no key at all": other("RTP/AVP", "RTP/SAVP"),
    "a key that is none": plus_in("RTP/AVP", "RTP/SAVP", "a=crypto:x"),
    "a key that is too short": plus_in(
        "RTP/AVP", "RTP/SAVP", "a=crypto:1 AEAD_AES_128_GCM inline:" + b64encode(bytes(27)).decode()
    ),
    "no fingerprint": other("RTP/AVP", "UDP/TLS/RTP/SAVP"),
    "a fingerprint of nothing": plus_in("RTP/AVP", "UDP/TLS/RTP/SAVP", "a=fingerprint:sha-256 x"),
}
"""Offers that say a protection and no key, or none that is known."""


@dataclass(frozen=True)
class Line:
    """One call: how it came out, and how the callee's side ended."""

    status: int
    callee: str
    """ "" where nobody rang, "talks" where each heard the other, else how it was left."""


class Pbx:
    """A PBX that answers each call with the edit of a description that the number names."""

    def __init__(
        self,
        edits: dict[str, Edit],
        codec: str = "pcmu",
        numbers: Sequence[dict[str, int]] = (),
        *,
        sends_by_ours: bool = False,
    ) -> None:
        """`numbers` are the payload types of the callees that have their own, the best codec first.

        `sends_by_ours`: they send by those of the offer, as RFC 3264 section 5.1 has it.
        """
        self._sends_by_ours = sends_by_ours
        self._edits = [numbered(each) for each in numbers] or list(edits.values())
        self._numbers = numbers
        self.codec = codec
        self._answering: list[asyncio.Task[None]] = []
        self.agent = UserAgent(UserAgentConfig(listen=((AT_THE_PBX, 0),)), Application(self._called))
        self.phones: dict[int, Phone] = {}
        self.ends: dict[int, Recorder] = {}

    def _called(self, session: IncomingSession, recorder: Recorder) -> None:
        self._answering.append(asyncio.ensure_future(self._answer(session)))

    async def _answer(self, session: IncomingSession) -> None:
        number = int(session.request.uri.user or "") - 100
        own = self._numbers[number] if self._numbers else {}
        phone = self.phones[number] = await Phone(tuple(own) or (self.codec,), ssrc=0x2000 + number).open()
        self.ends[number] = agreeable(session, phone)
        phone.take(session.request.body.decode())
        edit = self._edits[number] if number < len(self._edits) else str
        session.answer(edit(phone.sdp()).encode())
        if not self._sends_by_ours:
            phone.numbers.update(own)
        phone.play(CALLEE_HZ, phone.codecs[0])

    def own_numbers(self, number: int) -> tuple[int, ...]:
        """The payload type of a callee's own for its best codec."""
        return tuple(self._numbers[number].values())[:1] if self._numbers else ()

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


@dataclass(frozen=True, kw_only=True)
class Call:
    """What is said in one call."""

    edit: Edit = str
    """Of the offer."""
    codec: str = "pcmu"
    presses: bool = False
    """Whether the callee sends a digit where it has agreed to events, and the caller is to get it."""
    change: Edit | None = None
    """Of a later offer, by the callee where `by_callee`, in an UPDATE where `by_update`."""
    by_callee: bool = False
    by_update: bool = False


async def call(gateway: Gateway, agent: UserAgent, pbx: Pbx, number: int, said: Call) -> Line:
    """Call through the trunk, and hang up once each has heard the other."""
    phone = await Phone((said.codec, "event") if said.presses else (said.codec,), ssrc=0x1000 + number).open()
    session = agent.invite(
        f"sip:0{100 + number}@{gateway.app.sip_hostport}",
        caller=f"<sip:1001@{gateway.config.domain}>",
        body=said.edit(phone.sdp()).encode(),
        credentials=Credentials("1001", PASSWORDS["1001"]),
    )
    recorder = agreeable(session, phone)
    try:
        outcome = await recorder.wait_for_one_of(events.Answered, events.Failed)
        if isinstance(outcome, events.Failed):
            if number not in pbx.ends:
                return Line(outcome.status, "")
            await pbx.ends[number].wait(events.Ended)
            return Line(outcome.status, "ended")
        assert isinstance(outcome, events.Answered)
        phone.take(outcome.body.decode())
        phone.play(CALLER_HZ, said.codec)
        theirs = pbx.phones[number]
        ears = Ear(phone, said.codec, CALLEE_HZ), Ear(theirs, theirs.codecs[0], CALLER_HZ, pbx.own_numbers(number))
        line = Line(200, await heard(*ears))
        if said.presses:
            await pressed(theirs, phone)
        if said.change is not None:
            changing, its = (pbx.ends[number], theirs) if said.by_callee else (recorder, phone)
            offer = said.change(its.sdp()).encode()
            status = await (updated if said.by_update else reinvited)(changing, offer)
            line = Line(status, await heard(*ears))
        # No packet of theirs may come to ports that the next call has.
        await pbx.phones.pop(number).close()
        session.hangup()
        await pbx.ends[number].wait(events.Ended)
        return line
    finally:
        await phone.close()


async def reinvited(party: Recorder, offer: bytes) -> int:
    """The status that a re-INVITE with this offer gets."""
    party.session.offer(offer)
    changed = await party.wait(events.OfferAnswered)
    assert isinstance(changed, events.OfferAnswered)
    return changed.status


async def updated(party: Recorder, offer: bytes) -> int:
    """The status that an UPDATE with this offer gets."""
    outcome: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
    session = party.session
    assert session.dialog is not None
    session.send_in_dialog("UPDATE", session.dialog, outcome.set_result, body=offer, content_type="application/sdp")
    session.core.wake()
    return (await asyncio.wait_for(outcome, 30)).status


def agreeable(session: InviteSession, phone: Phone) -> Recorder:
    """What happens in a session whose phone takes every later offer."""

    def react(event: events.SessionEvent) -> None:
        if isinstance(event, events.Offered):
            session.answer_offer(event.exchange, phone.sdp().encode())

    return Recorder(session, react)


@dataclass(frozen=True)
class Ear:
    """A phone, and the tone that it is to hear."""

    phone: Phone
    codec: str
    frequency: float
    own: tuple[int, ...] = ()
    """Payload types that its description has for the codec."""

    @property
    def is_full(self) -> bool:
        return len(self.phone.packets) > 55

    def hears(self) -> bool:
        numbers = (None, self.phone.numbers[self.codec], *self.own)
        return any(abs(frequency_of(*self.phone.heard(self.codec, each)) - self.frequency) < NEAR for each in numbers)


async def pressed(callee: Phone, caller: Phone) -> None:
    """Press a digit where the callee can, and wait until the caller has its end."""
    for events_of in [name for name in callee.codecs if name.startswith("event")]:
        callee.press("5", events_of)
        await until(lambda: any(each.payload_type == 101 and each.payload[:2] == b"\5\x8a" for each in parsed(caller)))


async def heard(*ears: Ear) -> str:
    """ "talks" once each has heard the other for a second, "silent" where that does not come to be."""
    for _ in range(TRIES):
        for ear in ears:
            ear.phone.packets.clear()
        try:
            await until(lambda: all(ear.is_full for ear in ears))
        except TimeoutError:
            break
        if all(ear.hears() for ear in ears):
            return "talks"
    return "silent"


async def outcomes(engine: str, folder: Path, calls: dict[str, Call], pbx: Pbx | None = None) -> dict[str, Line]:
    """How each call came out."""
    pbx = pbx or Pbx({})
    agent = UserAgent(UserAgentConfig(listen=LOOPBACK), Application())
    await agent.start()
    room = asyncio.Semaphore(AT_ONCE)

    async def one(number: int, said: Call) -> Line:
        async with room:
            return await call(gateway, agent, pbx, number, said)

    try:
        async with gateway_on(engine, folder, pbx) as gateway:
            lines = await asyncio.gather(*[one(number, said) for number, said in enumerate(calls.values())])
    finally:
        await agent.close()
    return dict(zip(calls, lines, strict=True))


def offering(edits: dict[str, Edit]) -> dict[str, Call]:
    return {name: Call(edit=edit) for name, edit in edits.items()}
