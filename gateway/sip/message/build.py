"""Construction of requests, responses, ACK and CANCEL (RFC 3261 8.1.1, 8.2.6, 9.1, 17.1.1.3)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.sip.errors import SipBuildError, SipSyntaxError
from gateway.sip.message.addresses import CSeq, NameAddr, Via
from gateway.sip.message.fields import Headers, Item
from gateway.sip.message.grammar import require_clean, require_token
from gateway.sip.message.message import BrokenMessageError, Fragment, Request, Response
from gateway.sip.message.uri import Uri

PHRASES = {
    100: "Trying",
    180: "Ringing",
    181: "Call Is Being Forwarded",
    182: "Queued",
    183: "Session Progress",
    199: "Early Dialog Terminated",
    200: "OK",
    202: "Accepted",
    204: "No Notification",
    300: "Multiple Choices",
    301: "Moved Permanently",
    302: "Moved Temporarily",
    305: "Use Proxy",
    380: "Alternative Service",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    410: "Gone",
    412: "Conditional Request Failed",
    413: "Request Entity Too Large",
    414: "Request-URI Too Long",
    415: "Unsupported Media Type",
    416: "Unsupported URI Scheme",
    417: "Unknown Resource-Priority",
    420: "Bad Extension",
    421: "Extension Required",
    422: "Session Interval Too Small",
    423: "Interval Too Brief",
    424: "Bad Location Information",
    428: "Use Identity Header",
    429: "Provide Referrer Identity",
    430: "Flow Failed",
    433: "Anonymity Disallowed",
    439: "First Hop Lacks Outbound Support",
    469: "Bad Info Package",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    483: "Too Many Hops",
    484: "Address Incomplete",
    485: "Ambiguous",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    489: "Bad Event",
    491: "Request Pending",
    493: "Undecipherable",
    494: "Security Agreement Required",
    500: "Server Internal Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Server Time-out",
    505: "Version Not Supported",
    513: "Message Too Large",
    580: "Precondition Failure",
    600: "Busy Everywhere",
    603: "Decline",
    604: "Does Not Exist Anywhere",
    606: "Not Acceptable",
    607: "Unwanted",
    608: "Rejected",
}
"""Default reason phrases of the registered status codes."""

_DIALOG_METHODS = frozenset(("INVITE", "SUBSCRIBE", "REFER", "NOTIFY"))
_COPIED = frozenset(("via", "from", "to", "call-id", "cseq"))
MAX_FORWARDS = 70

Fields = Iterable[tuple[str, object]]


def request(
    method: str,
    uri: Uri,
    *,
    from_: NameAddr,
    to: NameAddr,
    call_id: str,
    cseq: int,
    route: Iterable[NameAddr] = (),
    contact: NameAddr | None = None,
    headers: Fields = (),
    body: bytes = b"",
    content_type: str | None = None,
    max_forwards: int = MAX_FORWARDS,
) -> Request:
    """Return a request without Via, added by the transaction with `with_via`; raise SipBuildError."""
    if body and content_type is None:
        raise SipBuildError("a body needs a Content-Type")
    if not call_id or " " in call_id or "\t" in call_id:
        raise SipBuildError("Call-ID is malformed")
    fields: list[tuple[str, object]] = [("Max-Forwards", max_forwards)]
    fields += [("Route", hop) for hop in route]
    fields += [("From", from_), ("To", to), ("Call-ID", call_id), ("CSeq", CSeq(cseq, method))]
    if contact is not None:
        fields.append(("Contact", contact))
    fields += headers
    if body and content_type is not None:
        fields.append(("Content-Type", content_type))
    return Request(method, uri.without_headers() if uri.is_sip else uri, Headers(fields), body)


def with_via(message: Request, via: Via) -> Request:
    """Return `message` with `via` on top (RFC 3261 8.1.1.7, 18.1.1)."""
    return message.with_headers(message.headers.prepend("Via", via))


def response(
    to_request: Request | Fragment,
    status: int,
    phrase: str | None = None,
    *,
    to_tag: str | None = None,
    contact: NameAddr | None = None,
    headers: Fields = (),
    body: bytes = b"",
    content_type: str | None = None,
) -> Response:
    """Return a response to a request, or to the readable part of one.

    Copies Via, From, To, Call-ID and CSeq; adds `to_tag` to an untagged To, except in a 100 (RFC 3261 8.2.6.2).
    Dialog-creating responses copy Record-Route (12.1.1), a 100 copies Timestamp. Raise SipBuildError.
    """
    if body and content_type is None:
        raise SipBuildError("a body needs a Content-Type")
    items = [item for item in to_request.headers.items if item[0] in _COPIED]
    if to_tag is not None and status != 100:
        items = [_tagged(item, to_tag) if item[0] == "to" else item for item in items]
    if isinstance(to_request, Request):
        if status == 100:
            items += to_request.headers.only("Timestamp").items
        elif 100 < status < 300 and to_request.method in _DIALOG_METHODS:
            items += to_request.headers.only("Record-Route").items
    fields: list[tuple[str, object]] = [("Contact", contact)] if contact is not None else []
    fields += headers
    if body and content_type is not None:
        fields.append(("Content-Type", content_type))
    made = Headers.from_items(items)
    return Response(
        status,
        PHRASES.get(status, "") if phrase is None else phrase,
        Headers.from_items(made.items + Headers(fields).items) if fields else made,
        body,
    )


def _tagged(item: Item, tag: str) -> Item:
    key, name, value = item
    require_token(tag, "tag")
    try:
        if NameAddr.parse(value).tag is not None:
            return item
    except SipSyntaxError:
        return item
    return key, name, f"{value};tag={tag}"


def error_response(error: SipSyntaxError, to_tag: str | None = None) -> Response | None:
    """Return the answer to an unreadable message; None to stay silent."""
    partial = error.partial if isinstance(error, BrokenMessageError) else None
    if error.status is None or partial is None or not partial.is_answerable:
        return None
    return response(partial, error.status, detailed_phrase(error), to_tag=to_tag)


def detailed_phrase(error: SipSyntaxError) -> str:
    """Return a reason phrase with the fault and its place (RFC 3261 21.4.1)."""
    status = error.status or 400
    phrase = PHRASES.get(status, "Bad Request")
    return require_clean(f"{phrase} ({error})", "reason phrase") if status == 400 else phrase


def ack_for_failure(invite: Request, failure: Response) -> Request:
    """Return the ACK of a 300-699, part of the INVITE's transaction (RFC 3261 17.1.1.3)."""
    headers = invite.headers
    top_via = invite.top_via
    fields = Headers([("Via", top_via), ("Max-Forwards", MAX_FORWARDS)]).items
    items = (
        *fields,
        *headers.only("Route", "From").items,
        *failure.headers.only("To").items,
        *headers.only("Call-ID").items,
    )
    return Request("ACK", invite.uri, Headers.from_items(items).add("CSeq", CSeq(invite.cseq.number, "ACK")))


def cancel(invite: Request, headers: Fields = ()) -> Request:
    """Return the CANCEL of a pending INVITE with equal Request-URI, top Via, Route, tags and number (RFC 3261 9.1)."""
    if invite.method != "INVITE":
        raise SipBuildError("only an INVITE can be cancelled")
    items = (
        *Headers([("Via", invite.top_via), ("Max-Forwards", MAX_FORWARDS)]).items,
        *invite.headers.only("Route", "From", "To", "Call-ID").items,
        *Headers([("CSeq", CSeq(invite.cseq.number, "CANCEL")), *headers]).items,
    )
    return Request("CANCEL", invite.uri, Headers.from_items(items))


@dataclass(frozen=True, slots=True)
class Refusal:
    """Final response, decided but not built yet."""

    status: int
    reason: str = ""
    """Reason phrase; "" means the default."""
    headers: tuple[tuple[str, object], ...] = ()

    def response(self, to_request: Request | Fragment, to_tag: str | None = None) -> Response:
        """Return the response to a request."""
        return response(to_request, self.status, self.reason or None, to_tag=to_tag, headers=self.headers)
