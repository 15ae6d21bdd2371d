"""Via stamping by a server and routing of responses (RFC 3261 18.2, RFC 3581)."""

from __future__ import annotations

import re

from gateway.sip.errors import SipSyntaxError
from gateway.sip.flow import DEFAULT_PORTS, Flow
from gateway.sip.locate import response_targets
from gateway.sip.message.addresses import Via
from gateway.sip.message.fields import Headers
from gateway.sip.message.message import Request
from gateway.sip.message.parser import parse_message
from gateway.sip.transactions.invite_server import InviteServerTransaction
from gateway.sip.transactions.machine import State, Transaction

_DIALLED = ("tcp", "tls")
"""Transports on which a peer accepts connections; a WebSocket client accepts none."""
_LET_IN = (State.PROCEEDING, State.ACCEPTED)
_TRYING = b"SIP/2.0 100"

COOKIE = "z9hG4bK"
"""Prefix of every globally unique branch (RFC 3261 8.1.1.7)."""


_QUOTED_REQUEST = re.compile(rb"([A-Z]{1,32}) [^\r\n]++\r\nVia:[^\r\n]*?;branch=(z9hG4bK[A-Za-z0-9.]++)\r\n")
"""Our requests have one Via, as their first header, with the branch as last parameter."""


def stamp(headers: Headers, source: Flow) -> Headers:
    """Return the request's `headers` with `received` and `rport` of its source in the top Via.

    `received` is always written if different from sent-by, or with a requested rport (RFC 3581 section 4). Raise
    SipSyntaxError without a readable Via.
    """
    value = headers.get("Via")
    if value is None:
        raise SipSyntaxError("Via is missing")
    via, end = Via.read(value, 0)
    return _replaced(headers, f"{_stamped(via, source)}{value[end:]}")


def stamped(request: Request, source: Flow) -> Request:
    """Return `request` with its top Via stamped; values parsed from other headers are kept."""
    via = request.top_via
    new = _stamped(via, source)
    if new is via:
        return request
    value = request.headers.get("Via") or ""
    rest = value[Via.read(value, 0)[1] :] if "," in value else ""
    return request.with_top_via(_replaced(request.headers, f"{new}{rest}"), new)


def _replaced(headers: Headers, value: str) -> Headers:
    """Return `headers` with another first Via field."""
    items = list(headers.items)
    position = next(position for position, item in enumerate(items) if item[0] == "via")
    items[position] = ("via", items[position][1], value)
    return Headers.from_items(items)


def _stamped(via: Via, source: Flow) -> Via:
    if via.wants_rport:
        return via.with_param("rport", str(source.port)).with_param("received", source.host)
    if via.host.strip("[]") != source.host:
        return via.with_param("received", source.host)
    return via


def response_flow(via: Via, source: Flow) -> Flow:
    """Return the destination of responses to a request with this top Via.

    For a stream its connection. For UDP the source address, with the source port if rport was requested, else the port
    of sent-by. `maddr` is ignored, as a stranger could aim our responses.
    """
    if source.reliable or via.wants_rport:
        return source
    port = via.port or DEFAULT_PORTS["udp"]
    return source if port == source.port else Flow(source.transport, source.host, port, source.local)


def server_key(request: Request, method: str | None = None) -> tuple[object, ...]:
    """Return the key of a server transaction (RFC 3261 17.2.3); an ACK has the key of its INVITE.

    Without the cookie in the branch the rules of RFC 2543 apply, except for the To tag: Call-ID, From tag, CSeq number
    and Via already distinguish the requests of one client.
    """
    method = method or ("INVITE" if request.method == "ACK" else request.method)
    via = request.top_via
    branch = request.branch
    if branch is not None and len(branch) > len(COOKIE) and branch.startswith(COOKIE):
        return branch, via.host.lower(), via.port, method
    sent_by = (via.host.lower(), via.port, branch)
    return "2543", request.call_id, request.from_tag, request.cseq.number, sent_by, str(request.uri), method


def own_via(flow: Flow, sent_by: tuple[str, int | None], branch: str, alias: bool) -> Via:
    """Return the Via of our request on `flow`, with responses to `sent_by` (RFC 3261 18.1.1)."""
    host, port = sent_by
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    reused = (("alias", None),) if flow.transport == "tls" and alias else ()
    params: tuple[tuple[str, str | None], ...] = (("rport", None), *reused, ("branch", branch))
    return Via(flow.transport.upper(), host, port, params)


def client_key(branch: str, method: str) -> tuple[str, str]:
    """Return the key of a client transaction (RFC 3261 17.1.3)."""
    return branch, method


def quoted_key(data: bytes) -> tuple[str, str] | None:
    """Return the client key from the quoted beginning of our request, None if too short."""
    match = _QUOTED_REQUEST.match(data)
    return client_key(match[2].decode(), match[1].decode()) if match is not None else None


def call_id_of(data: bytes) -> str | None:
    """Return the Call-ID of a message in wire form, None for other bytes (a keep-alive)."""
    try:
        return parse_message(data).call_id
    except SipSyntaxError:
        return None


def same_way(used: Flow, failed: Flow) -> bool:
    """Return True if a message to `used` was sent over `failed`; a flow without `local` uses any connection to its far
    end.

    Over TLS two domains at one address have separate connections.
    """
    if used.local and failed.local:
        return used == failed
    if used.name and failed.name and used.name != failed.name:
        return False
    return (used.transport, used.host, used.port) == (failed.transport, failed.host, failed.port)


def is_same_sender(asked_by: Flow, answer_to: Flow, source: Flow) -> bool:
    """Return True if a CANCEL comes from its INVITE's sender: a guessed branch must end no call.

    TCP and TLS compare hosts, as a server may reopen connections; WebSocket and UDP compare our local socket too.
    """
    if asked_by.host != answer_to.host:
        return False
    return asked_by.local == source.local or (asked_by.transport == source.transport and source.transport in _DIALLED)


def reconnected(transaction: Transaction) -> bool:
    """Move the responses to an INVITE from its closed connection to a new one (RFC 3261 18.2.2).

    The new connection goes to the sent-by port of the request's source, and only for responses beyond 100, given to
    admitted requests; the last response is sent again. Return False for a rejected INVITE, a WebSocket, or a second
    failure.
    """
    flow, last = transaction.flow, transaction.last
    invited = isinstance(transaction, InviteServerTransaction) and transaction.state in _LET_IN
    if not invited or flow.transport not in _DIALLED or not flow.local:
        return False
    if last is not None and not last.startswith(_TRYING):
        seen = response_targets(transaction.request.top_via)[0]
        transaction.flow = Flow(flow.transport, seen.host, seen.port or DEFAULT_PORTS[flow.transport])
        if transaction.state is State.PROCEEDING:
            transaction.resend()  # the session itself repeats a 2xx until its ACK
    return True
