"""INFO within a session, both ways (RFC 6086): one outgoing request at a time; the application answers the peer's."""

from __future__ import annotations

import logging
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from gateway.sip.alarms import Alarm
from gateway.sip.dialogs.dialog import Dialog
from gateway.sip.dialogs.ports import Core
from gateway.sip.dialogs.usage import DialogUsage
from gateway.sip.invite.events import InfoReceived, SessionEvent
from gateway.sip.message import build
from gateway.sip.message.message import Response
from gateway.sip.requests.client import ClientRequest
from gateway.sip.requests.server import ServerRequest

logger = logging.getLogger(__name__)

WAITING = 64
"""Outgoing INFOs waiting for the previous response."""
UNANSWERED = 16
"""Peer's INFOs waiting for the application's answer."""
_UNSUPPORTED = 415
Done = Callable[[int], None]


class Session(DialogUsage, Protocol):
    """Session interface needed by INFO."""

    core: Core
    dialog: Dialog | None

    @property
    def is_over(self) -> bool: ...

    def send_in_dialog(
        self,
        method: str,
        dialog: Dialog,
        done: Callable[[Response], None],
        *,
        headers: build.Fields = (),
        body: bytes = b"",
        content_type: str | None = None,
    ) -> ClientRequest: ...

    def emit(self, event: SessionEvent) -> None: ...

    def lost(self, status: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Outgoing INFO."""

    content_type: str
    body: bytes
    package: str | None
    done: Done
    instead: tuple[str, bytes] | None = None
    """Type and body for a second attempt after a 415."""


class Infos:
    """INFO requests of a session, both ways."""

    def __init__(self, session: Session) -> None:
        self._owner = weakref.ref(session)
        self._waiting: deque[Outgoing] = deque()
        self._sent: Outgoing | None = None
        self._numbers = 0
        self._unanswered: dict[int, tuple[ServerRequest, Alarm[DialogUsage | None]]] = {}

    @property
    def _session(self) -> Session:
        """Owner of the INFOs; weakly referenced, so that no cycle waits for the garbage collector."""
        session = self._owner()
        assert session is not None, "nobody else has them"
        return session

    def send(self, info: Outgoing) -> None:
        """Send `info` after the previous responses; report 481 without a dialog, 503 with a full queue."""
        if self._session.dialog is None or self._session.is_over:
            logger.info("INFO outside a dialog is not sent")
            info.done(481)
        elif len(self._waiting) >= WAITING:
            info.done(503)
        else:
            self._waiting.append(info)
            self._advance()

    def _advance(self) -> None:
        session = self._session
        if self._sent is not None or not self._waiting or session.dialog is None:
            return
        info = self._sent = self._waiting.popleft()
        headers = (("Info-Package", info.package),) if info.package else ()
        session.send_in_dialog(
            "INFO", session.dialog, self._answered, headers=headers, body=info.body, content_type=info.content_type
        )

    def _answered(self, response: Response) -> None:
        info, self._sent = self._sent, None
        if info is None:
            return
        if response.status == _UNSUPPORTED and info.instead is not None:
            content_type, body = info.instead
            self._waiting.appendleft(replace(info, content_type=content_type, body=body, instead=None))
        else:
            info.done(response.status)
        if response.status in (408, 481):
            self._session.lost(response.status)
        else:
            self._advance()

    def on_request(self, request: ServerRequest) -> None:
        """Deliver a peer's INFO to the application; answer an INFO without body at once (RFC 6086 4.2.2)."""
        session, info = self._session, request.request
        known = session.core.config.info_packages
        value = info.headers.get("Info-Package")
        package = None if value is None else value.partition(";")[0].strip().lower()
        if package is not None and package not in known:
            request.respond(469, (("Recv-Info", ", ".join(known)),))
        elif not info.body:
            request.respond(200)
        elif len(self._unanswered) >= UNANSWERED:
            request.respond(500, (("Retry-After", 1),))
        else:
            self._numbers += 1
            number = self._numbers
            patience = session.core.now() + session.core.config.answer_patience
            alarm = session.core.at(patience, lambda: self.answer(number, 500), session)
            self._unanswered[number] = request, alarm
            kind = info.content_type
            session.emit(InfoReceived(kind.essence if kind else "", info.body, package, number=number))

    def answer(self, number: int, status: int) -> None:
        """Answer the INFO with `number`, unless already answered."""
        request, alarm = self._unanswered.pop(number, (None, None))
        if request is not None and alarm is not None:
            alarm.cancel()
            request.respond(status)

    def stop(self) -> None:
        """Answer and report 481 for all open INFOs after the session's end (RFC 6086 section 4.2.3)."""
        for number in tuple(self._unanswered):
            self.answer(number, 481)
        waiting, self._waiting = self._waiting, deque()
        sent, self._sent = self._sent, None
        for info in ([sent] if sent is not None else []) + list(waiting):
            info.done(481)
