"""Those who dial a room of the room server, as one of its peers: each browser sends it an offer like any other."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Iterable

from gateway.call.status import Cause
from gateway.identity.model import User
from gateway.web.conferencing import RefusedError
from gateway.web.facade import Gateway, PlacedChannel, PlaceError, WebCall
from gateway.web.rooms.messages import ROOM, BadMessage, ICECandidate, Message, SDPAnswer, SDPOffer

log = logging.getLogger(__name__)

_MAX_CANDIDATES = 64
"""Of one offer."""


class PhonesOfRoom:
    """`gateway.web.rooms.signaling.Resident`: a call of each browser into the conference room of the same name."""

    free_bytes = 0

    def __init__(self, gateway: Gateway, room: str) -> None:
        self._gateway = gateway
        self._room = room
        self._links: dict[str, _Link] = {}
        """By the id of the browser's peer."""
        self._phones: list[str] = []
        self._say: Callable[[Message], None]
        self._stop: Callable[[], None] = lambda: None

    @property
    def phones(self) -> Iterable[str]:
        return tuple(self._phones)

    def begin(self, say: Callable[[Message], None], told: Callable[[str, bool], None]) -> None:
        def phone(name: str, there: bool) -> None:
            if there:
                self._phones.append(name)
            else:
                self._phones.remove(name)
            told(name, there)

        self._say = say
        try:
            self._stop = self._gateway.conferencing.watch_phones(self._room, phone)
        except RefusedError as error:
            log.warning("the phones of a room are not told: %s", error)

    def send(self, text: str) -> None:
        message = json.loads(text)
        if message["type"] == "peer_left":
            link = self._links.pop(message["peer_id"], None)
            if link is not None:
                link.close()
            return
        peer = message.get("from_peer_id")
        if peer is None:
            return
        # What came was read before, and is written in our form.
        with contextlib.suppress(BadMessage):
            match ROOM.read(message | {"target_peer_id": peer}):
                case SDPOffer(sdp=sdp):
                    self._link(peer).offer(sdp)
                case ICECandidate(candidate=candidate, sdp_mid=mid):
                    self._link(peer).trickle(candidate, mid)

    def close(self, code: int, reason: str = "") -> None:
        self._stop()
        for link in self._links.values():
            link.close()
        self._links.clear()

    def _link(self, peer: str) -> _Link:
        if peer not in self._links:
            self._links[peer] = _Link(self._gateway, self._room, peer, lambda sdp: self._answer(peer, sdp))
        return self._links[peer]

    def _answer(self, peer: str, sdp: str) -> None:
        with contextlib.suppress(BadMessage):
            self._say(SDPAnswer(target=peer, sdp=sdp))


class _Link(PlacedChannel):
    """A WebChannel (see `facade`): the call of one browser, as long as it is in the room."""

    def __init__(self, gateway: Gateway, room: str, peer: str, answer: Callable[[str], None]) -> None:
        self._gateway = gateway
        self._room = room
        self._peer = peer
        self._answer = answer
        self._call: WebCall | None = None
        self._answered = self._over = False
        self._placing: asyncio.Task[None] | None = None
        self._later = ""
        """An offer that came while the one before is being placed."""
        self._candidates: list[tuple[str, str | None]] = []
        """Those that came meanwhile."""
        self._taken = 0
        """Candidates since the last offer."""

    def offer(self, sdp: str) -> None:
        """An offer: the first, one that changes the session, or one anew where the call has ended."""
        self._taken = len(self._candidates)
        if self._call is not None:
            self._call.update(sdp)
        elif self._placing is not None:
            self._later = sdp
        else:
            self._placing = asyncio.get_running_loop().create_task(self._begin(sdp))

    def trickle(self, candidate: str, mid: str | None) -> None:
        """One candidate of the browser; dropped where there is no offer that it could be of."""
        if self._taken >= _MAX_CANDIDATES:
            return
        if self._call is not None:
            self._call.candidate(candidate, mid)
        elif self._placing is not None:
            self._candidates.append((candidate, mid))
        self._taken += 1

    def close(self) -> None:
        """The browser has left the room."""
        self._over = True
        if self._call is not None:
            self._call.hangup()

    async def _begin(self, sdp: str) -> None:
        call = await self._place(sdp)
        while call is None and self._later and not self._over:
            sdp, self._later = self._later, ""
            call = await self._place(sdp)
        candidates, later = self._candidates, self._later
        self._placing, self._candidates, self._later = None, [], ""
        if call is None:
            return
        if self._over:
            call.hangup()
            return
        self._call = call
        for candidate in candidates:
            call.candidate(*candidate)
        if later:
            call.update(later)

    async def _place(self, sdp: str) -> WebCall | None:
        """None: the call was not taken, and nobody is told."""
        try:
            number = self._gateway.conferencing.room_link(self._room)
            # What a browser calls itself proves nothing: it is nobody's id.
            who = User(number, display_name=self._peer, web=True, may_call=())
            return await self._gateway.place(self, who, number, sdp, f"room {self._room} {self._peer}")
        except (PlaceError, RefusedError) as error:
            log.info("a browser is not linked with the phones of its room: %s", error)
        except Exception:
            log.exception("a browser is not linked with the phones of its room")
        return None

    def _take(self, sdp: str | None) -> None:
        if sdp is not None and not self._answered:
            self._answered = True
            self._answer(sdp)

    def early_answer(self, call: WebCall, sdp: str) -> None:
        self._take(sdp)

    def ringing(self, call: WebCall, sdp: str | None) -> None:
        self._take(sdp)

    def answered(self, call: WebCall, sdp: str | None) -> None:
        self._take(sdp)

    def updated(self, call: WebCall, sdp: str | None, kind: str) -> None:
        if kind == "offer":
            call.update_answer(None)
        elif sdp is not None:
            self._answer(sdp)

    def ended(self, call: WebCall, cause: Cause) -> None:
        """It may offer anew."""
        self._call, self._answered = None, False
