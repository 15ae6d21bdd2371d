"""Behaviour shared by all legs: identity, event delivery, and defaults of the Leg protocol."""

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
    """Party, address and event delivery; events before `listen` are kept, within bounds."""

    def __init__(self, party: Party, address: Address, identity: str | None = None) -> None:
        self._party = party
        self._address = address
        self._identity = identity
        self._over = False
        """True once no event is exchanged with the far end any more."""
        self._signalling_lost = False
        self._limits: dict[Cause, str] = {}
        """Names of limits that caused a refusal, by cause."""
        self._retry_after: int | None = None
        """Seconds until a callee or engine may be asked again; None if unknown."""
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
        """No references: only SIP legs have Call-IDs."""
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
        """Return False: most front ends need no confirmation of the end."""
        return False

    @property
    def may_return(self) -> bool:
        return self._signalling_lost

    @property
    def is_unaware(self) -> bool:
        """False: most front ends see a call at once."""
        return False

    def awaited(self) -> None:
        """Do nothing: the front end reports a returning client by an event."""
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
        """Return True: pages use HTTPS or this machine, and services are local."""
        return True

    def next_preview(self) -> str | None:
        """Return None: most legs have a single early description."""
        return None

    async def keep_answer(self) -> None:
        """Do nothing: most legs have a single far end, or have already cancelled the rest."""
        return

    def note_limit(self, cause: Cause, limit: str, retry_after: int | None) -> None:
        if limit:
            self._limits.setdefault(cause, limit)
        if retry_after is not None:
            self._retry_after = min(retry_after, self._retry_after or retry_after)

    def limit_of(self, cause: Cause) -> tuple[str, int | None]:
        """Return the limit behind `cause` ("" for none) and the seconds until a retry makes sense."""
        return self._limits.get(cause, ""), (self._retry_after if cause.status == 503 else None)

    async def refuse_answer(self, cause: Cause) -> None:
        """Reject the call: most legs have no further destination."""
        await self.end(cause)
        self._deliver(Rejected(cause))

    def refer(self, to: str, report: TransferReport, replaces: DialogName | None = None) -> None:
        """Refuse: most far ends cannot be referred."""
        report.ended(Cause.NOT_ACCEPTABLE)

    async def candidate(self, candidate: str, mid: str | None) -> None:
        """Do nothing: most front ends cannot carry candidates, and our candidates are all in the SDP."""
        return

    async def digit(self, digit: str, duration_ms: int, *, sent: bool, told: Callable[[bool], None]) -> None:
        """Report `sent`: the digit is in the media, or lost for the leg."""
        told(sent)

    def ask_key_frame(self) -> None:
        """Do nothing: most far ends are asked for key frames by RTCP."""
        return

    async def connected(self) -> None:
        """Do nothing: most far ends notice media by themselves."""
        return

    async def held(self, held: bool) -> None:
        """Do nothing: a far end that gets the offer sees the hold in the description."""
        return

    async def identified(self, peer: Address) -> None:
        """Do nothing: most far ends cannot display a new name."""
        return

    @abstractmethod
    async def offer(self, exchange: int, sdp: str) -> None: ...

    def forget_offer(self, exchange: int, *, timed_out: bool) -> None:
        """Do nothing: most front ends match an answer to its offer."""
        return

    def take_back_offer(self, exchange: int) -> bool:
        """Return False: most front ends send an offer at once."""
        return False

    @abstractmethod
    async def answer_offer(self, exchange: int, sdp: str | None, cause: Cause = Cause.NOT_ACCEPTABLE) -> None: ...

    def values(self) -> dict[str, Any] | None:
        """Return None: the far end cannot be found again after a restart."""
        return None

    @abstractmethod
    async def end(self, cause: Cause) -> None: ...
