"""Every header that somebody behind the door will read, read once at the door (RFC 3261 8.2, 21.4.1).

A header that has passed here cannot raise later: the typed value is kept with the message. What a request needs is in
one table; a malformed value of that refuses it with a 400 that names the header. Every other header that cannot be read
counts as absent, in requests, ACK and responses alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gateway.sip.errors import SipSyntaxError
from gateway.sip.message.build import Refusal, detailed_phrase
from gateway.sip.message.message import Lazy, Message, Request, Response
from gateway.sip.requests.bodies import description_of
from gateway.sip.requests.checks import Capabilities, inspect

Keys = frozenset[str]

_READERS: Mapping[str, Lazy[Any]] = {one.key: one for one in vars(Message).values() if isinstance(one, Lazy)}
"""The reader of each header that has a typed value, by the header's key."""
_OF_RESPONSE: Mapping[str, Lazy[Any]] = {**_READERS, Response.contacts.key: Response.contacts}
"""The same of a response, where each element of a Contact list stands alone."""


def _keys(*readers: Lazy[Any]) -> Keys:
    return frozenset(reader.key for reader in readers)


_TRANSACTION = _keys(Message.via, Message.from_, Message.to, Message.call_id, Message.cseq)
"""Read by the parser; no message is without them."""
_ANY = _TRANSACTION | _keys(Message.require)
"""Needed of every request: Require says what its sender would rather have refused than passed over."""
_BODY = _keys(Message.content_type)
"""Needed where there is a body. A Content-Encoding that cannot be read counts as absent: the body shows it."""
_DIALOG = _keys(Message.contacts, Message.record_route)
"""Needed where a request makes a dialog. In one, a value that cannot be read leaves target and route as they are."""
_OF_METHOD: Mapping[str, Keys] = {
    "PRACK": _keys(Message.rack),
    "REGISTER": _keys(Message.contacts, Message.path),
    "REFER": _keys(Message.refer_to),
    "SUBSCRIBE": _keys(Message.event),
    "NOTIFY": _keys(Message.event, Message.subscription_state),
    "PUBLISH": _keys(Message.event, Message.sip_if_match),
}
_MAKES_DIALOG: Mapping[str, Keys] = {
    "INVITE": _DIALOG | _keys(Message.replaces),
    "REFER": _DIALOG,
    "SUBSCRIBE": _DIALOG,
    "NOTIFY": _DIALOG,
}


def _ignored(name: str) -> None:
    """A malformed header that counts as absent is no matter."""


def inspect_request(
    request: Request,
    capabilities: Capabilities,
    *,
    in_dialog: bool = False,
    malformed: Callable[[str], None] = _ignored,
) -> Refusal | None:
    """Return the refusal of a request that we cannot serve or read, None for one that may go on; never raises.

    In the order of RFC 3261 8.2: what no header need be read for comes first. Not for ACK and CANCEL. `malformed` gets
    the name of each header that counts as absent.
    """
    needs = _ANY | _OF_METHOD.get(request.method, frozenset())
    if request.body:
        needs |= _BODY
    if not in_dialog:
        needs |= _MAKES_DIALOG.get(request.method, frozenset())
    unreadable = _read(request, needs, malformed)
    try:
        refusal = inspect(request, capabilities)
        if refusal is not None:
            return refusal
        if unreadable is not None:
            raise unreadable
        description_of(request)
    except SipSyntaxError as error:
        return Refusal(error.status or 400, detailed_phrase(error))
    # We are where the request was going, so 0 is enough for us; but a call goes on from here, and this is what
    # ends a loop of gateways.
    if request.method == "INVITE" and request.max_forwards == 0 and request.to_tag is None:
        return Refusal(483)
    return None


def inspect_credentials(request: Request) -> Refusal | None:
    """Have credentials that cannot be read count as absent; return what to answer where they are needed.

    Proxy-Authorization is for proxies, and we are none.
    """
    bad = set_aside(request, (Message.authorization, Message.proxy_authorization))
    return Refusal(400, "Malformed Authorization") if Message.authorization.name in bad else None


def inspect_ack(ack: Request) -> tuple[str, ...]:
    """Read what an ACK's receiver will read; gives the names of headers that count as absent."""
    return _absent(ack)


def inspect_response(response: Response) -> tuple[str, ...]:
    """Read what a response's receiver will read; gives the names of headers that count as absent.

    A Record-Route is one of them: a peer that has answered is to be sent an ACK at least (`Dialog.take_way`).
    """
    return _absent(response)


def _absent(message: Message) -> tuple[str, ...]:
    """Have every header of a message that nobody can refuse, and that cannot be read, count as absent."""
    absent: list[str] = []
    _read(message, _TRANSACTION, absent.append)
    return tuple(absent)


def _read(message: Message, needs: Keys, malformed: Callable[[str], None]) -> SipSyntaxError | None:
    """Read every header of `message`; return what is wrong with the first of `needs` that cannot be read."""
    failure, readers = None, _OF_RESPONSE if isinstance(message, Response) else _READERS
    for key in message.headers.index:
        reader = readers.get(key)
        if reader is None:
            continue
        try:
            reader.value_of(message)
        except SipSyntaxError as error:
            if key in needs:
                failure = failure or error
            else:
                reader.count_as_absent(message)
                malformed(reader.name)
    return failure


def set_aside(message: Message, readers: tuple[Lazy[Any], ...]) -> tuple[str, ...]:
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
