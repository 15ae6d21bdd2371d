"""Every header that somebody behind the door will read, read once at the door (RFC 3261 8.2, 21.4.1).

What has passed here cannot raise later: the typed value is kept with the message. A malformed value refuses a
request with a 400 that names the header; in a message that nobody can refuse (a response, an ACK) and in headers
that no decision hangs on it counts as absent. A response whose way or dialog cannot be told is not to be used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.sip.errors import SipSyntaxError
from gateway.sip.message.build import Refusal, detailed_phrase
from gateway.sip.message.message import Lazy, Message, Request, Response
from gateway.sip.requests.bodies import description_of
from gateway.sip.requests.checks import Capabilities, inspect

Readers = tuple[Lazy[Any], ...]

_CREDENTIALS: Readers = (Message.authorization, Message.proxy_authorization)
_ANY: Readers = (
    *_CREDENTIALS,
    Message.max_forwards,
    Message.route,
    Message.require,
    Message.content_type,
    Message.content_disposition,
    Message.content_encoding,
)
_DIALOG: Readers = (Message.contacts, Message.record_route, Message.supported, Message.allow)
_TIMER: Readers = (Message.session_expires, Message.min_se)
_REQUEST: Mapping[str, Readers] = {
    "INVITE": (*_ANY, *_DIALOG, *_TIMER, Message.accept, Message.replaces, Message.expires),
    "UPDATE": (*_ANY, *_DIALOG, *_TIMER, Message.accept),
    "PRACK": (*_ANY, Message.rack),
    "REGISTER": (*_ANY, Message.contacts, Message.expires, Message.path, Message.supported),
    "REFER": (*_ANY, *_DIALOG, Message.refer_to),
    "SUBSCRIBE": (
        *_ANY,
        *_DIALOG,
        Message.event,
        Message.expires,
        Message.accept,
        Message.suppress_if_match,
    ),
    "NOTIFY": (*_ANY, *_DIALOG, Message.event, Message.subscription_state),
    "MESSAGE": (*_ANY, Message.expires),
    "PUBLISH": (*_ANY, Message.event, Message.expires, Message.sip_if_match),
}
"""What a malformed value of refuses a request; other methods have what `_ANY` lists."""
_IGNORED: Readers = (
    Message.reason,
    Message.asserted_identity,
    Message.preferred_identity,
    Message.history_info,
    Message.diversion,
    Message.referred_by,
    Message.reply_to,
    Message.allow_events,
    Message.recv_info,
)
"""Nothing is decided by these, so a malformed one is no reason to refuse (RFC 3261 8.2)."""
_ACK: Readers = (*_CREDENTIALS, Message.content_type, Message.content_disposition, Message.content_encoding)
_RESPONSE_NEEDS: Readers = (Message.to, Message.record_route)
_RESPONSE: Readers = (
    Message.contacts,
    Message.require,
    Message.supported,
    Message.allow,
    Message.session_expires,
    Message.min_se,
    Message.rseq,
    Message.expires,
    Message.min_expires,
    Message.sip_etag,
    Message.retry_after,
    Message.www_authenticate,
    Message.proxy_authenticate,
    Message.unsupported,
    Message.service_route,
    Message.path,
    Message.content_type,
    Message.content_disposition,
    Message.content_encoding,
    *_IGNORED,
)
_OF_CONTACT = frozenset(("REGISTER",))
"""Methods whose Contact parameters (q, reg-id) are read as well."""


def inspect_request(request: Request, capabilities: Capabilities) -> Refusal | None:
    """The refusal of a request that we cannot serve or read, None for one that may go on; never raises.

    In the order of RFC 3261 8.2: what no header need be read for comes first. Not for ACK and CANCEL.
    """
    try:
        refusal = inspect(request, capabilities)
        if refusal is not None:
            return refusal
        _read(request, _REQUEST.get(request.method, _ANY))
        if request.method in _OF_CONTACT:
            for contact in request.contacts:
                _ = contact.q, contact.reg_id
        description_of(request)
    except SipSyntaxError as error:
        return Refusal(error.status or 400, detailed_phrase(error))
    set_aside(request, _IGNORED)
    # We are where the request was going, so 0 is enough for us; but a call goes on from here, and this is what
    # ends a loop of gateways.
    if request.method == "INVITE" and request.max_forwards == 0 and request.to_tag is None:
        return Refusal(483)
    return None


def inspect_credentials(request: Request) -> Refusal | None:
    """The refusal of credentials that cannot be read, before anybody is asked whose they are; never raises."""
    try:
        _read(request, _CREDENTIALS)
    except SipSyntaxError as error:
        return Refusal(400, f"Malformed {error.header}")
    return None


def inspect_ack(ack: Request) -> tuple[str, ...]:
    """Read what an ACK's receiver will read; gives the names of headers that count as absent."""
    return set_aside(ack, _ACK)


def inspect_response(response: Response) -> tuple[str, ...]:
    """Read what a response's receiver will read; gives the names of headers that count as absent.

    Raises SipSyntaxError for a To or Record-Route that cannot be read: the response is not to be used.
    """
    _read(response, _RESPONSE_NEEDS)
    return set_aside(response, _RESPONSE)


def _read(message: Message, readers: Readers) -> None:
    there = message.headers.index
    for reader in readers:
        if reader.key in there:
            reader.value_of(message)


def set_aside(message: Message, readers: Readers) -> tuple[str, ...]:
    """Have every malformed header of `readers` count as absent from now on; gives their names."""
    there = message.headers.index
    bad: list[str] = []
    for reader in readers:
        if reader.key in there:
            try:
                reader.value_of(message)
            except SipSyntaxError:
                reader.count_as_absent(message)
                bad.append(reader.name)
    return tuple(bad)
