"""What every leg does the same way: who it is, and how its events reach the call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any

from gateway.call.leg import Address, DialogName, LegEvent, LegListener, LegName, Rejected, TransferReport
from gateway.call.status import Cause
from gateway.media.engine import Party

_KEPT_EVENTS = 32


class LegBase(ABC):
    """Party, address and event delivery; what happens before `listen` is kept, within bounds."""

    def __init__(self, party: Party, address: Address, identity: str | None = None) -> None:
        self._party = party
        self._address = address
        self._identity = identity
        self._over = False
        """Nothing more is told to the far end, nor heard from it."""
        self._signalling_lost = False
        self._limits: dict[Cause, str] = {}
        """Limits for which the far end is refused, by the cause of that."""
        self._retry_after: int | None = None
        """Seconds after which a callee or an engine may be asked again; None: nobody knows."""
        self._listener: LegListener | None = None
        self._kept: deque[LegEvent] = deque(maxlen=_KEPT_EVENTS)

    @property
    def party(self) -> Party:
        return self._party

    @property
    def address(self) -> Address:
        return self._address

    @property
    def references(self) -> tuple[str, ...]:
        """Only SIP has names of its own for a call."""
        return ()

    @property
    def identity(self) -> str | None:
        return self._identity

    def is_named(self, name: LegName) -> bool:
        return name == self._party.tag

    @property
    def signalling_lost(self) -> bool:
        return self._signalling_lost

    def when_left(self, told: Callable[[], None]) -> bool:
        """Most front ends are told once, or find that nobody is there."""
        return False

    @property
    def may_return(self) -> bool:
        return self._signalling_lost

    @property
    def is_unaware(self) -> bool:
        """Most front ends see it at once."""
        return False

    def awaited(self) -> None:
        """A front end that tells by itself when its client is back has nothing to note."""
        return

    @property
    def can_update(self) -> bool:
        return True

    def listen(self, listener: LegListener, *, instead_of: LegListener | None = None) -> None:
        if instead_of is not None and self._listener != instead_of:
            return
        self._listener = listener
        while self._kept:
            listener(self, self._kept.popleft())

    def _deliver(self, event: LegEvent) -> None:
        if self._listener is None:
            self._kept.append(event)
        else:
            self._listener(self, event)

    def only_secure(self) -> bool:
        """Pages have HTTPS, or are on this machine; services are here."""
        return True

    def next_preview(self) -> str | None:
        """Most legs have one far end."""
        return None

    async def keep_answer(self) -> None:
        """Most legs have one far end, or have ended the others as that one answered."""
        return

    def note_limit(self, cause: Cause, limit: str, retry_after: int | None) -> None:
        if limit:
            self._limits.setdefault(cause, limit)
        if retry_after is not None:
            self._retry_after = min(retry_after, self._retry_after or retry_after)

    def limit_of(self, cause: Cause) -> tuple[str, int | None]:
        """Return the limit for which the call ends with `cause` ("": none), and seconds until a next try."""
        return self._limits.get(cause, ""), (self._retry_after if cause.status == 503 else None)

    async def refuse_answer(self, cause: Cause) -> None:
        """Most legs have nobody else to ask."""
        await self.end(cause)
        self._deliver(Rejected(cause))

    def refer(self, to: str, report: TransferReport, replaces: DialogName | None = None) -> None:
        """Most far ends cannot be asked to call somebody else."""
        report.ended(Cause.NOT_ACCEPTABLE)

    async def candidate(self, candidate: str, mid: str | None) -> None:
        """Most front ends have nothing to carry a candidate with; all of ours are in the SDP."""
        return

    async def digit(self, digit: str, duration_ms: int, *, sent: bool, told: Callable[[bool], None]) -> None:
        """Digits are in the media, or they are lost to this leg."""
        told(sent)

    def ask_key_frame(self) -> None:
        """Most far ends are asked in their media."""
        return

    async def connected(self) -> None:
        """Most far ends see that for themselves."""
        return

    async def held(self, held: bool) -> None:
        """A far end that gets the offer itself sees in it that it is held."""
        return

    async def identified(self, peer: Address) -> None:
        """Most far ends have nobody to show it to."""
        return

    @abstractmethod
    async def offer(self, exchange: int, sdp: str) -> None: ...

    def forget_offer(self, exchange: int, *, timed_out: bool) -> None:
        """Most front ends bind the answer to its offer."""
        return

    def take_back_offer(self, exchange: int) -> bool:
        """Most front ends send an offer at once."""
        return False

    @abstractmethod
    async def answer_offer(self, exchange: int, sdp: str | None, cause: Cause = Cause.NOT_ACCEPTABLE) -> None: ...

    def values(self) -> dict[str, Any] | None:
        """A front end that keeps nothing is not found again."""
        return None

    @abstractmethod
    async def end(self, cause: Cause) -> None: ...
