"""Scripted sessions under SIP legs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from gateway.call.leg import Address, Leg, LegEvent, SignallingChanged
from gateway.legs.sip_callee import SipCalleeLeg
from gateway.legs.sip_caller import SipCallerLeg
from gateway.sip.dialogs.dialog import Dialog
from gateway.sip.flow import Flow
from gateway.sip.invite import events
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.uri import Uri

PHONE = Address("sip:1001@gw.test", "Phone")
ALICE = Address("sip:alice@gw.test", "Alice")
SDP = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"


class FakeSession:
    """An INVITE session that does nothing but remember."""

    def __init__(self, body: bytes = SDP) -> None:
        self.initial_offer = body
        self.call_id = "call-id@phone"
        self.dialog: Dialog | None = None
        self.told: list[tuple[object, ...]] = []
        self.retry_after: object = None
        self.has_responded = False
        self.source = Flow("udp", "192.0.2.7", 5060)
        self.peer_allows: frozenset[str] = frozenset()
        self.peer_packages: frozenset[str] = frozenset()
        self.changed: Callable[[], None] = lambda: None
        self.noticed: Callable[[], None] = lambda: None
        self.is_silent = True
        self.kept: dict[str, Any] | None = None
        self.referred: Callable[[int, bool], None]
        self.infos: list[Callable[[int], None]] = []
        self.says: Callable[[events.SessionEvent], None]

    def judge_answer(self) -> None:
        return

    def keep_answer(self) -> None:
        return

    def refuse_answer(self, status: int, reason_header: str | None = None) -> bool:
        return False

    def values(self) -> dict[str, Any] | None:
        return self.kept

    def take_back_offer(self, exchange: int) -> bool:
        self.told.append(("take_back_offer", exchange))
        return True

    def listen(self, handler: Callable[[events.SessionEvent], None]) -> None:
        self.says = handler

    def ring(self, status: int = 180, reason: str | None = None, body: bytes | None = None) -> None:
        self.told.append(("ring", status, body))

    def answer(self, body: bytes) -> int | None:
        self.told.append(("answer", body))
        return None

    def reject(self, status: int, reason: str | None = None, headers: Iterable[tuple[str, object]] = ()) -> None:
        fields = dict(headers)
        self.retry_after = fields.get("Retry-After")
        self.told.append(("reject", status, fields.get("Reason")))

    def identify(self, local: NameAddr, headers: Iterable[tuple[str, object]] = ()) -> None:
        self.told.append(("identify", str(local), [(name, str(value)) for name, value in headers]))

    def hangup(self, reason_header: str | None = None) -> None:
        self.told.append(("hangup", reason_header))

    def refer(self, target: Uri, told: Callable[[int, bool], None]) -> None:
        self.told.append(("refer", str(target)))
        self.referred = told

    def offer(self, body: bytes) -> int:
        self.told.append(("offer", body))
        return 2

    def answer_offer(self, exchange: int, body: bytes) -> None:
        self.told.append(("answer_offer", exchange, body))

    def refuse_offer(self, exchange: int, status: int = 488, reason_header: str | None = None) -> None:
        self.told.append(("refuse_offer", exchange, status))

    def info(
        self,
        content_type: str,
        body: bytes,
        *,
        package: str | None = None,
        done: Callable[[int], None] | None = None,
        instead: tuple[str, bytes] | None = None,
    ) -> None:
        self.told.append(("info", content_type, body, package, instead))
        if done is not None:
            self.infos.append(done)

    def answer_info(self, number: int, status: int) -> None:
        self.told.append(("answer_info", number, status))


class FakeInviter:
    """Hands out fake sessions and remembers where they went."""

    def __init__(self) -> None:
        self.sessions: list[FakeSession] = []
        self.invites: list[tuple[str, dict[str, Any]]] = []

    def invite(self, target: Any, **arguments: Any) -> FakeSession:
        self.invites.append((str(target), arguments))
        self.sessions.append(FakeSession())
        return self.sessions[-1]


def listened(leg: SipCallerLeg | SipCalleeLeg) -> list[LegEvent]:
    heard: list[LegEvent] = []

    def hear(_: Leg, event: LegEvent) -> None:
        if not isinstance(event, SignallingChanged):
            heard.append(event)

    leg.listen(hear)
    return heard
