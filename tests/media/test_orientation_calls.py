"""With whom it is agreed that who sees a picture turns it (3GPP TS 26.114 section 7.4.5), and until when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
import pytest_asyncio

from gateway.media.embedded.describe import SERVICE_DESCRIPTION
from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.embedded.plane.python import PythonPlane
from gateway.media.embedded.renewal import former_of
from gateway.media.embedded.video import VideoStream
from gateway.media.engine import Kind, MediaEvent, OfferWanted, Party, Seat
from sdp import MediaDescription, SessionDescription
from sdp.extensions import ORIENTATION, read_extensions
from tests.media.engine_support import browser_sdp, phone_sdp, running
from tests.media.rtp_support import ManualClock

CALLER, CALLEE, THIRD = (Party(tag, Kind.WEBRTC) for tag in ("caller", "callee", "third"))
PHONE = Party("phone", Kind.RTP)
PROGRAM = Party("program", Kind.SERVICE, service="program", video=("vp8",))


def page(orientation: int | None, *, direction: str = "sendrecv", setup: str = "actpass") -> str:
    """What a browser says of its voice and its picture; it turns those of others where it has an identifier."""
    voice = browser_sdp(setup=setup).replace("BUNDLE 0", "BUNDLE 0 1")
    lines = [
        "m=video 9 UDP/TLS/RTP/SAVPF 96", "c=IN IP4 0.0.0.0", "a=mid:1", f"a={direction}", "a=rtcp-mux",
        *[line for line in voice.splitlines() if line.startswith(("a=ice-", "a=fingerprint", "a=setup"))],
        *([f"a=extmap:{orientation} {ORIENTATION}"] if orientation is not None else []),
        "a=rtpmap:96 VP8/90000", "a=rtcp-fb:96 nack pli",
    ]  # fmt: skip
    return voice + "".join(f"{line}\r\n" for line in lines)


def phone(orientation: int | None) -> str:
    """A phone with a screen; a 3GPP one has an identifier."""
    said = f"a=extmap:{orientation} {ORIENTATION}\r\n" if orientation is not None else ""
    return phone_sdp() + "m=video 5004 RTP/AVP 98\r\na=rtpmap:98 VP8/90000\r\n" + said


def said(sdp: str) -> int | None:
    """The identifier in the picture's section."""
    media = next(each for each in SessionDescription.parse(sdp).media if each.kind == "video")
    return read_extensions(media).get(ORIENTATION)


class Call:
    """An engine, what it has told its plane, and whom it wants to be made another offer."""

    def __init__(self, engine: EmbeddedEngine, events: list[MediaEvent], clock: ManualClock) -> None:
        self.engine, self.events, self.clock = engine, events, clock
        self.carried: dict[int, int] = {}

    async def wanted(self) -> list[str]:
        await asyncio.sleep(0)  # events come in the loop's next round
        return [each.tag for each in self.events if isinstance(each, OfferWanted)]

    def stream(self, party: Party, call: str = "call") -> VideoStream:
        found = self.engine._session(call).party(party.tag).video
        assert found is not None
        return found

    def identifier(self, party: Party) -> int:
        """What the plane reads and writes for a party; 0: nothing."""
        return self.carried[self.stream(party).flow]

    async def up(self, caller: str, callee: str, parties: tuple[Party, Party] = (CALLER, CALLEE)) -> tuple[str, str]:
        """A call, or another offer in it: what the callee was offered and the caller was answered."""
        offered = await self.engine.offer("call", *parties, caller)
        return offered, await self.engine.answer("call", parties[1], parties[0], callee)

    async def reoffered(self, party: Party, peer: Party, answer: str) -> str:
        """What a party is offered by us, which it answers."""
        offered = await self.engine.create_offer("call", party, peer)
        await self.engine.answer("call", party, None, answer)
        return offered

    async def pass_seconds(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1.0)
            await self.engine.sweep()


@pytest_asyncio.fixture
async def call(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Call]:
    clock = ManualClock()
    async with running(clock=clock) as (engine, events):
        made = Call(engine, events, clock)
        carry = PythonPlane.carry_orientation

        def noted(plane: PythonPlane, flow: int, identifier: int) -> None:
            made.carried[flow] = identifier
            carry(plane, flow, identifier)

        monkeypatch.setattr(PythonPlane, "carry_orientation", noted)
        yield made


async def test_two_browsers_turn_each_others_pictures_on_hold_and_off_it(call: Call) -> None:
    """Each by the identifier that was said to it first, whoever offers anew."""
    assert [said(each) for each in await call.up(page(5), page(5, setup="active"))] == [5, 5]
    assert (call.identifier(CALLER), call.identifier(CALLEE)) == (5, 5)
    held = await call.up(page(5, direction="sendonly"), page(5, direction="recvonly", setup="active"))
    assert [said(each) for each in held] == [5, 5]
    assert [said(each) for each in await call.up(page(5), page(5, setup="active"), (CALLEE, CALLER))] == [5, 5]
    assert (call.identifier(CALLER), call.identifier(CALLEE)) == (5, 5)
    assert await call.wanted() == []


@pytest.mark.parametrize(("caller", "callee"), [(None, None), (13, None), (None, 13)])
async def test_it_is_agreed_with_both_or_with_nobody(call: Call, caller: int | None, callee: int | None) -> None:
    """A browser that is told nothing of it turns its own picture, whoever sees it."""
    offered, answered = await call.up(page(caller), page(callee, setup="active"))
    assert (said(offered), said(answered)) == (caller, None)
    assert (call.identifier(CALLER), call.identifier(CALLEE)) == (0, 0)
    assert await call.wanted() == []


async def test_a_phone_that_offers_it_has_it_and_keeps_it(call: Call) -> None:
    """Under its own identifier and the browser's, until it says it no more."""
    assert [said(each) for each in await call.up(phone(4), page(4, setup="active"), (PHONE, CALLEE))] == [4, 4]
    assert (call.identifier(PHONE), call.identifier(CALLEE)) == (4, 4)
    assert [said(each) for each in await call.up(page(4), phone(4), (CALLEE, PHONE))] == [4, 4]
    assert [said(each) for each in await call.up(page(4), phone(None), (CALLEE, PHONE))] == [4, None]
    assert (call.identifier(PHONE), call.identifier(CALLEE)) == (0, 0)
    assert [said(each) for each in await call.up(page(4), phone(4), (CALLEE, PHONE))] == [4, 4]


@pytest.mark.parametrize(("answered", "agreed"), [(13, 13), (None, 0)])
async def test_a_phone_that_is_called_is_offered_it(call: Call, answered: int | None, agreed: int) -> None:
    """As the browser has offered it; it is agreed with both where the phone takes it, else with neither."""
    offered, told = await call.up(page(13), phone(answered), (CALLER, PHONE))
    assert (said(offered), said(told)) == (13, answered)
    assert (call.identifier(CALLER), call.identifier(PHONE)) == (agreed, agreed)
    assert await call.wanted() == []


async def test_who_turns_its_own_picture_for_who_came_by_a_transfer_is_offered_to(call: Call) -> None:
    """The phone that takes the browser's place cannot: the other browser is made an offer without it, once taken."""
    await call.up(page(13), page(13, setup="active"))
    assert said(await call.reoffered(PHONE, CALLER, phone(None))) == 13
    await call.engine.join("call", CALLER.tag, PHONE.tag)
    await call.engine.release("call", CALLEE.tag)
    assert await call.wanted() == [CALLER.tag]
    await call.pass_seconds(4)
    assert await call.wanted() == [CALLER.tag]
    await call.pass_seconds(60)
    assert await call.wanted() == [CALLER.tag] * 3
    assert call.identifier(CALLER) == 13
    assert said(await call.reoffered(CALLER, PHONE, page(None, setup="active"))) is None
    assert call.identifier(CALLER) == 0
    await call.pass_seconds(60)
    assert await call.wanted() == [CALLER.tag] * 3


async def test_who_comes_by_a_transfer_and_can_turn_pictures_is_offered_to(call: Call) -> None:
    """So nobody else is; and who leaves it to others no more, by an answer of its own, has the other turn its own."""
    await call.up(page(13), page(13, setup="active"))
    assert said(await call.reoffered(THIRD, CALLER, page(13, setup="active"))) == 13
    await call.engine.join("call", CALLER.tag, THIRD.tag)
    await call.engine.release("call", CALLEE.tag)
    assert await call.wanted() == []
    assert (call.identifier(CALLER), call.identifier(THIRD)) == (13, 13)
    assert said(await call.reoffered(CALLER, THIRD, page(13, setup="active"))) == 13
    assert await call.wanted() == []
    await call.reoffered(THIRD, CALLER, page(None, setup="active"))
    assert call.identifier(THIRD) == 0
    assert await call.wanted() == [CALLER.tag]


async def test_a_page_that_can_be_offered_nothing_more_turns_its_own_picture(call: Call) -> None:
    """Somebody who cannot turn it might come later; so it is with whoever it calls."""
    parties = replace(CALLER, reoffered=False), CALLEE
    offered, answered = await call.up(page(13), page(None, setup="active"), parties)
    assert (said(offered), said(answered)) == (None, None)
    assert (call.identifier(CALLER), call.identifier(CALLEE)) == (0, 0)
    assert await call.wanted() == []


async def test_nobody_leaves_it_to_others_where_the_plane_carries_nothing(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older one that has outlived its gateway would leave every turned picture on its side."""
    monkeypatch.setattr(PythonPlane, "carries_orientation", False)
    offered, answered = await call.up(page(13), page(None, setup="active"))
    assert (said(offered), said(answered)) == (None, None)


async def test_what_was_agreed_is_offered_again_when_the_plane_has_died(call: Call) -> None:
    """To both, over their next transports; of one that had not agreed nothing is said."""
    await call.up(page(13), page(13, setup="active"))
    parties = [call.engine._session("call").party(each.tag) for each in (CALLER, CALLEE)]
    assert [f"a=extmap:13 {ORIENTATION}\r\n" in former_of(each).video for each in parties] == [True, True]
    await call.up(page(13), page(None, setup="active"))
    assert not any(ORIENTATION in former_of(each).video for each in parties)
    assert all("VP8" in former_of(each).video for each in parties)


class Room:
    """A conference, whose members are in calls of their own."""

    def __init__(self, call: Call) -> None:
        self.call, self.conference = call, call.engine.conference(8)
        self.seats: dict[str, Seat] = {}

    async def come(self, name: str, party: Party, offer: str) -> int | None:
        """Somebody joins, and shows a picture; the identifier in the answer."""
        engine = self.call.engine
        await engine.offer(name, party, PROGRAM, offer)
        answer = await engine.answer(name, PROGRAM, party, SERVICE_DESCRIPTION)
        self.sit(name, party)
        return said(answer)

    def sit(self, name: str, party: Party) -> None:
        self.seats[name] = self.conference.seat(self.call.engine.audio(name, PROGRAM.tag), name)
        self.call.stream(party, name).run_began(len(self.seats), 1, self.call.clock())

    async def wanted(self) -> list[str]:
        """Members that are to be made an offer, for whatever reason."""
        await asyncio.sleep(0)
        return [each.call_id for each in self.call.events if isinstance(each, OfferWanted)]

    async def forget(self) -> None:
        """Of whom it was wanted until now."""
        await self.wanted()
        self.call.events.clear()

    async def reoffered(self, name: str, party: Party, answer: Callable[[str], str]) -> list[int | None]:
        """A member is offered what it is to have now; the identifier in each section of a picture."""
        offer = await self.call.engine.create_offer(name, party, PROGRAM)
        await self.call.engine.answer(name, party, None, answer(offer))
        return [read_extensions(each).get(ORIENTATION) for each in videos(offer)]

    def lies(self, name: str, party: Party) -> list[int]:
        """What the plane reads and writes in each stream of a member."""
        stream = self.call.stream(party, name)
        return [self.call.carried[each.flow] for each in (stream, *stream.views)]

    def close(self) -> None:
        for seat in self.seats.values():
            seat.leave()


def videos(sdp: str) -> list[MediaDescription]:
    return [each for each in SessionDescription.parse(sdp).media if each.kind == "video"]


def taking(orientation: int | None) -> Callable[[str], str]:
    """What a page answers: each section of a picture, and the extension where it has an identifier."""

    def answer(offer: str) -> str:
        answered = page(orientation, setup="active")
        again = answered[answered.index("m=video") :].replace("a=sendrecv", "a=recvonly")
        more = [again.replace("a=mid:1", f"a=mid:{each.value('mid')}") for each in videos(offer)[1:]]
        mids = " ".join(str(each.value("mid")) for each in videos(offer))
        return answered.replace("BUNDLE 0 1", f"BUNDLE 0 {mids}") + "".join(more)

    return answer


@pytest_asyncio.fixture
async def room(call: Call) -> AsyncIterator[Room]:
    made = Room(call)
    yield made
    made.close()


async def test_in_a_room_all_who_can_turn_pictures_turn_those_that_they_see(room: Room) -> None:
    """Each by its own identifier, in every section in which it sees one; a phone is a member as any other."""
    assert await room.come("one", CALLER, page(13)) == 13
    assert await room.come("two", CALLER, page(5)) == 5
    assert await room.come("three", PHONE, phone(4)) == 4
    assert set(await room.wanted()) == {"one", "two"}
    assert await room.reoffered("one", CALLER, taking(13)) == [13, 13]
    assert await room.reoffered("two", CALLER, taking(5)) == [5, 5]
    assert (room.lies("one", CALLER), room.lies("two", CALLER), room.lies("three", PHONE)) == ([13, 13], [5, 5], [4])
    room.call.events.clear()
    await room.call.pass_seconds(60)
    assert await room.wanted() == []


async def test_in_a_room_those_turn_their_own_picture_whom_somebody_sees_who_cannot(room: Room) -> None:
    """All are offered anew without it, at once and no more once taken, and with it some time after it has left."""
    assert await room.come("one", PHONE, phone(13)) == 13
    assert await room.come("two", PHONE, phone(4)) == 4
    assert await room.wanted() == []
    assert await room.come("three", PHONE, phone(None)) is None
    assert await room.wanted() == ["one", "two"]  # it sees the first, which turns no pictures then, not the second's
    assert await room.reoffered("one", PHONE, lambda offer: phone(None)) == [None]
    assert await room.reoffered("two", PHONE, lambda offer: phone(None)) == [None]
    assert (room.lies("one", PHONE), room.lies("two", PHONE)) == ([0], [0])
    await room.call.pass_seconds(60)
    assert await room.wanted() == ["one", "two"]
    room.seats.pop("three").leave()
    await room.call.pass_seconds(25)
    assert await room.wanted() == ["one", "two"]  # somebody else may come
    await room.forget()
    await room.call.pass_seconds(10)
    assert set(await room.wanted()) == {"one", "two"}
    assert await room.reoffered("one", PHONE, lambda offer: phone(13)) == [13]
    assert await room.reoffered("two", PHONE, lambda offer: phone(4)) == [4]
    assert (room.lies("one", PHONE), room.lies("two", PHONE)) == ([13], [4])
    await room.forget()
    await room.call.pass_seconds(60)
    assert await room.wanted() == []


async def test_who_takes_it_no_more_when_it_is_asked_again_is_one_who_cannot(room: Room) -> None:
    """Of the two that are left in the room each turns its own picture then, and nobody is asked a third time."""
    for name, identifier in (("one", 13), ("two", 4), ("three", None)):
        await room.come(name, PHONE, phone(identifier))
    for name in ("one", "two"):
        await room.reoffered(name, PHONE, lambda offer: phone(None))
    room.seats.pop("three").leave()
    await room.call.pass_seconds(35)
    assert await room.reoffered("one", PHONE, lambda offer: phone(None)) == [13]
    assert set(await room.wanted()) == {"one", "two"}
    await room.forget()
    await room.call.pass_seconds(60)
    assert await room.wanted() == []
    assert (room.lies("one", PHONE), room.lies("two", PHONE)) == ([0], [0])


async def test_a_page_that_can_be_offered_nothing_more_turns_its_own_picture_in_a_room(room: Room) -> None:
    """And sees none that lies on its side: who is seen by it is offered to."""
    assert await room.come("one", PHONE, phone(13)) == 13
    assert await room.come("two", replace(CALLER, reoffered=False), page(13)) is None
    assert await room.wanted() == ["one"]


async def test_what_was_agreed_between_two_goes_on_in_a_room(room: Room) -> None:
    """Who comes to it out of a call is offered it again there, as long as all who see it can."""
    call = room.call
    await call.up(page(13), page(13, setup="active"))
    await call.engine.create_offer("call", PROGRAM)
    await call.engine.join("call", CALLER.tag, PROGRAM.tag)
    room.sit("call", CALLER)
    assert await room.wanted() == []
    assert await room.reoffered("call", CALLER, taking(13)) == [13]
    assert await room.come("other", PHONE, phone(None)) is None
    assert await room.wanted() == ["call"]
    assert await room.reoffered("call", CALLER, taking(None)) == [None]
