"""A leg without a far end: it remembers what it was told, and says what the test makes it say."""

from __future__ import annotations

from collections.abc import Callable

from gateway.call.leg import Address, LegEvent, Renamed
from gateway.call.status import Cause
from gateway.legs.base import LegBase
from gateway.media.engine import Kind, Party


class FakeLeg(LegBase):
    """Both roles at once; `told` is everything the call asked of it, in order."""

    def __init__(
        self,
        tag: str,
        kind: Kind = Kind.RTP,
        *,
        can_update: bool = True,
        takes_another_answer: bool = True,
        service: str | None = None,
        owner: str | None = None,
    ) -> None:
        super().__init__(Party(tag, kind, service=service, owner=owner), Address(f"sip:{tag}@example.test", tag))
        self.told: list[tuple[str, object]] = []
        self.exchanges: list[int] = []
        """Numbers of the offers it was sent."""
        self.replies: dict[int, str | Cause] = {}
        """What its own offers were answered with, by their number."""
        self.takes_digits: bool | None = True
        """Whether its far end takes a digit by signalling; None: that is not known yet (`untold`)."""
        self.untold: list[Callable[[bool], None]] = []
        self.takes_back = False
        """True: an offer is held back, as by a SIP leg whose far end has offered."""
        self._can_update = can_update
        self._takes_another_answer = takes_another_answer

    @property
    def can_update(self) -> bool:
        return self._can_update

    @property
    def references(self) -> tuple[str, ...]:
        return (f"{self.party.tag}@example.test",)

    @property
    def verbs(self) -> list[str]:
        """What was asked, without the arguments."""
        return [verb for verb, _ in self.told]

    def says(self, event: LegEvent) -> None:
        """Make the far end do something."""
        self._deliver(event)

    def loses_signalling(self) -> None:
        """Its connection is gone; nobody knows yet whether it comes back."""
        self._signalling_lost = True

    async def invite(self, sdp: str, caller: Address) -> None:
        self.told.append(("invite", sdp))

    async def early_answer(self, sdp: str) -> None:
        self.told.append(("early_answer", sdp))

    async def ring(self, sdp: str | None) -> None:
        self.told.append(("ring", sdp))

    async def answer(self, sdp: str) -> bool:
        given = next((text for verb, text in self.told if verb == "early_answer"), sdp)
        self.told.append(("answer", sdp))
        return given == sdp or self._takes_another_answer

    async def offer(self, exchange: int, sdp: str) -> None:
        self.exchanges.append(exchange)
        self.told.append(("offer", sdp))

    def take_back_offer(self, exchange: int) -> bool:
        if self.takes_back:
            self.told.append(("take_back_offer", exchange))
        return self.takes_back

    async def answer_offer(self, exchange: int, sdp: str | None, cause: Cause = Cause.NOT_ACCEPTABLE) -> None:
        reply = cause if sdp is None else sdp
        assert exchange not in self.replies, f"offer {exchange} was answered twice"
        self.replies[exchange] = reply
        self.told.append(("answer_offer", reply))

    async def held(self, held: bool) -> None:
        self.told.append(("held", held))

    async def identified(self, peer: Address) -> None:
        self.told.append(("identified", peer.display_name))

    def renamed(self, address: Address) -> None:
        """The far end says that it is somebody else now."""
        self._address = address
        self._deliver(Renamed())

    def ask_key_frame(self) -> None:
        self.told.append(("ask_key_frame", None))

    async def digit(self, digit: str, duration_ms: int, *, sent: bool, told: Callable[[bool], None]) -> None:
        self.told.append(("digit", digit))
        if sent or self.takes_digits is not None:
            told(sent or bool(self.takes_digits))
        else:
            self.untold.append(told)

    async def end(self, cause: Cause) -> None:
        if not self._over:
            self._over = True
            self.told.append(("end", cause))
