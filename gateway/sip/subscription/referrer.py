"""Outgoing REFER in a dialog, with the peer's notifications (RFC 3515 section 2.4, RFC 7647)."""

from __future__ import annotations

import re
from collections.abc import Callable

from gateway.sip.alarms import Alarm
from gateway.sip.auth.account import Authenticator
from gateway.sip.dialogs.dialog import Dialog
from gateway.sip.dialogs.ports import Core
from gateway.sip.dialogs.requests import send_in_dialog
from gateway.sip.dialogs.usage import DialogUsage
from gateway.sip.flow import Flow
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request, Response
from gateway.sip.message.uri import Uri
from gateway.sip.requests.client import ClientRequest
from gateway.sip.requests.server import ServerRequest
from gateway.sip.transactions import Reason, Transaction

_STATUS = re.compile(rb"SIP/2\.0 ([1-6][0-9]{2})[ \r\n]")
_ACCEPTED, _NEVER_SAID, _MISTAKE = 100, 487, 500

Told = Callable[[int, bool], None]
"""Callback (status, is_refer_response); further calls may follow a status below 200."""


class Referrer:
    """Asks the peer to call a transfer target, and follows the outcome.

    `report` gets (100, True) once the peer accepts, then the statuses in NOTIFYs; or (n, True) for a rejection with n.
    A subscription ended without outcome counts as 487, silence for `core.config.referral_time` as 408.
    """

    def __init__(
        self, core: Core, dialog: Dialog, target: Uri, report: Told, *, authenticator: Authenticator | None = None
    ) -> None:
        self._core = core
        self._dialog = dialog
        self._report = report
        self._is_over = False
        self._client: ClientRequest | None = None
        core.add_usage(dialog, self)
        self._alarm: Alarm[DialogUsage | None] = core.at(
            core.now() + core.config.referral_time, lambda: self._decided(408, of_refer=False), self
        )
        self._client = send_in_dialog(
            core,
            dialog,
            "REFER",
            self._answered,
            owner=self,
            authenticator=authenticator,
            headers=(("Refer-To", NameAddr(target)), ("Referred-By", NameAddr(dialog.local.uri))),
        )

    def _answered(self, response: Response) -> None:
        if self._is_over:
            return  # a NOTIFY arrived before the response
        if response.is_success:
            self._report(_ACCEPTED, True)
        else:
            self._decided(response.status, of_refer=True)

    def _decided(self, status: int, *, of_refer: bool) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._alarm.cancel()
        self._core.remove_usage(self._dialog, self)
        self._report(status, of_refer)

    # ---- DialogUsage

    def claims(self, request: Request) -> bool:
        """Claim a NOTIFY of the REFER, with or without its CSeq as id (RFC 3515 section 2.4.6)."""
        event = request.event if request.method == "NOTIFY" else None
        if event is None or event.value.lower() != "refer" or self._is_over:
            return False
        number = event.param("id")
        sent = self._client.request if self._client is not None else None
        return number is None or sent is None or number == str(sent.cseq.number)

    def on_request(self, request: ServerRequest, dialog: Dialog) -> None:
        """Process a NOTIFY; an unreadable one is answered and ignored."""
        request.respond(200)
        notify = request.request
        found = _STATUS.match(notify.body)
        status = int(found[1]) if found is not None else 0
        state = notify.subscription_state
        if status >= 200:
            self._decided(status, of_refer=False)
        elif state is not None and state.value.lower() == "terminated":
            self._decided(_NEVER_SAID, of_refer=False)
        elif status > _ACCEPTED:
            self._report(status, False)

    def on_ack(self, ack: Request, dialog: Dialog) -> None:
        """Ignore an ACK, as the usage sends no INVITE."""

    def on_failed(self, transaction: Transaction, reason: Reason) -> None:
        """Ignore a failed 200 to a NOTIFY: the peer retransmits the NOTIFY."""

    def on_flow_lost(self, flow: Flow) -> None:
        """Ignore a lost connection: the INVITE session restores the route."""

    def on_mistake(self) -> None:
        """Report 500 after an exception in our code."""
        self._decided(_MISTAKE, of_refer=False)

    def drop(self) -> None:
        """End the subscription without a report."""
        self._is_over = True
        self._alarm.cancel()
        self._core.remove_usage(self._dialog, self)
