"""SIP requests and responses as immutable values with lazily parsed, cached headers (RFC 3261 section 7)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar, cast, overload

from gateway.sip.errors import SipBuildError, SipSyntaxError
from gateway.sip.message.addresses import MAX_LIST, MAX_TAG, CSeq, NameAddr, Via
from gateway.sip.message.fields import Headers, Item
from gateway.sip.message.grammar import delta_seconds, is_token, number, read_tokens, require_clean, require_token
from gateway.sip.message.uri import Uri, check_writable
from gateway.sip.message.values import (
    AuthValue,
    MediaType,
    RAck,
    Replaces,
    SessionExpires,
    TokenParams,
    retry_after,
)

T = TypeVar("T")
M = TypeVar("M", bound="Message")

ANSWER_HEADERS = ("Via", "From", "To", "Call-ID", "CSeq")
"""Headers copied from a request into its response (RFC 3261 8.2.6.2)."""


Reader = tuple[Callable[[str], T], Callable[[list[str] | None], T]]
"""Readers of a header present once, and of a repeated or absent header."""


class Lazy(Generic[T]):
    """Typed view of one header, parsed at the first use and cached in the message.

    The value is stored in the message's dictionary under the attribute's name. Python finds the entry before the
    descriptor, which has no `__set__`: later reads cost no call.
    """

    def __init__(self, name: str, reader: Reader[T], doc: str) -> None:
        self.name = name
        """Usual spelling of the header."""
        self.key = name.lower()
        self.attribute = ""
        """Attribute name in the message."""
        self._one, self._other = reader
        self.__doc__ = doc

    def __set_name__(self, owner: type, name: str) -> None:
        self.attribute = name

    @overload
    def __get__(self, message: None, owner: type) -> Lazy[T]: ...
    @overload
    def __get__(self, message: Message, owner: type) -> T: ...
    def __get__(self, message: Message | None, owner: type) -> T | Lazy[T]:
        if message is None:
            return self
        values = message.headers.index.get(self.key)
        try:
            value = self._one(values) if isinstance(values, str) else self._other(values)
        except SipSyntaxError as error:
            raise BrokenMessageError(
                error.reason,
                status=error.status if isinstance(message, Request) and message.method != "ACK" else None,
                header=self.name,
                partial=Fragment.of(message),
            ) from None
        message.__dict__[self.attribute] = value
        return value

    def value_of(self, message: Message) -> T:
        """Return the typed value; raise SipSyntaxError with the header and the status to answer."""
        known = message.__dict__
        if self.attribute in known:
            return cast(T, known[self.attribute])
        return self.__get__(message, message.__class__)

    def count_as_absent(self, message: Message) -> None:
        """Make `message` behave as if the header were absent; not for mandatory headers."""
        message.__dict__[self.attribute] = self._other(None)


class Derived(Generic[T]):
    """Value derived from a header at the first use, and cached like a `Lazy` value."""

    def __init__(self, find: Callable[[Message], T], doc: str) -> None:
        self._attribute = ""
        self._find = find
        self.__doc__ = doc

    def __set_name__(self, owner: type, name: str) -> None:
        self._attribute = name

    @overload
    def __get__(self, message: None, owner: type) -> Derived[T]: ...
    @overload
    def __get__(self, message: Message, owner: type) -> T: ...
    def __get__(self, message: Message | None, owner: type) -> T | Derived[T]:
        if message is None:
            return self
        value = message.__dict__[self._attribute] = self._find(message)
        return value


def _optional(parse: Callable[[str], T]) -> Reader[T | None]:
    def other(values: list[str] | None) -> T | None:
        if values is not None:
            raise SipSyntaxError("header may be there only once")
        return None

    return lambda text: parse(text) if text else None, other


def _required(parse: Callable[[str], T]) -> Reader[T]:
    def other(values: list[str] | None) -> T:
        raise SipSyntaxError("header is missing" if values is None else "header may be there only once")

    return parse, other


def _many(parse_list: Callable[[str], list[T]]) -> Reader[tuple[T, ...]]:
    def other(values: list[str] | None) -> tuple[T, ...]:
        if values is None:
            return ()
        if len(values) > MAX_LIST:
            raise SipSyntaxError("header is there too often")
        found: list[T] = []
        for value in filter(None, values):
            found += parse_list(value)
            if len(found) > MAX_LIST:
                raise SipSyntaxError("too many values")
        return tuple(found)

    return lambda text: tuple(parse_list(text)) if text else (), other


def _vias() -> Reader[tuple[Via, ...]]:
    _, several = _many(Via.parse_list)

    def other(values: list[str] | None) -> tuple[Via, ...]:
        found = several(values)
        if not found:
            raise SipSyntaxError("header is missing" if values is None else "header is empty")
        return found

    return lambda text: tuple(Via.parse_list(text)), other


def _contacts() -> Reader[tuple[NameAddr, ...]]:
    one, other = _many(NameAddr.parse_list)
    return lambda text: () if text == "*" else one(text), other


def _readable_contacts() -> Reader[tuple[NameAddr, ...]]:
    def one(text: str) -> tuple[NameAddr, ...]:
        return () if text in ("*", "") else tuple(NameAddr.parse_each(text))

    return one, lambda values: () if values is None else one(",".join(values))


def _first() -> Reader[str | None]:
    # No decision depends on these headers, so a repetition is no reason to reject the message.
    return lambda text: text, lambda values: values[0] if values else None


def _tokens(what: str) -> Reader[tuple[str, ...]]:
    return _many(lambda text: read_tokens(text, what))


_auth = _many(lambda text: [AuthValue.parse(text)])


def _call_id(text: str) -> str:
    if not text or " " in text or "\t" in text:
        raise SipSyntaxError("Call-ID is malformed")
    return text


def _entity_tag(text: str) -> str:
    text = text.strip(" \t")
    if not is_token(text) or len(text) > MAX_TAG:
        raise SipSyntaxError("entity-tag is not a token")
    return text


def _seconds(what: str) -> Callable[[str], int]:
    return lambda text: delta_seconds(text, what)


class Message:
    """Common part of requests and responses. Immutable; the wire form is `write`, not `str()`."""

    __slots__ = ("__dict__", "body", "headers")
    # __dict__ holds only parsed header values (see Lazy).

    headers: Headers
    body: bytes

    via = Lazy("Via", _vias(), "Every Via, the top one first.")
    from_ = Lazy("From", _required(NameAddr.parse), "Who sent the request.")
    to = Lazy("To", _required(NameAddr.parse), "Who the request was meant for.")
    call_id = Lazy("Call-ID", _required(_call_id), "The call's identifier.")
    cseq = Lazy("CSeq", _required(CSeq.parse), "Sequence number and method.")
    contacts = Lazy("Contact", _contacts(), "Every Contact; () for `*` (see `contact_is_star`).")
    route = Lazy("Route", _many(NameAddr.parse_list), "Hops that the request is still to visit.")
    record_route = Lazy("Record-Route", _many(NameAddr.parse_list), "Proxies that stay in the dialog's path.")
    path = Lazy("Path", _many(NameAddr.parse_list), "Proxies before a registrar (RFC 3327).")
    service_route = Lazy("Service-Route", _many(NameAddr.parse_list), "Route of outgoing requests (RFC 3608).")
    max_forwards = Lazy(
        "Max-Forwards", _optional(lambda text: number(text, "Max-Forwards", 255)), "Hops left, None when absent."
    )
    expires = Lazy("Expires", _optional(_seconds("Expires")), "Seconds, None when absent.")
    min_expires = Lazy("Min-Expires", _optional(_seconds("Min-Expires")), "Seconds, None when absent.")
    allow = Lazy("Allow", _tokens("Allow"), "Methods that the sender takes.")
    allow_events = Lazy("Allow-Events", _tokens("Allow-Events"), "Event packages that the sender takes.")
    recv_info = Lazy("Recv-Info", _tokens("Recv-Info"), "INFO packages that the sender takes (RFC 6086).")
    supported = Lazy("Supported", _tokens("Supported"), "Option tags that the sender knows.")
    require = Lazy("Require", _tokens("Require"), "Option tags that the sender insists on.")
    unsupported = Lazy("Unsupported", _tokens("Unsupported"), "Option tags that were refused.")
    content_type = Lazy("Content-Type", _optional(MediaType.parse), "Type of the body, None when absent.")
    content_disposition = Lazy("Content-Disposition", _optional(TokenParams.parse), "What the body is for.")
    content_encoding = Lazy("Content-Encoding", _tokens("Content-Encoding"), "Codings of the body.")
    accept = Lazy("Accept", _many(MediaType.parse_list), "Media ranges that the sender takes.")
    authorization = Lazy("Authorization", _auth, "Credentials for user agents and registrars.")
    proxy_authorization = Lazy("Proxy-Authorization", _auth, "Credentials for proxies.")
    www_authenticate = Lazy("WWW-Authenticate", _auth, "Challenges of a 401, in the server's order.")
    proxy_authenticate = Lazy("Proxy-Authenticate", _auth, "Challenges of a 407, in the server's order.")
    reason = Lazy("Reason", _many(TokenParams.parse_list), "Why a request was sent (RFC 3326).")
    replaces = Lazy("Replaces", _optional(Replaces.parse), "The dialog to replace (RFC 3891).")
    refer_to = Lazy("Refer-To", _optional(NameAddr.parse), "Where to go (RFC 3515).")
    referred_by = Lazy("Referred-By", _optional(NameAddr.parse), "Who referred (RFC 3892).")
    reply_to = Lazy("Reply-To", _optional(NameAddr.parse), "Where to return a call.")
    asserted_identity = Lazy(
        "P-Asserted-Identity", _many(NameAddr.parse_list), "Who the trusted network says it is (RFC 3325)."
    )
    preferred_identity = Lazy(
        "P-Preferred-Identity", _many(NameAddr.parse_list), "Whom the caller wants to be shown as (RFC 3325)."
    )
    history_info = Lazy("History-Info", _many(NameAddr.parse_list), "Whom the call has been for (RFC 7044).")
    diversion = Lazy("Diversion", _many(NameAddr.parse_list), "Who diverted the call (RFC 5806).")
    session_expires = Lazy("Session-Expires", _optional(SessionExpires.parse), "Session timer (RFC 4028).")
    min_se = Lazy("Min-SE", _optional(SessionExpires.parse), "Smallest session interval (RFC 4028).")
    rseq = Lazy("RSeq", _optional(lambda text: number(text, "RSeq", 0xFFFFFFFF)), "Number of a reliable 1xx.")
    rack = Lazy("RAck", _optional(RAck.parse), "What a PRACK acknowledges.")
    event = Lazy("Event", _optional(TokenParams.parse), "Event package (RFC 6665).")
    suppress_if_match = Lazy("Suppress-If-Match", _optional(_entity_tag), "What is known already (RFC 5839), or *.")
    sip_if_match = Lazy("SIP-If-Match", _optional(_entity_tag), "Which publication is meant (RFC 3903).")
    sip_etag = Lazy("SIP-ETag", _optional(_entity_tag), "Name of a publication, or of what a NOTIFY says.")
    subscription_state = Lazy("Subscription-State", _optional(TokenParams.parse), "State of a subscription.")
    retry_after = Lazy("Retry-After", _optional(retry_after), "Seconds to wait, None when absent.")
    user_agent = Lazy("User-Agent", _first(), "Product of a UAC.")
    server = Lazy("Server", _first(), "Product of a UAS.")
    subject = Lazy("Subject", _first(), "What the call is about.")

    from_tag = Derived(lambda message: message.from_.tag, "The From tag, None when it is absent.")
    to_tag = Derived(lambda message: message.to.tag, "The To tag, None when it is absent.")
    branch = Derived(lambda message: message.via[0].branch, "The branch of the top Via, None when it is absent.")

    def _start_line(self) -> str:
        raise SipBuildError("a message is a request or a response")

    @property
    def top_via(self) -> Via:
        """Return the first Via; raise SipSyntaxError if absent."""
        return self.via[0]

    @property
    def contact(self) -> NameAddr | None:
        """Return the first Contact, None if absent or `*`."""
        contacts = self.contacts
        return contacts[0] if contacts else None

    @property
    def contact_is_star(self) -> bool:
        """Return True if the only Contact is `*` (RFC 3261 10.2.2)."""
        return self.headers.index.get("contact") == "*"

    def write(self) -> bytes:
        """Return the message in wire form; Content-Length is always computed from the body."""
        body = self.body
        lines = [f"{name}: {value}\r\n" for key, name, value in self.headers.items if key != "content-length"]
        return f"{self._start_line()}\r\n{''.join(lines)}Content-Length: {len(body)}\r\n\r\n".encode() + body

    def _with(self: M, headers: Headers, body: bytes) -> M:
        made = self.__class__.__new__(self.__class__)
        for slot in self._own_slots():
            setattr(made, slot, getattr(self, slot))
        made.headers, made.body = headers, body
        return made

    @classmethod
    def _own_slots(cls) -> tuple[str, ...]:
        return ()

    def with_headers(self: M, headers: Headers) -> M:
        """Return a copy with other headers."""
        return self._with(headers, self.body)

    def with_top_via(self: M, headers: Headers, top: Via) -> M:
        """Return a copy with headers changed only in the top Via; values parsed from other headers are kept."""
        made = self._with(headers, self.body)
        made.__dict__.update(self.__dict__)
        made.__dict__["via"] = (top, *self.via[1:])
        return made

    def with_header(self: M, name: str, *values: object) -> M:
        """Return a copy with one header replaced (see `Headers.with_`)."""
        return self._with(self.headers.with_(name, *values), self.body)

    def with_body(self: M, body: bytes, content_type: str | None) -> M:
        """Return a copy with another body; None removes Content-Type."""
        headers = self.headers.with_("Content-Type", content_type) if content_type else self.headers
        return self._with(headers if content_type else headers.without("Content-Type"), body)


def _as_headers(headers: Headers | Iterable[tuple[str, object]]) -> Headers:
    return headers if isinstance(headers, Headers) else Headers(headers)


class Request(Message):
    """Request (RFC 3261 7.1); requests with equal wire forms are equal."""

    __slots__ = ("method", "uri")

    def __init__(
        self, method: str, uri: Uri, headers: Headers | Iterable[tuple[str, object]] = (), body: bytes = b""
    ) -> None:
        """Raise SipBuildError for a method that is no token or a URI not allowed in a start line."""
        self.method = require_token(method, "method")
        check_writable(str(uri))
        self.uri = uri
        self.headers = _as_headers(headers)
        self.body = body

    @classmethod
    def from_wire(cls, method: str, uri: Uri, items: list[Item], body: bytes) -> Request:
        """Return a request from parts checked by the parser."""
        made = cls.__new__(cls)
        made.method, made.uri, made.headers, made.body = method, uri, Headers.from_items(items), body
        return made

    def _start_line(self) -> str:
        return f"{self.method} {self.uri} SIP/2.0"

    @classmethod
    def _own_slots(cls) -> tuple[str, ...]:
        return ("method", "uri")

    def with_uri(self, uri: Uri) -> Request:
        """Return a copy with another Request-URI."""
        return Request(self.method, uri, self.headers, self.body)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Request) and self.write() == other.write()

    def __hash__(self) -> int:
        return hash(self.write())

    def __repr__(self) -> str:
        return f"Request({self.method})"


class Response(Message):
    """Response (RFC 3261 7.2); responses with equal wire forms are equal."""

    __slots__ = ("phrase", "status")

    contacts = Lazy("Contact", _readable_contacts(), "Every Contact that can be read; () for `*`.")

    def __init__(
        self,
        status: int,
        phrase: str = "",
        headers: Headers | Iterable[tuple[str, object]] = (),
        body: bytes = b"",
    ) -> None:
        """Raise SipBuildError for a status outside 100..699 or a phrase with control bytes."""
        if not 100 <= status <= 699:
            raise SipBuildError("status is not between 100 and 699")
        self.status = status
        self.phrase = require_clean(phrase, "reason phrase")
        self.headers = _as_headers(headers)
        self.body = body

    @classmethod
    def from_wire(cls, status: int, phrase: str, items: list[Item], body: bytes) -> Response:
        """Return a response from parts checked by the parser."""
        made = cls.__new__(cls)
        made.status, made.phrase, made.headers, made.body = status, phrase, Headers.from_items(items), body
        return made

    def _start_line(self) -> str:
        return f"SIP/2.0 {self.status} {self.phrase}"

    @classmethod
    def _own_slots(cls) -> tuple[str, ...]:
        return ("phrase", "status")

    @property
    def is_provisional(self) -> bool:
        """Return True for 1xx."""
        return self.status < 200

    @property
    def is_success(self) -> bool:
        """Return True for 2xx."""
        return 200 <= self.status < 300

    @property
    def is_final(self) -> bool:
        """Return True for 2xx to 6xx."""
        return self.status >= 200

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Response) and self.write() == other.write()

    def __hash__(self) -> int:
        return hash(self.write())

    def __repr__(self) -> str:
        return f"Response({self.status})"


class Fragment:
    """Readable part of a broken message: enough to answer a request (RFC 3261 8.2.6), nothing more."""

    __slots__ = ("headers", "is_request", "method")

    def __init__(self, is_request: bool, method: str | None, headers: Headers) -> None:
        self.is_request = is_request
        self.method = method
        self.headers = headers

    @classmethod
    def of(cls, message: Message) -> Fragment:
        """Return the answerable part of a parsed message."""
        method = message.method if isinstance(message, Request) else None
        return cls(isinstance(message, Request), method, message.headers.only(*ANSWER_HEADERS))

    @property
    def is_answerable(self) -> bool:
        """Return True if a response may be sent: a request other than ACK with a Via."""
        return self.is_request and self.method not in (None, "ACK") and "Via" in self.headers


class BrokenMessageError(SipSyntaxError):
    """Unusable message; `partial` holds the readable part, enough to build the answer."""

    def __init__(
        self,
        reason: str,
        *,
        status: int | None = 400,
        line: int | None = None,
        header: str | None = None,
        partial: Fragment | None,
    ) -> None:
        super().__init__(reason, status=status, line=line, header=header)
        self.partial = partial
