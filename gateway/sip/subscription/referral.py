"""REFER from a peer in a dialog, from the request to the last NOTIFY (RFC 3515, RFC 4488, RFC 7647)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.sip.alarms import Alarm
from gateway.sip.auth.account import Authenticator
from gateway.sip.dialogs.dialog import Dialog
from gateway.sip.dialogs.ports import Core
from gateway.sip.dialogs.usage import DialogUsage
from gateway.sip.errors import DialogError, SipSyntaxError
from gateway.sip.invite.events import SessionEvent
from gateway.sip.message.build import PHRASES
from gateway.sip.message.uri import Uri
from gateway.sip.message.values import Replaces
from gateway.sip.requests.server import ServerRequest
from gateway.sip.subscription.document import Document
from gateway.sip.subscription.notifier import Notifier
from gateway.sip.subscription.states import NotifierInput, NotifierState

PACKAGE = "refer"
FRAGMENT = "message/sipfrag;version=2.0"
_SCHEMES = ("sip", "sips", "tel")


class Referral(Notifier):
    """Transfer request of the peer, with notifications of its outcome.

    The application calls `accept` or `refuse` once, and after `accept` any number of `progress` and one `finish`. Calls
    after the end, by either side, do nothing.
    """

    def __init__(
        self,
        core: Core,
        dialog: Dialog,
        refer: ServerRequest,
        *,
        is_first: bool,
        authenticator: Authenticator | None = None,
    ) -> None:
        """Raise DialogError for an impossible REFER. `is_first`: first REFER in its dialog (RFC 3515 2.4.6)."""
        request = refer.request
        super().__init__(
            core,
            dialog,
            package=PACKAGE,
            event_id=None if is_first else str(request.cseq.number),
            longest=core.config.referral_time,
            authenticator=authenticator,
        )
        self.target, self.replaces = _target_of(refer)
        self._refer = refer
        self._then: Callable[[], None] | None = None
        self._silent = (request.headers.get("Refer-Sub") or "").strip().lower() == "false"
        patience = core.now() + core.config.answer_patience
        self._patience: Alarm[DialogUsage | None] = core.at(patience, lambda: self.refuse(500), self)

    def accept(self) -> None:
        """Answer 202, and unless declined (Refer-Sub: false) start the NOTIFYs with "100 Trying"."""
        if self._refer.is_answered:
            return
        self._patience.cancel()
        headers = (("Refer-Sub", "false"),) if self._silent else ()
        self._refer.respond(202, headers, contact=self._dialog.contact)
        self._dialog.refresh_target(self._refer.request)
        if not self._silent:
            self._begin(_fragment(100), self._longest)
        self._core.wake()

    def refuse(self, status: int) -> None:
        """Reject the REFER; no NOTIFY follows."""
        if self._refer.is_answered:
            return
        self._patience.cancel()
        self._refer.respond(status)
        self._step(NotifierInput.REFUSE)
        self._core.wake()

    def progress(self, status: int) -> None:
        """Report a 1xx of the transfer target."""
        self.tell(_fragment(status))

    def finish(self, status: int) -> None:
        """Report the outcome: 200 for success, or the status of the failure."""
        self.end(_fragment(status), "noresource")

    def when_told(self, then: Callable[[], None]) -> None:
        """Call `then` after the last NOTIFY is answered, immediately if none is open.

        Phones drop the subscription with the call, so our BYE must wait for the last NOTIFY.
        """
        if self.state in (NotifierState.ACTIVE, NotifierState.TERMINATED):
            self._then = then
        else:
            then()

    def _leave(self) -> None:
        super()._leave()
        then, self._then = self._then, None
        if then is not None:
            then()


@dataclass(frozen=True, slots=True)
class Referred(SessionEvent):
    """The peer asks to be replaced in the call by a transfer target; accept or refuse `referral`."""

    referral: Referral


def _target_of(refer: ServerRequest) -> tuple[Uri, Replaces | None]:
    """Return the URI to call, and the dialog to replace. Raise DialogError."""
    request = refer.request
    if request.refer_to is None:
        raise DialogError("a REFER has one Refer-To", status=400)
    uri = request.refer_to.uri
    if uri.scheme not in _SCHEMES:
        raise DialogError("nothing but a call can be referred to", status=416)
    if uri.is_sip and (uri.param("method") or "INVITE").upper() != "INVITE":
        raise DialogError("nothing but a call can be referred to", status=603)
    text = uri.header("Replaces") if uri.is_sip else None
    try:
        replaces = Replaces.parse(text) if text is not None else None
    except SipSyntaxError:
        raise DialogError("the Replaces of Refer-To cannot be read", status=400) from None
    return uri.without_headers() if uri.is_sip else uri, replaces


def _fragment(status: int) -> Document:
    return Document.of(FRAGMENT, f"SIP/2.0 {status} {PHRASES.get(status, 'Failure')}\r\n".encode())
