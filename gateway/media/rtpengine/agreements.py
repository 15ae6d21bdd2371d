"""Offers and answers through a daemon: what is asked, what is checked, what is kept of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.media.engine import MediaError, Party
from gateway.media.rtpengine import descriptions
from gateway.media.rtpengine.bencode import Encodable
from gateway.media.rtpengine.call import CallState, Offer, PartyState
from gateway.media.rtpengine.client import NgHost
from gateway.media.rtpengine.ng import Request
from gateway.media.rtpengine.profiles import DIGITS_READY, Policy, flags, offer_flags
from gateway.media.rtpengine.requests import ask
from sdp import Direction, MediaDescription, SdpError, SessionDescription
from sdp.attributes import SetupRole
from sdp.negotiation import fitted


@dataclass(frozen=True, slots=True)
class Said:
    """What a party offers, as far as rtpengine can carry it."""

    description: SessionDescription
    audio: MediaDescription
    video: MediaDescription | None
    text: str
    """For the daemon: the other sections are refused."""

    @property
    def video_place(self) -> int | None:
        """Which section the picture is."""
        return None if self.video is None else descriptions.index_of(self.description, self.video)


class Agreements:
    """Exchanges of the calls of an engine; each method wants the call's lock held, and raises MediaError."""

    def __init__(self, policy: Callable[[], Policy], clock: Callable[[], float]) -> None:
        """`clock` gives monotonic seconds."""
        self._policy = policy
        self._clock = clock

    def read(self, source: Party, description: SessionDescription) -> Said:
        """A party's offer; MediaError 488 where nothing of it could be carried."""
        return self._said(source, description, source.codecs)

    def _said(self, source: Party, description: SessionDescription, codecs: tuple[str, ...]) -> Said:
        policy, description = self._policy(), descriptions.with_role(description, SetupRole.ACTPASS)
        audio = descriptions.audio_of(description, source.kind, policy.srtp_suites)
        video = descriptions.video_of(description, source.kind, policy.srtp_suites, policy.video)
        text = descriptions.only(description, audio, policy.srtp_suites, codecs, video, policy.video)
        assert audio is not None
        return Said(description, audio, video, text)

    async def offer(self, call: CallState, source: Party, target: Party, said: Said) -> str:
        """Have the daemon make of a party's offer the one for another."""
        codecs = descriptions.codecs_of(said.audio)
        addresses = descriptions.addresses_of(said.description)
        offered = [codec.key[0] for codec in codecs]
        masked = [codec.name for codec in codecs] if said.video is not None else []
        request: dict[str, Encodable] = {
            "command": "offer",
            "call-id": call.name,
            "from-tag": source.tag,
            "to-tag": target.tag,
            "sdp": said.text,
            **offer_flags(self._policy(), source, target, addresses, offered, masked),
        }
        for party in (source, target):
            known = call.parties.get(party.tag)
            if known is not None and known.party.kind is not party.kind:
                raise MediaError("a party cannot change what it speaks", 500)
        sections = len(said.description.media)
        told = await self._described(call.host, request, target, sections)
        place = descriptions.index_of(said.description, said.audio)
        section = told.media[place]
        if not any(codec.is_media for codec in descriptions.codecs_of(section)):
            raise MediaError("nothing that rtpengine could offer", 488)
        offer = Offer(request, said.audio, section, sections, place, said.video_place)
        call.offered(source, target, offer, self._clock())
        call.parties[target.tag].transport = descriptions.transport_of(told, section)
        return str(told)

    async def answer(self, call: CallState, source: Party, target: Party, said: SessionDescription) -> str:
        """Have the daemon make of a party's answer the one for who offered; the two talk from now on."""
        offer = self._open(call, source, target)
        description, audio, text = self.check(offer, source, said)
        addresses = descriptions.addresses_of(description)
        request: dict[str, Encodable] = {
            "command": "answer",
            "call-id": call.name,
            "from-tag": target.tag,
            "to-tag": source.tag,
            "sdp": text,
            **flags(self._policy(), source, target, addresses),
            # RFC 3264 section 6: the profile of the offer, with or without feedback.
            "transport-protocol": offer.theirs.protocol,
        }
        answer = await self._described(call.host, request, target, offer.sections)
        await self._hear_alone(call, source.tag, target.tag)
        section = answer.media[offer.place]
        if not descriptions.fits(section, offer.theirs):
            raise MediaError("nothing in common that rtpengine could carry", 488)
        now = self._clock()
        call.joined = frozenset((source.tag, target.tag))
        call.exchanges[call.joined] = offer.request, request
        call.digits = self._policy().numbers(source, target)
        call.answered_at = call.answered_at or now
        theirs = SessionDescription.parse(str(offer.request["sdp"]))
        asked = theirs.media[offer.place]
        told, answerer, wanted = call.party(target, now), call.party(source, now), theirs.direction_of(asked)
        _agree(answerer, description, audio, audio, wanted)
        _agree(told, theirs, asked, section, Direction.SENDRECV)
        answerer.narrow(wanted is not Direction.SENDRECV)
        told.narrow(answer.direction_of(section) is not wanted.reversed())
        told.transport = descriptions.transport_of(answer, section)
        return str(answer)

    async def _hear_alone(self, call: CallState, heard: str, listener: str) -> None:
        """Have the daemon drop the media of others who were offered the same: it would pass on all of them at once."""
        for tag in [other for speaker, other in call.offers if speaker == listener]:
            state, is_blocked = call.parties.get(tag), tag != heard
            if state is not None and state.blocked is not is_blocked:
                verb = "block media" if is_blocked else "unblock media"
                await ask(call.host, {"command": verb, "call-id": call.name, "from-tag": tag})
                state.block(is_blocked)

    @staticmethod
    def _open(call: CallState, source: Party, target: Party) -> Offer:
        offer = call.offers.get((target.tag, source.tag))
        if offer is None:
            raise MediaError("no offer of this party is waiting for an answer", 481)
        return offer

    def check(
        self, offer: Offer, source: Party, said: SessionDescription
    ) -> tuple[SessionDescription, MediaDescription, str]:
        """A party's answer, its audio, and what the daemon is to know of it."""
        policy, description = self._policy(), descriptions.with_role(_fitted(offer, said), SetupRole.ACTIVE)
        audio = descriptions.audio_of(description, source.kind, policy.srtp_suites)
        if audio is None or not descriptions.fits(audio, offer.ours):
            raise MediaError("the answer has no audio in common with the offer", 488)
        if descriptions.index_of(description, audio) != offer.place:
            raise MediaError("the answer has other sections than the offer", 488)
        video = descriptions.video_of(description, source.kind, policy.srtp_suites, policy.video)
        if video is not None and descriptions.index_of(description, video) != offer.video:
            video = None
        known = descriptions.without_own_digits(audio, offer.ours)
        read = description.with_media([known if each is audio else each for each in description.media])
        text = descriptions.only(read, known, policy.srtp_suites, (), video, policy.video)
        return description, audio, text

    async def repeat(self, call: CallState, pair: frozenset[str], *more: str) -> None:
        """Say the last offer of two parties and its answer again, with more flags: those two talk from now on.

        The same descriptions give the same ports and keys; nobody outside notices. What the daemon was told is kept,
        with the flags. Raises MediaError 488 for two whose descriptions are not known.
        """
        exchange = call.exchanges.get(pair)
        if exchange is None:
            raise MediaError("rtpengine has no descriptions of those two to say again", 488)
        said: list[Request] = []
        ready = False
        for request in exchange:
            wanted = request["flags"]
            assert isinstance(wanted, list)
            wanted = [*wanted, *more]
            ready = DIGITS_READY in wanted
            said.append({**request, "flags": wanted})
            await ask(call.host, said[-1])
        call.exchanges[pair], call.joined, call.digits = (said[0], said[1]), pair, ready

    def again(self, state: PartyState) -> Said:
        """What a party said last, as its offer to somebody else; MediaError 488 where it has not agreed to anything."""
        if state.said is None:
            raise MediaError("rtpengine makes no offer of its own", 488)
        return self._said(state.party, descriptions.offered_again(state.said, holds=state.holds), ())

    async def _described(self, host: NgHost, request: Request, target: Party, sections: int) -> SessionDescription:
        reply = await ask(host, request)
        text = reply.get("sdp")
        if not isinstance(text, str):
            raise MediaError("rtpengine gave no description", 500)
        description = descriptions.tidied(text, target.kind)
        if len(description.media) != sections:
            raise MediaError("rtpengine gave a description with other sections", 500)
        return description


def _fitted(offer: Offer, answer: SessionDescription) -> SessionDescription:
    """The answer with a section for each offered; raises MediaError 488 for an answer without any."""
    try:
        return fitted(SessionDescription.parse(str(offer.request["sdp"])), answer)
    except SdpError as error:
        raise MediaError(str(error), error.status) from None


def _agree(
    state: PartyState,
    said: SessionDescription,
    section: MediaDescription,
    agreed: MediaDescription,
    peer: Direction,
) -> None:
    """Note what a party said, and the codec that it is to speak."""
    state.said, state.codec, state.placed = said, descriptions.first_codec(agreed), True
    state.holds = descriptions.is_deaf(section, said, peer)
