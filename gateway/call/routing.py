"""Who is meant by what was dialled: an ordered list of routes, then the users, then nobody.

Pure decisions: the directory and the routes come in as values, nothing is looked up on the wire.
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
"""How many dial strings are kept as they were read: whoever announces itself is held against the patterns of all."""
_DIAL_STRING = re.compile(r"(?:(?:sips?|tel):)?[^\s<>\"\x00-\x20\x7f]+", re.IGNORECASE)
_NUMBER = re.compile(r"\+?[0-9 #*().\-/]+")
_ORNAMENT = str.maketrans("", "", " -.()/")
_USER_SAFE = "-_.!~*'()&=+$,;?/"  # "unreserved" and "user-unreserved" of RFC 3261 section 25.1


class RouteError(GatewayError):
    """The call goes nowhere; `cause` says why, in both worlds' words."""

    def __init__(self, cause: Cause, reason: str, *, retry_after: int | None = None) -> None:
        super().__init__(reason)
        self.cause = cause
        self.retry_after = retry_after
        """Seconds after which it may be tried again, where that is known (RFC 3261 section 20.33)."""


@dataclass(frozen=True, slots=True)
class UserTarget:
    """A user of ours: every web page and every phone that stands for it rings."""

    user: User
    device: str | None = None
    """The one device that is meant, in the words of the SIP side (GRUU, RFC 5627), whatever the user's rules say."""


@dataclass(frozen=True, slots=True)
class SipTarget:
    """A SIP URI elsewhere, through a trunk when one is named."""

    uri: str
    trunk: str | None = None
    emergency: bool = False
    """Goes out however many calls there are."""
    account: str | None = None
    """Id of the user whose own account there it is called with; None: the trunk's."""


@dataclass(frozen=True, slots=True)
class ServiceTarget:
    """A built-in service of the media engine: "echo" or "tone"."""

    service: str


@dataclass(frozen=True, slots=True)
class ApplicationTarget:
    """A program in this process, by the name it has there."""

    name: str
    number: str
    """What was dialled, after stripping and prefix."""
    is_sent_on: bool = False
    """By another gateway, for this one to run it."""


VOICEMAIL = "voicemail"
"""Taking a message for a user is a program by the name `voicemail:USER`, hearing them `voicemail-listen:`."""
ROOM = "room"
"""Conference rooms are programs by the name `room:NAME`."""
AGENT = "agent"
"""Programs elsewhere that take calls over a WebSocket are programs by the name `agent:NAME`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomDoor:
    """Who may come into which room."""

    members: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Of the rooms that are not for everybody who may dial them: ids of users, "trunk:NAME"."""
    is_open: Callable[[str], bool] = lambda name: False
    """Whether a room of that name was opened for those who were told it: it can be dialled by its name."""
    has_number: Callable[[str], bool] = lambda number: False
    """Whether a user has opened a room of that number, which no route and no user has."""

    def admits(self, name: str, caller: Caller) -> bool:
        """Return whether the caller may come in."""
        wanted = self.members.get(name)
        return wanted is None or (not caller.guest and caller.id in wanted)


@dataclass(frozen=True, slots=True)
class Group:
    """Users who are called by one number."""

    name: str
    members: tuple[User, ...]
    in_turn: bool = False
    """One after the other; else all at once."""
    time: float = 20.0
    """Seconds that each of them, or all of them at once, may ring."""


@dataclass(frozen=True, slots=True)
class GroupTarget:
    """Somebody of a group."""

    group: Group


@dataclass(frozen=True, slots=True)
class FeatureTarget:
    """Something that the gateway does with calls or for the caller (see features.py)."""

    feature: str
    argument: str
    """What was dialled after the feature's own number; "" for nothing."""


Target = UserTarget | SipTarget | ServiceTarget | ApplicationTarget | GroupTarget | FeatureTarget


def somebody(target: Target) -> Target:
    """`target`, where a call can go on to it; raises RouteError for a feature: that is for who dials it alone."""
    if isinstance(target, FeatureTarget):
        raise RouteError(Cause.FORBIDDEN, f"no call goes on to the feature {target.feature}")
    return target


@dataclass(frozen=True, slots=True)
class Route:
    """One row: dialled user parts or whole URIs that match `match` go to `to`."""

    match: str
    """fnmatch pattern: "9*" and "sip:9*" for numbers, "sip:*@example.com" for whole URIs."""
    to: str
    """"service:echo", "user:alice", "trunk:NAME" or a "sip:" URI; "{user}" stands for what was dialled."""
    strip: int = 0
    """Leading characters of the user part that are not sent on ("9" for an outside line)."""
    prefix: str = ""
    """Put before the user part after stripping."""


class Directory(Protocol):
    """The identity map as routing sees it."""

    def find(self, uri_or_user: str) -> User | None:
        """The user that a SIP URI, an alias or a bare user part means."""


@filled_at_once
@dataclass(frozen=True, slots=True)
class Caller:
    """Who dials, and what that one may dial."""

    id: str
    """User id, "trunk:NAME", or a guest's peer id."""
    may_call: tuple[str, ...]
    """Patterns of what it may dial. "*" and its like mean everybody of ours; what leaves the gateway needs a pattern
    of numbers ("0*", "sip:*@example.com") or of trunks ("trunk:pbx", "trunk:*")."""
    transit: bool = True
    """Whether its calls may leave the gateway again; a trunk's may not, or strangers would dial out on our bill."""
    guest: bool = False
    """Has no account."""
    source: str = ""
    """IP address, where it is a guest."""
    account: str | None = None
    """The trunk at which it has an account of its own: what that may call there is for the trunk to say."""
    calls: str | None = None
    """Id of the user whom it calls whatever it dials: it came to the account that this user has at a trunk, or from
    another gateway."""
    device: str | None = None
    """The one device of that user, as `UserTarget` has it; None where no other gateway has sent the call on to it."""
    room: str | None = None
    """Number of the room that it calls whatever it dials: another gateway has sent it on to where that is."""

    @property
    def is_sent_on(self) -> bool:
        """Whether another gateway has sent its call on to a user who is here."""
        return self.device is not None

    @property
    def trunk(self) -> str | None:
        """Name of the trunk that its call comes from; None for users, guests and other gateways."""
        kind, _, name = self.id.partition(":")
        return name if kind == "trunk" and not self.transit else None

    def may_reach(self, meant: _Dialled) -> bool:
        """Whether it may dial that, as long as the call stays here."""
        return any(meant.matches(pattern) for pattern in self.may_call)

    def may_go_to(self, meant: _Dialled) -> bool:
        """Return whether a pattern of `may_call` names the foreign host of a URI; numbers and "sip:*@*" name none."""
        return self.transit and any(
            "@" in pattern and _names(without_port(pattern.rpartition("@")[2])) and meant.matches(pattern)
            for pattern in self.may_call
        )

    def may_leave(self, meant: _Dialled, trunk: str | None, *, is_ours: bool) -> bool:
        """Whether it may dial that through `trunk`, or to a URI elsewhere: only where it is said.

        `is_ours`: it names no other host than ours, so that only its number can say where it leads.
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
    """Return whether a pattern names numbers, or the host of a URI elsewhere.

    "*", "sip:*@*", "sip:*@*:5060" and everybody of ours do not.
    """
    name, _, host = pattern.partition("@")
    return _names(name.rpartition(":")[2]) or (not is_ours and _names(without_port(host)))


def _names(pattern: str) -> bool:
    """Return whether a pattern has a character that is no wildcard."""
    return bool(pattern.strip("*?.[]"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Emergency:
    """Numbers that anybody may dial at any time."""

    numbers: frozenset[str] = frozenset()
    trunk: str | None = None
    """Name of the trunk that they go through; None: they go where the routes lead."""


class Router:
    """Dialled string and caller in, one target out."""

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
        """`domains` are hosts that mean this gateway, in lower case; `trunks` are their names with every host, or
        host:port, that their numbers belong to.

        `devices` reads a URI that means one device: the URI of its user, and the device.
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
        """Decide as `other` does from now on."""
        self.__dict__.update(other.__dict__)

    def route(self, dialled: str, caller: Caller) -> Target:
        """Where a call goes.

        Raises RouteError: FORBIDDEN for what the caller may not dial (whoever it is, and whether there is anybody),
        NOT_FOUND for nobody.
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
                del target  # or its traceback would have this frame, and this frame it
        if isinstance(target, ApplicationTarget) and not self._admits(target, caller):
            raise RouteError(Cause.FORBIDDEN, f"{caller.id} is no member of {target.name}")
        return replace(target, device=device) if device and isinstance(target, UserTarget) else target

    def _is_nobodys(self, target: Target | RouteError, meant: _Dialled) -> bool:
        """Return whether a URI has a foreign host that no trunk by name, no route and no user of ours answers for."""
        if self._is_ours(meant.written) or self._named_trunk(meant.written) is not None:
            return False
        if isinstance(target, RouteError):
            return target.cause is Cause.NOT_FOUND
        return target == SipTarget(meant.user, trunk=self._trunk_of(meant.written))

    def addressed(self, uri: str, caller: Caller) -> str:
        """Return the Request-URI of what a trunk sent here, free of a host that nobody else answers for.

        A PBX names the gateway by its own name or domain. Hosts of other trunks, routes and users stay.
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
        """Return whether another trunk, a route or a user of ours answers for the host of a URI."""
        is_its_own = self._trunks.is_of(trunk, _place_of(meant.written))
        if not is_its_own and self._named_trunk(meant.written) is not None:
            return True
        if self._directory.find(meant.written) is not None:
            return True
        return any(meant.is_at(route.match) or meant.is_named_by(route.match) for route in self._routes)

    def is_emergency(self, dialled: str) -> bool:
        """Whether that is an emergency number, however it is written."""
        try:
            return self._is_emergency(_read(self._user_of(dialled)[0]))
        except RouteError:
            return False

    def is_free(self, number: str) -> bool:
        """Whether that number is nobody's, or the room's of the same name alone: a room may be opened by it."""
        if number in self._emergency.numbers:
            return False
        target = self._target(_read(number))
        if isinstance(target, RouteError):
            return target.cause is Cause.NOT_FOUND and not any(_read(number).matches(one.match) for one in self._routes)
        return isinstance(target, ApplicationTarget) and target.name == f"{ROOM}:{number}"

    def _user_of(self, dialled: str) -> tuple[str, str | None]:
        """The URI of the user where `dialled` means one of its devices, and which."""
        return self._devices(dialled) or (dialled, None)

    def _is_emergency(self, meant: _Dialled) -> bool:
        return meant.user in self._emergency.numbers and self._is_ours(meant.written)

    def _emergency_target(self, meant: _Dialled) -> Target:
        """Return the target of an emergency number, for every caller; raise RouteError where no way is known."""
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
        """The caller's own account takes what leads to its trunk, and the numbers that nobody here answers to."""
        if caller.account is None:
            return target
        if isinstance(target, SipTarget) and target.trunk == caller.account:
            return replace(target, account=caller.id)
        unknown = isinstance(target, RouteError) and target.cause is Cause.NOT_FOUND
        if unknown and self._is_ours(meant.written):
            return SipTarget(meant.user, trunk=caller.account, account=caller.id)
        return target

    def _target(self, meant: _Dialled) -> Target | RouteError:
        """Return the target of a URI or number, or the error, before rights are looked at.

        The host decides first: rows of numbers hold for our own domain and for numbers without a host.
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
        """The trunk whose number plan a URI belongs to: calling back who called through it."""
        named = self._named_trunk(uri)
        if named is not None or self._is_ours(uri):
            return named
        return self._trunks.addressed(_place_of(uri), self._domains)

    def _named_trunk(self, uri: str) -> str | None:
        """Return the trunk whose configured URI has the host of this one."""
        place = _place_of(uri)
        if place in self._domains:
            return None
        if plain(place) in self._domains:
            return self._trunks.exactly_at(place)
        return self._trunks.named(place)

    async def learn(self, uri: str) -> None:
        """Resolve a foreign host that a peer has named, which may be another name of a trunk."""
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
    """What a number does; hearing one's messages is a call to a program."""
    return ApplicationTarget(f"{VOICEMAIL}-listen:", dialled) if name == VOICEMAIL else FeatureTarget(name, dialled)


@dataclass(frozen=True, slots=True)
class _Dialled:
    """One dialled string in the one form that patterns are held against, however it was written."""

    user: str
    """Unescaped, a number without visual separators."""
    uri: str
    """Scheme, `user` and host, without parameters."""
    written: str
    """The same with the separators, which may belong to a user's name."""

    def matches(self, pattern: str) -> bool:
        """Against a whole URI where the pattern has a host, scheme and user where it has a scheme, else the user."""
        if "@" in pattern:
            return self.is_at(pattern)
        return fnmatchcase(self.user, pattern) or (":" in pattern and fnmatchcase(self.uri.partition("@")[0], pattern))

    def is_named_by(self, pattern: str) -> bool:
        """Return whether the pattern names its host, for any user; "*" names none."""
        host = _literal_address(pattern).rpartition("@")[2] if "@" in pattern else ""
        own = self.uri.rpartition("@")[2]
        return bool(host.strip("*?.")) and (fnmatchcase(own, host) or fnmatchcase(plain(own), host))

    def is_at(self, pattern: str) -> bool:
        """Against a pattern that has a host, with or without SIP's own port."""
        pattern = _literal_address(pattern)
        return "@" in pattern and (fnmatchcase(self.uri, pattern) or fnmatchcase(plain(self.uri), pattern))


@lru_cache(_REMEMBERED)
def _read(dialled: str) -> _Dialled:
    """What was dialled, free of parameters, passwords and needless escapes (RFC 3261 section 19.1.4).

    Escapes and separators must not lead past a pattern: "%300" and "0-0" are "00".
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
    """The "host:port" of a URI as `_read` writes it, "" for none."""
    return uri.rpartition("@")[2] if "@" in uri else ""


def allows(patterns: Sequence[str], dialled: str) -> bool:
    """Whether one of the patterns of what somebody may dial fits `dialled`."""
    try:
        meant = _read(dialled)
    except RouteError:
        return False
    return any(meant.matches(pattern) for pattern in patterns)


def at_host(host: str) -> tuple[str, str]:
    """Return patterns of every user at a host of a URI, without a port and with any, which match the host literally."""
    literal = escape(canonical(host))
    return f"*@{literal}", f"*@{literal}:*"


@lru_cache(_REMEMBERED)
def _literal_address(pattern: str) -> str:
    """A pattern whose host begins as an IPv6 address does, free of what fnmatch would read as a set of characters."""
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
