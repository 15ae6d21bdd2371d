"""ACK of a 2xx to our INVITE, repeated for each retransmitted 2xx (RFC 3261 13.2.2.4)."""

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
    """ACK for the INVITE sent by `client`, with its own number, credentials and body."""

    __slots__ = ("_body", "_came_by", "_client", "_core", "_data", "_dialog", "_flow", "cseq")

    def __init__(self, core: Core, dialog: Dialog, client: ClientRequest, cseq: int) -> None:
        self._core = core
        self._dialog = dialog
        self._client = client
        self.cseq = cseq
        """CSeq number of the INVITE."""
        self._body: bytes | None = None
        self._data = b""
        self._flow: Flow | None = None
        self._came_by = client.source
        """Source of the first 2xx."""

    @property
    def is_sent(self) -> bool:
        """Return True after `send`."""
        return self._body is not None

    def send(self, owner: DialogUsage, body: bytes = b"") -> None:
        """Send the ACK, with the answer if the 2xx carried an offer."""
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
        """Resend an ACK lost on the failed `flow` to the INVITE's destination, and route later requests there too."""
        last = self._dialog.last_resort
        if self._flow is None or last is None or not same_way(self._flow, flow) or same_way(last, flow):
            return
        self._dialog.go_by_flow()
        self._send_by(last)

    def again(self, source: Flow | None = None) -> None:
        """Resend a sent ACK for a 2xx retransmitted from `source`, by default the source of the last response.

        A 2xx on a new connection means that the peer has lost the previous connection.
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
