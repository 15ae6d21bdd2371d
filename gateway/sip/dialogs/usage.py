"""Usages of a dialog: an INVITE session, a subscription, the outcome of a REFER (RFC 5057)."""

from __future__ import annotations

from typing import Protocol

from gateway.sip.dialogs.dialog import Dialog
from gateway.sip.flow import Flow
from gateway.sip.message.message import Request
from gateway.sip.requests.server import ServerRequest


class DialogUsage(Protocol):
    """Usage of one or more dialogs.

    A dialog lives until its last usage leaves the table.
    """

    def claims(self, request: Request) -> bool:
        """Return True if a request in the dialog is for this usage. The table asks usages in the order of their
        addition."""

    def on_request(self, request: ServerRequest, dialog: Dialog) -> None:
        """Process a claimed request with a valid CSeq from the peer; raise DialogError to reject the request."""

    def on_ack(self, ack: Request, dialog: Dialog) -> None:
        """Process the ACK of a 2xx."""

    def on_flow_lost(self, flow: Flow) -> None:
        """Process the loss of the connection `flow`."""

    def on_mistake(self) -> None:
        """End the usage with 500 or BYE after an exception in our code; the core drops a usage that stays."""

    def drop(self) -> None:
        """End the usage without a message to the peer; the fallback if `on_mistake` failed."""
