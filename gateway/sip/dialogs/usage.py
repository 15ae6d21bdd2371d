"""What shares a dialog: an INVITE session, a subscription, the outcome of a REFER (RFC 5057)."""

from __future__ import annotations

from typing import Protocol

from gateway.sip.dialogs.dialog import Dialog
from gateway.sip.flow import Flow
from gateway.sip.message.message import Request
from gateway.sip.requests.server import ServerRequest


class DialogUsage(Protocol):
    """One usage of one or more dialogs; the dialog table gives it what is its own.

    A dialog lives until its last usage has left the table.
    """

    def claims(self, request: Request) -> bool:
        """Whether this request in one of its dialogs is for this usage; asked of each in the order they came."""

    def on_request(self, request: ServerRequest, dialog: Dialog) -> None:
        """A claimed request whose CSeq fits, from where the dialog lives; raises DialogError for what answers it."""

    def on_ack(self, ack: Request, dialog: Dialog) -> None:
        """An ACK of a 2xx in the dialog."""

    def on_flow_lost(self, flow: Flow) -> None:
        """The connection `flow` is gone."""

    def on_mistake(self) -> None:
        """Code of ours failed on its behalf: end it, with 500 or BYE. Raising or staying alive ends it without."""

    def drop(self) -> None:
        """End it without a word to the peer; what is left when even `on_mistake` failed."""
