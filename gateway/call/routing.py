"""Routing of dialled strings: ordered routes first, then users, else an error.

Pure decisions: directory and routes are values, and nothing is looked up on the network.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from glob import escape
from typing import Protocol
from urllib.parse import quote, unquote

from gateway.call.status import Cause
from gateway.call.trunk_places import TrunkHosts, TrunkPlaces, canonical, plain, without_port
from gateway.errors import GatewayError
from gateway.identity.model import User
from sdp.frozen import filled_at_once

_DIALLED_LIMIT = 256
_REMEMBERED = 2_048
"""Cached dial strings; presence compares every announced URI with the patterns of all users."""
_DIAL_STRING = re.compile(r"(?:(?:sips?|tel):)?[^\s<>\"\x00-\x20\x7f]+", re.IGNORECASE)
_NUMBER = re.compile(r"\+?[0-9 #*().\-/]+")
_ORNAMENT = str.maketrans("", "", " -.()/")
_USER_SAFE = "-_.!~*'()&=+$,;?/"  # "unreserved" and "user-unreserved" of RFC 3261 section 25.1


class RouteError(GatewayError):
    """Raised for a call without a target; `cause` gives the reason for SIP and web."""

    def __init__(self, cause: Cause, reason: str, *, retry_after: int | None = None) -> None:
        super().__init__(reason)
        self.cause = cause
        self.retry_after = retry_after
        """Seconds before a retry, if known (RFC 3261 section 20.33)."""


@dataclass(frozen=True, slots=True)
class UserTarget:
    """A user: all web pages and phones of the user ring."""

    user: User
    device: str | None = None
    """Single device to call, in the terms of SIP (GRUU, RFC 5627), regardless of the user's rules; None for all."""


@dataclass(frozen=True, slots=True)
class SipTarget:
    """A SIP URI elsewhere, through a trunk if named."""

    uri: str
    trunk: str | None = None
    emergency: bool = False
    """True for an emergency call, exempt from limits."""
    account: str | None = None
    """Id of the user whose own trunk account pays; None for the trunk's account."""


@dataclass(frozen=True, slots=True)
class ServiceTarget:
    """A built-in service of the media engine: "echo" or "tone"."""

    service: str


@dataclass(frozen=True, slots=True)
class ApplicationTarget:
    """A program in this process, by name."""

    name: str
    number: str
    """Dialled number after stripping and prefixing."""
    is_sent_on: bool = False
    """True if a remote gateway forwarded the call to this one to run the program."""


VOICEMAIL = "voicemail"
"""Prefix of voicemail programs: `voicemail:USER` takes messages, `voicemail-listen:` plays messages."""
ROOM = "room"
"""Prefix of conference room programs: `room:NAME`."""
AGENT = "agent"
"""Prefix of external programs that take calls over a WebSocket: `agent:NAME`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomDoor:
    """Admission to conference rooms."""

    members: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Members of restricted rooms: user ids and "trunk:NAME"."""
    is_open: Callable[[str], bool] = lambda name: False
    """Returns True for an open room of the given name, dialled by its name."""
    has_number: Callable[[str], bool] = lambda number: False
    """Returns True for a number of a room opened by a user; neither a route nor a user has the number."""

    def admits(self, name: str, caller: Caller) -> bool:
        """Return True if the caller may enter the room."""
        wanted = self.members.get(name)
        return wanted is None or (not caller.guest and caller.id in wanted)


@dataclass(frozen=True, slots=True)
class Group:
    """Users reached by one number."""

    name: str
    members: tuple[User, ...]
    in_turn: bool = False
    """True to ring members one after the next; False to ring all at once."""
    time: float = 20.0
    """Seconds of ringing for each member in turn, or for all at once."""


@dataclass(frozen=True, slots=True)
class GroupTarget:
    """Any member of a group."""

    group: Group


@dataclass(frozen=True, slots=True)
class FeatureTarget:
    """A feature of the gateway (see features.py)."""

    feature: str
    argument: str
    """Digits dialled after the feature's number; "" for none."""


Target = UserTarget | SipTarget | ServiceTarget | ApplicationTarget | GroupTarget | FeatureTarget


def somebody(target: Target) -> Target:
    """Return `target`, unless a feature, which only its dialler can use; raises RouteError."""
    if isinstance(target, FeatureTarget):
        raise RouteError(Cause.FORBIDDEN, f"no call goes on to the feature {target.feature}")
    return target


@dataclass(frozen=True, slots=True)
class Route:
    """A route: dialled user parts or URIs that match `match` lead to `to`."""

    match: str
    """fnmatch pattern: "9*" and "sip:9*" for numbers, "sip:*@example.com" for whole URIs."""
    to: str
    """"service:echo", "user:alice", "trunk:NAME" or a "sip:" URI; "{user}" is replaced by the dialled user part."""
    strip: int = 0
    """Number of leading characters to remove ("9" for an outside line)."""
    prefix: str = ""
    """Prefix added to the user part after stripping."""


class Directory(Protocol):
    """Identity map, as far as routing needs it."""

    def find(self, uri_or_user: str) -> User | None:
        """Return the user of a SIP URI, alias or bare user part."""


@filled_at_once
@dataclass(frozen=True, slots=True)
class Caller:
    """A caller and its permissions."""

    id: str
    """User id, "trunk:NAME", or a guest's peer id."""
    may_call: tuple[str, ...]
    """Patterns of permitted targets. "*" and similar allow local users; calls that leave the gateway need a pattern
    with a number or host ("0*", "sip:*@example.com") or a trunk ("trunk:pbx", "trunk:*").
    """
    transit: bool = True
    """True if calls may leave the gateway again; False for trunks, to prevent dialling out at our expense."""
    guest: bool = False
    """True for a caller without an account."""
    source: str = ""
    """IP address of a guest."""
    account: str | None = None
    """Trunk with an account of the caller; the trunk decides on permissions there."""
    calls: str | None = None
    """Id of the user called regardless of the dialled string, for calls to a user's trunk account or from a remote
    gateway.
    """
    device: str | None = None
    """Single device of the user in `calls`, for calls forwarded by a remote gateway; else None."""
    room: str | None = None
    """Number of the room called regardless of the dialled string, for calls forwarded by a remote gateway."""

    @property
    def is_sent_on(self) -> bool:
        """True if a remote gateway forwarded the call to a user here."""
        return self.device is not None

    @property
    def trunk(self) -> str | None:
        """Name of the calling trunk; None for users, guests and remote gateways."""
        kind, _, name = self.id.partition(":")
        return name if kind == "trunk" and not self.transit else None

    def may_reach(self, meant: _Dialled) -> bool:
        """Return True if the caller may dial the target within the gateway."""
        return any(meant.matches(pattern) for pattern in self.may_call)

    def may_go_to(self, meant: _Dialled) -> bool:
        """Return True if a pattern of `may_call` names the foreign host of a URI; numbers and "sip:*@*" name none."""
        return self.transit and any(
            "@" in pattern and _names(without_port(pattern.rpartition("@")[2])) and meant.matches(pattern)
            for pattern in self.may_call
        )

    def may_leave(self, meant: _Dialled, trunk: str | None, *, is_ours: bool) -> bool:
        """Return True if the caller may dial the target through `trunk`, or a URI elsewhere; needs an explicit pattern.

        `is_ours` means that the URI has a host of the gateway, so that only its number tells the destination.
        """
        if not self.transit:
            return False
        return any(
            (trunk is not None and fnmatchcase(f"trunk:{trunk}", pattern))
            if pattern.startswith("trunk:")
            else _says_what(pattern, is_ours) and meant.matches(pattern)
            for pattern in self.may_call
        )


def _says_what(pattern: str, is_ours: bool) -> bool:
    """Return True if a pattern names numbers, or the host of a URI elsewhere.

    "*", "sip:*@*", "sip:*@*:5060" and patterns for all local users do not.
    """
    name, _, host = pattern.partition("@")
    return _names(name.rpartition(":")[2]) or (not is_ours and _names(without_port(host)))


def _names(pattern: str) -> bool:
    """Return True if a pattern has a character other than wildcards."""
    return bool(pattern.strip("*?.[]"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Emergency:
    """Emergency numbers, always permitted."""

    numbers: frozenset[str] = frozenset()
    trunk: str | None = None
    """Name of the trunk for emergency calls; None to use the routes."""


class Router:
    """Finds the target of a dialled string for a caller."""

    def __init__(
        self,
        directory: Directory,
        routes: Sequence[Route],
        domains: Container[str],
        trunks: Mapping[str, Sequence[str]] | TrunkPlaces | None = None,
        emergency: Emergency | None = None,
        groups: Sequence[Group] = (),
        devices: Callable[[str], tuple[str, str] | None] = lambda dialled: None,
        rooms: RoomDoor | None = None,
    ) -> None:
        """`domains` are hosts of this gateway in lower case; `trunks` maps trunk names to their hosts or host:port
        pairs.

        `devices` splits a URI of a device (GRUU) into user URI and device.
        """
        self._devices = devices
        self._directory = directory
        self._routes = tuple(routes)
        self._domains = domains
        if not isinstance(trunks, TrunkPlaces):
            trunks = TrunkPlaces({name: TrunkHosts(places) for name, places in (trunks or {}).items()})
        self._trunks = trunks
        self._emergency = emergency or Emergency()
        self._rooms = rooms or RoomDoor()
        self._groups = {group.name: group for group in groups}

    def change(self, other: Router) -> None:
        """Adopt the configuration of a new router."""
        self.__dict__.update(other.__dict__)

    def route(self, dialled: str, caller: Caller) -> Target:
        """Return the target of a call.

        Raises RouteError: FORBIDDEN for a target outside the caller's permissions, whether it exists or not; NOT_FOUND
        for an unknown one.
        """
        if caller.calls is not None and (callee := self._directory.find(caller.calls)) is not None:
            return UserTarget(callee, caller.device)
        if caller.room is not None:
            if not self._rooms.has_number(caller.room):
                raise RouteError(Cause.NOT_FOUND, f"there is no room {caller.room} any more")
            return ApplicationTarget(f"{ROOM}:{caller.room}", caller.room, is_sent_on=True)
        whose, device = self._user_of(dialled)
        meant = _read(whose)
        if caller.transit and self._is_emergency(meant):
            return self._emergency_target(meant)
        if self._is_ours(meant.written) and self._rooms.is_open(meant.user):
            return ApplicationTarget(f"{ROOM}:{meant.user}", meant.user)
        target = self._by_account(meant, self._target(meant), caller)
        if self._is_nobodys(target, meant) and caller.may_go_to(meant):
            return SipTarget(meant.written)
        if isinstance(target, SipTarget):
            own = target.account is not None and caller.may_reach(meant)
            if not own and not caller.may_leave(meant, target.trunk, is_ours=self._is_ours(meant.written)):
                way = f"trunk:{target.trunk}" if target.trunk is not None else target.uri
                raise RouteError(Cause.FORBIDDEN, f"{caller.id} may not call {meant.user} through {way} (may_call)")
        elif not caller.may_reach(meant):
            raise RouteError(Cause.FORBIDDEN, f"{caller.id} may not call {meant.user}")
        if isinstance(target, RouteError):
            try:
                raise target
            finally:
                del target  # else traceback and frame would reference each other
        if isinstance(target, ApplicationTarget) and not self._admits(target, caller):
            raise RouteError(Cause.FORBIDDEN, f"{caller.id} is no member of {target.name}")
        return replace(target, device=device) if device and isinstance(target, UserTarget) else target

    def _is_nobodys(self, target: Target | RouteError, meant: _Dialled) -> bool:
        """Return True for a foreign host unknown to trunks by name, routes and users."""
        if self._is_ours(meant.written) or self._named_trunk(meant.written) is not None:
            return False
        if isinstance(target, RouteError):
            return target.cause is Cause.NOT_FOUND
        return target == SipTarget(meant.user, trunk=self._trunk_of(meant.written))

    def addressed(self, uri: str, caller: Caller) -> str:
        """Return the Request-URI of a trunk's request, without a host that is nobody else's.

        A PBX may address the gateway by the PBX's own name or domain. Hosts of further trunks, routes and users stay.
        """
        trunk = caller.trunk
        if trunk is None:
            return uri
        try:
            meant = _read(uri)
        except RouteError:
            return uri
        if self._is_ours(meant.written) or self._is_anothers(meant, trunk):
            return uri
        return meant.written.rpartition("@")[0]

    def _is_anothers(self, meant: _Dialled, trunk: str) -> bool:
        """Return True if the host of a URI belongs to a different trunk, a route or a user."""
        is_its_own = self._trunks.is_of(trunk, _place_of(meant.written))
        if not is_its_own and self._named_trunk(meant.written) is not None:
            return True
        if self._directory.find(meant.written) is not None:
            return True
        return any(meant.is_at(route.match) or meant.is_named_by(route.match) for route in self._routes)

    def is_emergency(self, dialled: str) -> bool:
        """Return True for an emergency number in any notation."""
        try:
            return self._is_emergency(_read(self._user_of(dialled)[0]))
        except RouteError:
            return False

    def is_free(self, number: str) -> bool:
        """Return True if a room may be opened under the number: unused, or used by the room itself."""
        if number in self._emergency.numbers:
            return False
        target = self._target(_read(number))
        if isinstance(target, RouteError):
            return target.cause is Cause.NOT_FOUND and not any(_read(number).matches(one.match) for one in self._routes)
        return isinstance(target, ApplicationTarget) and target.name == f"{ROOM}:{number}"

    def _user_of(self, dialled: str) -> tuple[str, str | None]:
        """Return user URI and device of a device's URI, else `dialled` and None."""
        return self._devices(dialled) or (dialled, None)

    def _is_emergency(self, meant: _Dialled) -> bool:
        return meant.user in self._emergency.numbers and self._is_ours(meant.written)

    def _emergency_target(self, meant: _Dialled) -> Target:
        """Return the target of an emergency number, without permission checks; raises RouteError without a route."""
        if self._emergency.trunk is not None:
            return SipTarget(meant.user, trunk=self._emergency.trunk, emergency=True)
        target = self._target(meant)
        if isinstance(target, RouteError):
            raise RouteError(target.cause, str(target))
        return replace(target, emergency=True) if isinstance(target, SipTarget) else target

    def _admits(self, target: ApplicationTarget, caller: Caller) -> bool:
        kind, _, name = target.name.partition(":")
        return kind != ROOM or self._rooms.admits(name, caller)

    def _by_account(self, meant: _Dialled, target: Target | RouteError, caller: Caller) -> Target | RouteError:
        """Return a target through the caller's own account, for calls to its trunk and for numbers unknown here."""
        if caller.account is None:
            return target
        if isinstance(target, SipTarget) and target.trunk == caller.account:
            return replace(target, account=caller.id)
        unknown = isinstance(target, RouteError) and target.cause is Cause.NOT_FOUND
        if unknown and self._is_ours(meant.written):
            return SipTarget(meant.user, trunk=caller.account, account=caller.id)
        return target

    def _target(self, meant: _Dialled) -> Target | RouteError:
        """Return the target or error for a dialled string before permission checks.

        The host decides first: number routes apply to our own domains and to numbers without a host.
        """
        trunk = self._trunk_of(meant.written)
        has_number = trunk is None and self._is_ours(meant.written)
        try:
            for route in self._routes:
                if meant.matches(route.match) if has_number else meant.is_at(route.match):
                    return self._follow(route, meant.user)
        except RouteError as error:
            return error
        if trunk is not None:
            return SipTarget(meant.user, trunk=trunk)
        found = self._directory.find(meant.written)
        if found is None and self._is_ours(meant.written):
            found = self._directory.find(_escaped(meant.user))
        if found is not None:
            return UserTarget(found)
        if self._is_ours(meant.written) and self._rooms.has_number(meant.user):
            return ApplicationTarget(f"{ROOM}:{meant.user}", meant.user)
        if trunk is None and not self._is_ours(meant.written):
            host = meant.written.rpartition("@")[2]
            reason = f"{host} is no host of this gateway: neither domain nor one of also_domains, nor an address of SIP"
            return RouteError(Cause.NOT_FOUND, f"nobody answers to {meant.user}: {reason}")
        return RouteError(Cause.NOT_FOUND, f"nobody answers to {meant.user}")

    def _trunk_of(self, uri: str) -> str | None:
        """Return the trunk whose numbers include a URI, so that its callers can be called back."""
        named = self._named_trunk(uri)
        if named is not None or self._is_ours(uri):
            return named
        return self._trunks.addressed(_place_of(uri), self._domains)

    def _named_trunk(self, uri: str) -> str | None:
        """Return the trunk with the host of the URI in its configured URI."""
        place = _place_of(uri)
        if place in self._domains:
            return None
        if plain(place) in self._domains:
            return self._trunks.exactly_at(place)
        return self._trunks.named(place)

    async def learn(self, uri: str) -> None:
        """Resolve a foreign host named by a peer, in case it is an alias of a trunk."""
        with contextlib.suppress(RouteError):
            await self._trunks.learn(_place_of(_read(uri).written), self._domains)

    def _is_ours(self, uri: str) -> bool:
        host = _place_of(uri)
        return not host or host in self._domains or without_port(host) in self._domains

    def _follow(self, route: Route, user: str) -> Target:
        dialled = route.prefix + user[route.strip :]
        if route.to.startswith("feature:"):
            return _feature(route.to.partition(":")[2], dialled)
        if not dialled:
            raise RouteError(Cause.NOT_FOUND, f"nothing is left of {user} to send on")
        kind, _, name = route.to.partition(":")
        name = name.replace("{user}", _escaped(dialled))
        if kind == "application":
            return ApplicationTarget(name, dialled)
        if kind in (ROOM, AGENT):
            return ApplicationTarget(f"{kind}:{name}", dialled)
        if kind == "service":
            return ServiceTarget(name)
        if kind == "group":
            group = self._groups.get(name)
            if group is None:
                raise RouteError(Cause.NOT_FOUND, f"the route for {user} leads to a group that does not exist")
            return GroupTarget(group)
        if kind == "user":
            found = self._directory.find(name)
            if found is None:
                raise RouteError(Cause.NOT_FOUND, f"the route for {user} leads to a user that does not exist")
            return UserTarget(found)
        if kind == "trunk":
            if name not in self._trunks:
                raise RouteError(Cause.UNAVAILABLE, f"the route for {user} leads to a trunk that does not exist")
            return SipTarget(dialled, trunk=name)
        return SipTarget(route.to.replace("{user}", _escaped(dialled)))


def _feature(name: str, dialled: str) -> Target:
    """Return the target of a feature route; listening to voicemail is a program."""
    return ApplicationTarget(f"{VOICEMAIL}-listen:", dialled) if name == VOICEMAIL else FeatureTarget(name, dialled)


@dataclass(frozen=True, slots=True)
class _Dialled:
    """A dialled string in canonical form, for pattern matching."""

    user: str
    """User part, unescaped; a number has no visual separators."""
    uri: str
    """Scheme, `user` and host, without parameters."""
    written: str
    """URI with separators, which may belong to a user's name."""

    def matches(self, pattern: str) -> bool:
        """Match a pattern against the URI if it has a host, scheme and user if it has a scheme, else the user."""
        if "@" in pattern:
            return self.is_at(pattern)
        return fnmatchcase(self.user, pattern) or (":" in pattern and fnmatchcase(self.uri.partition("@")[0], pattern))

    def is_named_by(self, pattern: str) -> bool:
        """Return True if the pattern names the host, for any user; "*" names none."""
        host = _literal_address(pattern).rpartition("@")[2] if "@" in pattern else ""
        own = self.uri.rpartition("@")[2]
        return bool(host.strip("*?.")) and (fnmatchcase(own, host) or fnmatchcase(plain(own), host))

    def is_at(self, pattern: str) -> bool:
        """Match a pattern with a host, ignoring SIP's default port."""
        pattern = _literal_address(pattern)
        return "@" in pattern and (fnmatchcase(self.uri, pattern) or fnmatchcase(plain(self.uri), pattern))


@lru_cache(_REMEMBERED)
def _read(dialled: str) -> _Dialled:
    """Return a dialled string without parameters, passwords and needless escapes (RFC 3261 section 19.1.4).

    Escapes and separators must not evade a pattern: "%300" and "0-0" are "00".
    """
    text = dialled.strip()
    if len(text) <= _DIALLED_LIMIT and _NUMBER.fullmatch(text):
        text = text.replace(" ", "")
    if len(text) > _DIALLED_LIMIT or not _DIAL_STRING.fullmatch(text):
        raise RouteError(Cause.NOT_FOUND, "what was dialled is neither a number nor a SIP URI")
    scheme, colon, rest = text.partition(":")
    if not colon or scheme.lower() not in ("sip", "sips", "tel"):
        scheme, rest = "sip", text
    name, _, place = rest.partition("@")
    host = canonical(re.split("[;?]", place, maxsplit=1)[0])
    user = _unescaped(re.split("[;?]", name, maxsplit=1)[0].partition(":")[0])
    number = user.translate(_ORNAMENT) if _NUMBER.fullmatch(user) else user
    if not number or "@" in host or not user.isprintable():
        raise RouteError(Cause.NOT_FOUND, "the URI that was dialled names no user")
    there = f"@{host}" if host else ""
    scheme = scheme.lower()
    return _Dialled(number, f"{scheme}:{_escaped(number)}{there}", f"{scheme}:{_escaped(user)}{there}")


def _place_of(uri: str) -> str:
    """Return the "host:port" of a canonical URI, "" for none."""
    return uri.rpartition("@")[2] if "@" in uri else ""


def allows(patterns: Sequence[str], dialled: str) -> bool:
    """Return True if any permission pattern matches `dialled`."""
    try:
        meant = _read(dialled)
    except RouteError:
        return False
    return any(meant.matches(pattern) for pattern in patterns)


def at_host(host: str) -> tuple[str, str]:
    """Return literal patterns for every user at a host, without port and with any port."""
    literal = escape(canonical(host))
    return f"*@{literal}", f"*@{literal}:*"


@lru_cache(_REMEMBERED)
def _literal_address(pattern: str) -> str:
    """Return a pattern with an IPv6 host escaped, which fnmatch would read as a character set."""
    name, at, host = pattern.rpartition("@")
    if not host.startswith("[") or host.startswith("[[]") or ":" not in host:
        return pattern
    return f"{name}{at}[[]{canonical(host)[1:]}"


def _unescaped(user: str) -> str:
    try:
        return unquote(user, errors="strict")
    except UnicodeDecodeError:
        return ""


def _escaped(user: str) -> str:
    return quote(user, safe=_USER_SAFE)
