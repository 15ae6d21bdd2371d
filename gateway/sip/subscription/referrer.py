"""A REFER of ours in a dialog, and what the peer tells of it (RFC 3515 section 2.4, RFC 7647)."""

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
"""A status, and whether it is the response to the REFER itself: any below 200 may be followed by another one."""


class Referrer:
    """Asks the peer to call somebody else, and hears how that goes until it is decided.

    `told` gets (100, True) once the peer will try, then what its NOTIFYs say; or (n, True) where it refuses with n. A
    peer that ends the subscription without a word has told 487, one that is silent for `core.config.referral_time` 408.
    """

    def __init__(
        self, core: Core, dialog: Dialog, target: Uri, told: Told, *, authenticator: Authenticator | None = None
    ) -> None:
        self._core = core
        self._dialog = dialog
        self._told = told
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
            return  # its NOTIFYs were quicker
        if response.is_success:
            self._told(_ACCEPTED, True)
        else:
            self._decided(response.status, of_refer=True)

    def _decided(self, status: int, *, of_refer: bool) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._alarm.cancel()
        self._core.remove_usage(self._dialog, self)
        self._told(status, of_refer)

    # ---- DialogUsage

    def claims(self, request: Request) -> bool:
        """A NOTIFY of this REFER; its number may stand in it (RFC 3515 section 2.4.6)."""
        event = request.event if request.method == "NOTIFY" else None
        if event is None or event.value.lower() != "refer" or self._is_over:
            return False
        number = event.param("id")
        sent = self._client.request if self._client is not None else None
        return number is None or sent is None or number == str(sent.cseq.number)

    def on_request(self, request: ServerRequest, dialog: Dialog) -> None:
        """Take a NOTIFY; one that cannot be read is answered and passed over."""
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
            self._told(status, False)

    def on_ack(self, ack: Request, dialog: Dialog) -> None:
        """No INVITE is ours."""

    def on_failed(self, transaction: Transaction, reason: Reason) -> None:
        """Our 200 to a NOTIFY was not to be sent: the peer says it again."""

    def on_flow_lost(self, flow: Flow) -> None:
        """The session looks for the peer."""

    def on_mistake(self) -> None:
        """Code of ours failed on its behalf."""
        self._decided(_MISTAKE, of_refer=False)

    def drop(self) -> None:
        """End it without a word."""
        self._is_over = True
        self._alarm.cancel()
        self._core.remove_usage(self._dialog, self)
