"""Decisions of a registrar as pure functions over values (RFC 3261 10.3, RFC 3327, RFC 5626).

The caller authenticates, passes the live bindings of the address of record, stores the result of `decide` and answers
200 with `ok_fields`. A request with any error changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from gateway.sip.errors import SipSyntaxError
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.build import Refusal
from gateway.sip.message.grammar import param_value, write_params
from gateway.sip.message.message import Request
from gateway.sip.message.uri import Uri, check_writable

OVERFLOW_REFUSE, OVERFLOW_REPLACE = "refuse", "replace"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrarPolicy:
    """Limits of a registrar; times in seconds."""

    min_expires: int = 60
    """Shortest expiry accepted; shorter requests are rejected with 423."""
    max_expires: int = 7200
    """Longest expiry granted; longer requests are shortened."""
    default_expires: int = 3600
    """Expiry of a request without one."""
    max_contacts: int = 10
    """Live bindings of one address of record."""
    overflow: str = OVERFLOW_REPLACE
    """Treatment of one contact too many: "replace" drops the binding refreshed longest ago (reloaded browsers leave
    dead bindings), "refuse" answers 403."""
    websocket_grace: float = 5.0
    """Seconds that a WebSocket binding outlives its connection, for a client that reconnects and registers again;
    likewise for any connection-based flow (RFC 5626)."""
    flow_timer: int = 0
    """Flow-Timer sent to phones that register a flow over UDP, TCP or TLS; 0 for none."""
    domains: Container[str] | None = None
    """Domains served, lower case; None for all."""
    schemes: frozenset[str] = frozenset(("sip", "sips"))
    """Schemes of contacts accepted; others are rejected with 400, as no call could reach such a contact."""
    own: Container[tuple[str, int]] = frozenset()
    """Our own (host in lower case, port) pairs: a contact there would loop, and is rejected with 403."""


class Binding(Protocol):
    """Binding of an address of record, in the form of its store."""

    @property
    def contact(self) -> str:
        """Return the Contact URI as registered."""

    @property
    def expires_at(self) -> float:
        """Return the expiry in seconds on the caller's clock."""

    @property
    def call_id(self) -> str: ...

    @property
    def cseq(self) -> int: ...

    @property
    def q(self) -> float: ...

    @property
    def instance(self) -> str | None:
        """Return +sip.instance without angle brackets."""

    @property
    def reg_id(self) -> int | None: ...

    @property
    def key(self) -> str:
        """Return the key, equal for bindings that replace each other."""


B = TypeVar("B", bound=Binding)
M = TypeVar("M", bound=Binding, covariant=True)


class MakeBinding(Protocol[M]):
    """Constructor of a store's own kind of binding."""

    def __call__(
        self,
        *,
        aor: str,
        contact: str,
        expires_at: float,
        call_id: str,
        cseq: int,
        q: float,
        instance: str | None,
        reg_id: int | None,
        path: tuple[str, ...],
        received: str | None,
        user_agent: str,
    ) -> M: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes(Generic[B]):
    """Changes to store atomically for a valid REGISTER, with the resulting bindings."""

    aor: str
    put: tuple[B, ...] = ()
    """Bindings added or refreshed; a binding replaces the stored one with an equal key."""
    removed: tuple[B, ...] = ()
    after: tuple[B, ...] = ()
    """Live bindings after the changes."""

    @property
    def is_query(self) -> bool:
        """Return True if nothing changes."""
        return not self.put and not self.removed


def aor_of(request: Request, policy: RegistrarPolicy) -> str | Refusal:
    """Return the address of record of a REGISTER (RFC 3261 10.3 step 5), a 404 if not served here."""
    uri = request.to.uri
    if not uri.is_sip or not uri.user or (policy.domains is not None and uri.host.lower() not in policy.domains):
        return Refusal(404)
    return uri.aor


def decide(
    request: Request,
    current: Sequence[B],
    policy: RegistrarPolicy,
    now: float,
    *,
    make: MakeBinding[B],
    received: str | None = None,
) -> Changes[B] | Refusal:
    """Return the changes of a REGISTER (RFC 3261 10.3 steps 5 to 8).

    `current`: bindings of the address of record; expired bindings are ignored. Decide again if the stored bindings have
    changed meanwhile. Raise only SipSyntaxError, for malformed Contact, Expires or Path.
    """
    aor = aor_of(request, policy)
    if isinstance(aor, Refusal):
        return aor
    live = [binding for binding in current if binding.expires_at > now]
    if request.contact_is_star:
        return _remove_all(request, aor, live)
    contacts = request.contacts
    if not contacts:
        return Changes(aor=aor, after=tuple(live))
    if len(contacts) > 2 * policy.max_contacts:
        return Refusal(403, "Too Many Contacts")
    return _Update(request, aor, live, policy, now, make, received).run(contacts)


def _remove_all(request: Request, aor: str, live: list[B]) -> Changes[B] | Refusal:
    if request.expires != 0:
        return Refusal(400, "Contact * Needs Expires 0")
    for binding in live:
        if _is_out_of_order(request, binding):
            return Refusal(500, "CSeq Does Not Rise")
    return Changes(aor=aor, removed=tuple(live))


def _is_out_of_order(request: Request, binding: Binding) -> bool:
    return binding.call_id == request.call_id and request.cseq.number <= binding.cseq


class _Update(Generic[B]):
    """Processing of one REGISTER's contacts in order."""

    __slots__ = (
        "_aor",
        "_knows_outbound",
        "_live",
        "_make",
        "_now",
        "_path",
        "_policy",
        "_put",
        "_received",
        "_removed",
        "_request",
    )

    def __init__(
        self,
        request: Request,
        aor: str,
        live: list[B],
        policy: RegistrarPolicy,
        now: float,
        make: MakeBinding[B],
        received: str | None,
    ) -> None:
        self._request = request
        self._aor = aor
        self._live = [(binding, _uri_of(binding)) for binding in live]
        self._policy = policy
        self._now = now
        self._received = received
        self._make = make
        self._path = tuple(str(hop) for hop in request.path)
        self._knows_outbound = has_flow(request)
        self._put: list[B] = []
        self._removed: list[B] = []

    def run(self, contacts: Sequence[NameAddr]) -> Changes[B] | Refusal:
        for contact in contacts:
            refusal = self._one(contact)
            if refusal is not None:
                return refusal
        while len(self._live) > self._policy.max_contacts:
            if self._policy.overflow != OVERFLOW_REPLACE:
                return Refusal(403, "Too Many Contacts")
            oldest = min((b for b, _ in self._live if b not in self._put), key=lambda b: b.expires_at, default=None)
            if oldest is None:
                return Refusal(403, "Too Many Contacts")
            self._removed.append(oldest)
            self._live = [pair for pair in self._live if pair[0] is not oldest]
        after = tuple(binding for binding, _ in self._live)
        return Changes(aor=self._aor, put=tuple(self._put), removed=tuple(self._removed), after=after)

    def _one(self, contact: NameAddr) -> Refusal | None:
        uri = contact.uri
        if uri.scheme not in self._policy.schemes:
            return Refusal(400, "Contact Scheme Not Served")
        seconds = self._seconds(contact)
        if 0 < seconds < self._policy.min_expires:
            return Refusal(423, headers=(("Min-Expires", self._policy.min_expires),))
        if seconds and (uri.host.strip("[]").lower(), uri.port or 5060) in self._policy.own:
            return Refusal(403, "Contact Points Here")
        instance = contact.instance
        reg_id = contact.reg_id if instance is not None and self._knows_outbound else None
        fresh = self._make(
            aor=self._aor,
            contact=str(uri),
            expires_at=self._now + min(seconds, self._policy.max_expires),
            call_id=self._request.call_id,
            cseq=self._request.cseq.number,
            q=contact.q,
            instance=instance,
            reg_id=reg_id,
            path=self._path,
            received=self._received,
            user_agent=self._request.user_agent or "",
        )
        old = self._find(uri, instance, reg_id)
        if any(_is_out_of_order(self._request, binding) for binding in old if binding not in self._put):
            return Refusal(500, "CSeq Does Not Rise")
        self._live = [pair for pair in self._live if pair[0] not in old]
        self._put = [binding for binding in self._put if binding not in old]
        if seconds == 0:
            self._removed += old
            return None
        # A flow registered again under another URI replaces its previous URI (RFC 5626 section 6).
        self._removed += [binding for binding in old if (binding.key, binding.contact) != (fresh.key, fresh.contact)]
        self._put.append(fresh)
        self._live.append((fresh, uri))
        return None

    def _seconds(self, contact: NameAddr) -> int:
        seconds = contact.expires
        if seconds is None:
            seconds = self._request.expires
        return self._policy.default_expires if seconds is None else seconds

    def _find(self, uri: Uri, instance: str | None, reg_id: int | None) -> list[B]:
        """Return the bindings replaced by a contact: an equal flow or an equivalent URI (RFC 5626 6, RFC 3261 10.3).

        Flows of one device may share a URI. An instance alone is no flow: without RFC 5626 a device may register two
        contacts, and both stay.
        """

        def stands_for(binding: B, its_uri: Uri) -> bool:
            if reg_id is None or binding.reg_id is None:
                return its_uri.matches(uri)
            return (binding.instance, binding.reg_id) == (instance, reg_id)

        return [binding for binding, its_uri in self._live if stands_for(binding, its_uri)]


def has_flow(request: Request) -> bool:
    """Return True if a reg-id in the REGISTER counts (RFC 5626 section 6).

    Required: support for outbound and a direct connection, or an edge proxy with support. Otherwise reg-id is ignored
    rather than answered 439, as many clients always send reg-id and few would retry without.
    """
    if "outbound" not in {tag.lower() for tag in request.supported}:
        return False
    if request.path:
        return request.path[-1].uri.param("ob") is not None
    return len(request.via) == 1


def _uri_of(binding: Binding) -> Uri:
    try:
        return Uri.parse(binding.contact)
    except SipSyntaxError:
        return Uri("unreadable", opaque="-")


def ok_fields(
    request: Request,
    bindings: Sequence[B],
    now: float,
    *,
    flow_timer: int = 0,
    gruus: Callable[[B], Sequence[tuple[str, str]]] = lambda binding: (),
) -> tuple[tuple[str, str], ...]:
    """Return the fields of the 200: every live binding with its remaining seconds (RFC 3261 10.3 step 8, RFC 3327 5.3).

    `flow_timer`: seconds between keep-alives for direct connections (RFC 5626 section 10), 0 for none. `gruus` gives
    the GRUU parameters of a contact, for requests that support GRUU (RFC 5627 section 5.3).
    """
    supported = {tag.lower() for tag in request.supported}
    live = [binding for binding in bindings if binding.expires_at > now]
    more = gruus if "gruu" in supported else lambda binding: ()
    fields = [("Contact", _contact_value(binding, now, more(binding))) for binding in live]
    if "path" in supported:
        fields += [("Path", str(hop)) for hop in request.path]
    if "outbound" in supported and any(b.reg_id is not None and b.call_id == request.call_id for b in bindings):
        fields.append(("Require", "outbound"))
        if flow_timer and not request.path:
            fields.append(("Flow-Timer", str(flow_timer)))
    return tuple(fields)


def _contact_value(binding: Binding, now: float, gruus: Sequence[tuple[str, str]]) -> str:
    params: list[tuple[str, str | None]] = []
    if binding.q != 1.0:
        params.append(("q", f"{binding.q:.3f}".rstrip("0").rstrip(".")))
    params.append(("expires", str(max(1, round(binding.expires_at - now)))))
    if binding.instance is not None:
        params.append(("+sip.instance", param_value(f"<{binding.instance}>")))
    if binding.reg_id is not None:
        params.append(("reg-id", str(binding.reg_id)))
    params += [(name, param_value(gruu)) for name, gruu in gruus]
    return f"<{check_writable(binding.contact)}>{write_params(tuple(params))}"
