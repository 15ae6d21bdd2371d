"""Validation of all typed headers at reception (RFC 3261 8.2, 21.4.1).

A header that passes here cannot raise later, as the message keeps the typed value. A table lists the headers needed by
each request: a malformed one is answered by a 400 with its name. Other malformed headers count as absent, in requests,
ACK and responses alike.
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
"""Reader of each typed header, by header key."""
_OF_RESPONSE: Mapping[str, Lazy[Any]] = {**_READERS, Response.contacts.key: Response.contacts}
"""Readers for responses, with each element of a Contact list parsed separately."""


def _keys(*readers: Lazy[Any]) -> Keys:
    return frozenset(reader.key for reader in readers)


_TRANSACTION = _keys(Message.via, Message.from_, Message.to, Message.call_id, Message.cseq)
"""Headers checked by the parser; present in every message."""
_ANY = _TRANSACTION | _keys(Message.require)
"""Needed in every request: Require lists extensions that must not be ignored."""
_BODY = _keys(Message.content_type)
"""Needed with a body. A malformed Content-Encoding counts as absent: the body itself reveals its coding."""
_DIALOG = _keys(Message.contacts, Message.record_route)
"""Needed in a dialog-creating request. Within a dialog a malformed value leaves target and route unchanged."""
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
    """Ignore a malformed header that counts as absent."""


def inspect_request(
    request: Request,
    capabilities: Capabilities,
    *,
    in_dialog: bool = False,
    malformed: Callable[[str], None] = _ignored,
) -> Refusal | None:
    """Return the refusal of an unsupported or malformed request, None for an acceptable one; never raise.

    Checks in the order of RFC 3261 8.2: first those that need no typed header. Not for ACK and CANCEL. `malformed` gets
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
    # 0 suffices for a request that ends here; but the gateway forwards the call, and the limit ends a loop of gateways.
    if request.method == "INVITE" and request.max_forwards == 0 and request.to_tag is None:
        return Refusal(483)
    return None


def inspect_credentials(request: Request) -> Refusal | None:
    """Make malformed credentials count as absent; return the refusal for a request that needs credentials.

    Proxy-Authorization is for proxies, which the gateway is not.
    """
    bad = set_aside(request, (Message.authorization, Message.proxy_authorization))
    return Refusal(400, "Malformed Authorization") if Message.authorization.name in bad else None


def inspect_ack(ack: Request) -> tuple[str, ...]:
    """Parse all typed headers of an ACK; return the names of headers that count as absent."""
    return _absent(ack)


def inspect_response(response: Response) -> tuple[str, ...]:
    """Parse all typed headers of a response; return the names of headers that count as absent.

    A malformed Record-Route counts as absent too: an answer needs at least an ACK (`Dialog.take_way`).
    """
    return _absent(response)


def _absent(message: Message) -> tuple[str, ...]:
    """Make malformed headers of a message that cannot be rejected count as absent; return their names."""
    absent: list[str] = []
    _read(message, _TRANSACTION, absent.append)
    return tuple(absent)


def _read(message: Message, needs: Keys, malformed: Callable[[str], None]) -> SipSyntaxError | None:
    """Parse every typed header of `message`; return the error of the first malformed header in `needs`."""
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
    """Make malformed headers of `readers` count as absent; return their names."""
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
