"""Leg of a SIP caller."""

from __future__ import annotations

from collections.abc import Callable

from gateway.call.leg import Address, Confirmed, SignallingChanged
from gateway.call.status import Cause
from gateway.legs.sip_bodies import kind_of, reason_of, text_of
from gateway.legs.sip_flows import version_of
from gateway.legs.sip_leg import SipLeg
from gateway.legs.sip_sessions import CallerSession, Reader, Shown, nobody
from gateway.media.engine import Dtmf, Kind, Party
from gateway.sip.invite import events

_OVERLOADED = 503
_RETRY_AFTER = 5
"""Retry-After in seconds, where no better value is known."""


class SipCallerLeg(SipLeg):
    """A phone that called the gateway: the UAS side of an INVITE."""

    is_caller = True

    def __init__(
        self,
        tag: str,
        session: CallerSession,
        address: Address,
        source: str | None,
        kind: Kind = Kind.RTP,
        identity: str | None = None,
        dtmf: Dtmf = Dtmf.AUTO,
        codecs: tuple[str, ...] = (),
        shown: Shown | None = None,
        reads: Reader = nobody,
        taken_as: Callable[[Kind], Kind] = lambda kind: kind,
    ) -> None:
        """`kind` is offered to a caller without an offer; `dtmf` is its way of sending digits; `codecs` is the allowed
        list. `taken_as` maps the kind of an offer by policy. `shown` controls identity sent to the caller; `reads`
        identity accepted from the caller.
        """
        self.initial_offer = text_of(session.initial_offer) if session.initial_offer else None
        """Description in the INVITE; None if the INVITE asks for an offer."""
        spoken = kind if self.initial_offer is None else taken_as(kind_of(self.initial_offer))
        super().__init__(
            Party(
                tag,
                spoken,
                private_source=source,
                family=version_of(source or ""),
                dtmf=dtmf,
                codecs=codecs,
                owner=identity,
            ),
            address,
            identity,
        )
        self._caller = session
        self._session = session
        if self.initial_offer is not None:
            self._infos.described(self.initial_offer)
        self._shown, self._reads = shown or Shown(), reads
        self._answered = False
        session.changed, session.noticed = self._changed, self._noticed
        session.listen(self._happened)

    @property
    def is_unaware(self) -> bool:
        # A browser gets an early answer before the callee is invited.
        return self._caller.is_silent and self.party.kind is not Kind.WEBRTC

    def _noticed(self) -> None:
        if not self._over:
            self._deliver(SignallingChanged(is_first=True))

    def _happened(self, event: events.SessionEvent) -> None:
        if self._over:
            return
        if isinstance(event, events.Confirmed):
            if self.initial_offer is None:
                self._deliver(Confirmed(0, self._description(event.body) if event.body else None))
            return
        self._in_dialog(event)

    async def early_answer(self, sdp: str) -> None:
        """Send the answer to a browser on SIP over WebSocket in a 183."""
        self._caller.ring(183, body=sdp.encode())

    async def ring(self, sdp: str | None) -> None:
        if sdp is None:
            self._caller.ring(180)
        else:
            self._caller.ring(183, body=sdp.encode())

    async def answer(self, sdp: str) -> bool:
        self._answered = True
        # The 200 may differ from the description in an unreliable 183; the session handles a reliable 183.
        self._caller.answer(sdp.encode())
        return True

    async def end(self, cause: Cause) -> None:
        if self._over:
            return
        self._over = True
        if self._answered:
            self._hang_up(cause)
        else:
            self.refuse(cause, *self.limit_of(cause))

    def refuse(self, cause: Cause, detail: str = "", retry_after: int | None = None) -> None:
        """Reject the INVITE with the status of `cause`; `detail` names the limit or place of refusal in Reason."""
        self._over = True
        status = cause.status if cause.status >= 300 else Cause.UNAVAILABLE.status
        headers = [("Reason", reason_of(cause, detail))]
        if status == _OVERLOADED:
            headers.append(("Retry-After", str(retry_after or _RETRY_AFTER)))
        self._caller.reject(status, headers=headers)
