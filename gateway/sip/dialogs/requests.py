"""Outgoing requests in a dialog, common to all usages (RFC 3261 12.2.1)."""

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
    """Start a request in the dialog; `done` gets the final response, synchronously if sending is impossible."""
    fields = (*headers, *core.request_fields())

    def make(flow: Flow) -> Request:
        return dialog.request(method, headers=fields, body=body, content_type=content_type)

    def answered(response: Response) -> None:
        if request.flow is not None:
            dialog.sent_to((request.flow,))
        done(response)

    request = ClientRequest(core, make, answered, owner=owner, authenticator=authenticator)
    *first, last = dialog.hops
    awaited: tuple[NextFlow, ...] = ()
    if method == "BYE" and dialog.is_by_its_connection:
        # No other request would end the call. A reconnected peer may disconnect again before its response: wait twice.
        awaited = (NextFlow(core, dialog, owner),) * 2
        dialog.waiting = (*dialog.waiting, lambda: request.goes_on() if request.flow != dialog.flow else None)
    request.begin(*first, *awaited, last, otherwise=dialog.last_resort)
    return request


def locate_peer(
    core: Core, dialog: Dialog, done: Callable[[tuple[Flow, ...]], None], owner: DialogUsage | None
) -> None:
    """Pass the flows to the dialog's peer to `done`; if the first hop leads nowhere, the dialog's own flow."""

    def located(flows: tuple[Flow, ...]) -> None:
        last = dialog.last_resort
        done(flows if flows or last is None else (last,))

    core.locate(dialog.hops[0], located, owner)


class NextFlow:
    """The next connection of a dialog's peer as a hop, awaited for `flow_grace` seconds."""

    __slots__ = ("_core", "_dialog", "_owner", "_until")

    def __init__(self, core: Core, dialog: Dialog, owner: DialogUsage | None) -> None:
        self._core = core
        self._dialog = dialog
        self._owner = owner
        self._until: float | None = None

    def locate(self, failed: Flow | None, done: Callable[[tuple[Flow, ...]], None]) -> None:
        """Pass the peer's present flow, other than `failed`, to `done`; () if the peer stays away."""
        core = self._core
        if self._until is None:
            self._until = core.now() + core.config.flow_grace

        def found() -> None:
            done(self._flows(failed))

        if self._flows(failed) or core.absences.wait(self._dialog, self._until, found, self._owner) is None:
            found()

    def _flows(self, failed: Flow | None) -> tuple[Flow, ...]:
        flow = self._dialog.flow
        return () if flow is None or flow == failed or self._dialog.has_lost_flow else (flow,)
