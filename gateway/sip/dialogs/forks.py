"""Dialogs of one outgoing INVITE forked by proxies (RFC 3261 13.2.2.4)."""

from __future__ import annotations

from gateway.sip.dialogs.dialog import Dialog, DialogState
from gateway.sip.errors import DialogError
from gateway.sip.flow import Flow
from gateway.sip.message.message import Request, Response


class ForkedDialogs:
    """Dialogs of one outgoing INVITE forked by proxies (RFC 3261 13.2.2.4).

    Each To tag is a dialog. The first 2xx wins; a 2xx of another branch gets ACK and BYE. `limit` bounds early
    branches, and answering branches without an early dialog separately.
    """

    __slots__ = ("_by_tag", "_limit", "_request", "confirmed")

    def __init__(self, request: Request, limit: int = 64) -> None:
        self._request = request
        self._by_tag: dict[str, Dialog] = {}
        self._limit = limit
        self.confirmed: Dialog | None = None
        """Dialog of the first 2xx."""

    @property
    def early(self) -> tuple[Dialog, ...]:
        """Return the unconfirmed dialogs, oldest first."""
        return tuple(dialog for dialog in self._by_tag.values() if dialog.state is DialogState.EARLY)

    def receive(self, response: Response, flow: Flow | None = None) -> Dialog | None:
        """Return the dialog for a 101-299, created or confirmed as needed; None for a response that creates none.

        `flow`: source of the response. Raise DialogError beyond the limit, SipSyntaxError for malformed headers.
        """
        if not 100 < response.status < 300:
            return None
        tag = response.to_tag
        if not response.is_success and tag is None:
            return None
        dialog = self._by_tag.get(tag or "")
        if dialog is None:
            if len(self._by_tag) >= (2 if response.is_success else 1) * self._limit:
                raise DialogError("too many branches")
            dialog = Dialog.of_uac(self._request, response, flow)
            self._by_tag[tag or ""] = dialog
        elif response.is_success:
            if dialog.state is DialogState.TERMINATED:
                # Terminated locally while its 2xx was in flight: the call exists until a BYE (13.2.2.4, 15).
                number = dialog.local_cseq
                dialog = self._by_tag[tag or ""] = Dialog.of_uac(self._request, response, flow)
                dialog.local_cseq = number
            elif dialog.state is DialogState.EARLY:
                dialog.confirm(response)
        elif dialog.is_by_flow:
            dialog.take_way(response)
        else:
            dialog.refresh_target(response)
        if response.is_success and self.confirmed is None:
            self.confirmed = dialog
        return dialog

    def reopen(self) -> None:
        """Let the next 2xx win, after an unusable answer in the first."""
        self.confirmed = None

    def give_up(self) -> tuple[Dialog, ...]:
        """Terminate and return the early dialogs after the INVITE failed or another branch won (RFC 3261 12.3,
        13.2.2.4)."""
        ended = self.early
        for dialog in ended:
            dialog.terminate()
        return ended
