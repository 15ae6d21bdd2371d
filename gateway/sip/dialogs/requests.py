"""Requests of ours in a dialog, whatever usage sends them (RFC 3261 12.2.1)."""

from __future__ import annotations

from collections.abc import Callable

from gateway.sip.auth.account import Authenticator
from gateway.sip.dialogs.dialog import Dialog
from gateway.sip.dialogs.ports import Core
from gateway.sip.dialogs.usage import DialogUsage
from gateway.sip.flow import Flow
from gateway.sip.message import build
from gateway.sip.message.message import Request, Response
from gateway.sip.requests.client import ClientRequest


def send_in_dialog(
    core: Core,
    dialog: Dialog,
    method: str,
    done: Callable[[Response], None],
    *,
    owner: DialogUsage | None,
    authenticator: Authenticator | None = None,
    headers: build.Fields = (),
    body: bytes = b"",
    content_type: str | None = None,
) -> ClientRequest:
    """Begin a request in the dialog; `done` gets its final response, at once where it cannot be sent."""
    fields = (*headers, *core.request_fields())

    def make(flow: Flow) -> Request:
        return dialog.request(method, headers=fields, body=body, content_type=content_type)

    def answered(response: Response) -> None:
        if request.flow is not None:
            dialog.sent_to((request.flow,))
        done(response)

    request = ClientRequest(core, make, answered, owner=owner, authenticator=authenticator)
    request.begin(*dialog.hops)
    return request
