"""The ACK of a 2xx to an INVITE of ours, sent again for each repetition of that 2xx (RFC 3261 13.2.2.4)."""

from __future__ import annotations

from gateway.sip.dialogs.dialog import Dialog
from gateway.sip.dialogs.ports import Core
from gateway.sip.dialogs.requests import locate_peer
from gateway.sip.dialogs.usage import DialogUsage
from gateway.sip.flow import Flow
from gateway.sip.message.message import Request
from gateway.sip.requests.bodies import SDP
from gateway.sip.requests.client import ClientRequest
from gateway.sip.transactions.via import same_way


class Acknowledgement:
    """Acknowledges the INVITE that `client` sent, and no other one: number, credentials and body are its own."""

    __slots__ = ("_body", "_came_by", "_client", "_core", "_data", "_dialog", "_flow", "cseq")

    def __init__(self, core: Core, dialog: Dialog, client: ClientRequest, cseq: int) -> None:
        self._core = core
        self._dialog = dialog
        self._client = client
        self.cseq = cseq
        """Number of the INVITE."""
        self._body: bytes | None = None
        self._data = b""
        self._flow: Flow | None = None
        self._came_by = client.source
        """The connection, or the address, by which the 2xx came first."""

    @property
    def is_sent(self) -> bool:
        """Whether `send` was called."""
        return self._body is not None

    def send(self, owner: DialogUsage, body: bytes = b"") -> None:
        """Send it, with the answer to the offer of the 2xx where that made one."""
        self._body = body

        def located(flows: tuple[Flow, ...]) -> None:
            if flows:
                self._send_by(flows[0])

        locate_peer(self._core, self._dialog, located, owner)

    def _send_by(self, flow: Flow) -> None:
        self._dialog.sent_to((flow,))
        self._flow = flow
        self._data = self._core.send_ack(self._built(flow, self._body or b""), flow)
        self._core.wake()

    def flow_failed(self, flow: Flow) -> None:
        """Nothing can be sent by `flow`: where the ACK went by that, send it where the INVITE went, as all to come."""
        last = self._dialog.last_resort
        if self._flow is None or last is None or not same_way(self._flow, flow) or same_way(last, flow):
            return
        self._dialog.go_by_flow()
        self._send_by(last)

    def again(self, source: Flow | None = None) -> None:
        """Send the ACK once more, if it was sent, for a 2xx repeated from `source`, by default the last response's.

        Another connection than before means that the first one is gone for the peer.
        """
        source, before = source or self._client.source, self._came_by
        went = self._flow
        if not self.is_sent:
            return
        if source.reliable and before != source and (went is None or same_way(went, before)):
            self._dialog.heard_from(source)
            self._came_by = source
            self._send_by(source)
        elif went is not None:
            self._core.send(self._data, went)

    def _built(self, flow: Flow, body: bytes) -> Request:
        return self._dialog.ack(
            self.cseq,
            headers=self._client.credentials(flow),
            body=body,
            content_type=SDP if body else None,
        )
