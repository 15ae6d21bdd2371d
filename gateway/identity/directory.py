"""Users and identities created by administrators, in addition to the configuration: one store, one effective map."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from typing import Any
from urllib.parse import quote

import structlog
from pydantic import TypeAdapter

from gateway.errors import ConfigError, GatewayError
from gateway.identity import passwords
from gateway.identity.mapping import USER_SAFE, IdentityMap, Rule, read_address
from gateway.identity.model import Credential, User, fold
from gateway.identity.store import IdentityStore, StoreError

log = structlog.get_logger(__name__)

_USER_VALUES, _DIGESTS = TypeAdapter(User), TypeAdapter(dict[str, str])
_USER, _IDENTITY, _REVISION = "user:", "identity:", "revision"
_CHANGED_HERE = "changed here"
"""Placeholder instead of a revision: another gateway may have changed the store as well, so it is read again."""


class Refusal(Enum):
    """Reasons to reject a change of the directory."""

    UNKNOWN = "there is none"
    CONFIGURED = "set in the gateway's configuration"
    TAKEN = "the name is somebody's"
    INVALID = "not a name"


class DirectoryError(GatewayError):
    """Rejected change; the sentence is for the requester."""

    def __init__(self, refusal: Refusal, reason: str) -> None:
        super().__init__(reason)
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Made:
    """User created by an administrator."""

    user: User
    credential: Credential
    born: str
    """Token that distinguishes the user from earlier users with an equal id."""


@dataclass(frozen=True, slots=True)
class _State:
    users: dict[str, Made] = field(default_factory=dict)
    identities: dict[str, str] = field(default_factory=dict)
    """Canonical URI -> user id."""


class Directory:
    """Users and identities in force; changes by other gateways of the store take effect at the next `load`."""

    def __init__(self, identity: IdentityMap, store: IdentityStore, realm: str, new_token: Callable[[], str]) -> None:
        """`identity` knows the configured users; from now on only the directory changes `identity`."""
        self._identity = identity
        self._configured = {user.id: user for user in identity.users}
        self._store = store
        self._realm = realm
        self._new_token = new_token
        self._state = _State()
        self._revision = ""
        self._news: set[str] = set()
        self._removed: set[str] = set()
        self._unsettled: set[str] = set()
        """Users with an uncertain credential in the store, after a failure in the middle of a change."""
        self._changing = asyncio.Lock()

    async def configure(self, users: Sequence[User], rules: Sequence[Rule]) -> None:
        """Apply the configured users and rules. Raise ConfigError if they contradict each other, StoreError.

        Entries of administrators that contradict the configuration are inactive until the contradiction ends. After an
        error the previous state stays in force. The caller stores credentials of configured users.
        """
        async with self._changing:
            before = self._configured
            self._configured = {user.id: user for user in users}
            try:
                self._identity.with_users(users, rules)
                self._news |= await self._take(self._fitting(self._state, rules), rules)
            except (ConfigError, StoreError):
                self._configured = before
                raise
            self._revision = _CHANGED_HERE

    def credential(self, user_id: str) -> Credential | None:
        """Return the credential of an active user created by an administrator."""
        made = self._state.users.get(user_id)
        return None if made is None else made.credential

    def is_configured(self, user_id: str) -> bool:
        """Return True if the user is configured, and so can be changed only in the configuration."""
        return user_id in self._configured

    def mark(self, user_id: str) -> str:
        """Return a text that distinguishes consecutive users with an equal id; "" for configured users."""
        return _born(self._state, user_id)

    def identities(self) -> list[tuple[str, str, bool]]:
        """Return URI, user id and origin (True: configuration) of every alias."""
        configured = [
            (self.canonical(alias), user.id, True) for user in self._configured.values() for alias in user.aliases
        ]
        return configured + [(uri, user, False) for uri, user in self._state.identities.items()]

    def canonical(self, uri: str) -> str:
        """Return "sip:user@host" for a URI, a telephone number or a user part. Raise DirectoryError."""
        address = read_address(uri)
        if address is None:
            raise DirectoryError(Refusal.INVALID, "It is neither a SIP URI nor a user part")
        return f"sip:{quote(address.user, safe=USER_SAFE)}@{address.host or self._identity.domain}"

    async def load(self) -> frozenset[str]:
        """Apply the store's content; return ids of changed or removed users. Raise StoreError."""
        async with self._changing:
            entries = await self._store.entries()
            if entries.get(_REVISION, "") != self._revision:
                await self._take_in(entries)
            news, self._news = frozenset(self._news), set()
            return news

    def take_gone(self) -> frozenset[str]:
        """Return ids of users removed since the last call, here or elsewhere; a new user may have such an id by now."""
        removed, self._removed = frozenset(self._removed), set()
        return removed

    async def make_user(self, user: User, password: str | None) -> None:
        """Create a user; aliases are added by `put_identity`. Raise DirectoryError, StoreError.

        `password` None: no password; sign-in only by other means.
        """
        async with self._change():
            if self._is_somebody(user.id):
                raise DirectoryError(Refusal.TAKEN, "There is a user or an identity of that name")
            credential = self._credential(user.id, password)
            await self._put(Made(replace(user, aliases=()), credential, self._new_token()), new=True)

    async def change_user(
        self, user_id: str, values: Mapping[str, Any], password: str | None = None, *, keep_password: bool
    ) -> tuple[User, User]:
        """Change fields of a user; return the previous and the new user. Raise DirectoryError, StoreError.

        `password`: as in `make_user`. `keep_password`: ignore `password` and keep the present one.
        """
        async with self._change():
            before = self._made(user_id)
            user = replace(before.user, **values)
            if not user.web and not user.sip:
                raise DirectoryError(Refusal.INVALID, "Neither web nor sip is true, so nobody could ever be this user")
            credential = before.credential if keep_password else self._credential(user_id, password)
            await self._put(replace(before, user=user, credential=credential), new=False)
            return before.user, user

    async def _put(self, made: Made, *, new: bool) -> None:
        state = replace(self._state, users={**self._state.users, made.user.id: made})
        self._check(state)
        self._revision = _CHANGED_HERE
        if not await self._store.put_entry(_USER + made.user.id, _written(made), new=new):
            raise DirectoryError(Refusal.TAKEN, "There is a user of that name")
        await self._done(state)

    def _credential(self, user_id: str, password: str | None) -> Credential:
        digests = {} if password is None else passwords.ha1(user_id, self._realm, password)
        return Credential(user_id, self._realm, digests)

    async def remove_user(self, user_id: str) -> None:
        """Remove a user and its identities. Raise DirectoryError, StoreError."""
        async with self._change():
            self._made(user_id)
            mine = [uri for uri, owner in self._state.identities.items() if owner == user_id]
            state = _State(
                {name: made for name, made in self._state.users.items() if name != user_id},
                {uri: owner for uri, owner in self._state.identities.items() if owner != user_id},
            )
            self._revision = _CHANGED_HERE
            await self._store.put_entry(_USER + user_id, None)
            for uri in mine:
                await self._store.put_entry(_IDENTITY + uri, None)
            await self._done(state)

    async def put_identity(self, uri: str, user_id: str) -> str:
        """Assign `uri` to a user; return the canonical form. Raise DirectoryError, StoreError."""
        async with self._change():
            uri = self.canonical(uri)
            if self._identity.by_id(user_id) is None:
                raise DirectoryError(Refusal.UNKNOWN, "There is no such user")
            if self._is_configured_identity(uri):
                raise DirectoryError(Refusal.CONFIGURED, "The identity is set in the gateway's configuration")
            state = replace(self._state, identities={**self._state.identities, uri: user_id})
            self._check(state)
            self._revision = _CHANGED_HERE
            await self._store.put_entry(_IDENTITY + uri, user_id)
            await self._done(state)
            return uri

    async def remove_identity(self, uri: str) -> None:
        """Remove an identity. Raise DirectoryError, StoreError."""
        async with self._change():
            uri = self.canonical(uri)
            if self._is_configured_identity(uri):
                raise DirectoryError(Refusal.CONFIGURED, "The identity is set in the gateway's configuration")
            if uri not in self._state.identities:
                raise DirectoryError(Refusal.UNKNOWN, "There is no such identity")
            left = {name: owner for name, owner in self._state.identities.items() if name != uri}
            self._revision = _CHANGED_HERE
            await self._store.put_entry(_IDENTITY + uri, None)
            await self._done(replace(self._state, identities=left))

    def _made(self, user_id: str) -> Made:
        if user_id in self._configured:
            raise DirectoryError(Refusal.CONFIGURED, "The user is set in the gateway's configuration")
        made = self._state.users.get(user_id)
        if made is None:
            raise DirectoryError(Refusal.UNKNOWN, "There is no such user")
        return made

    def _is_somebody(self, user_id: str) -> bool:
        """Return True if the name is taken, ignoring case and width of letters."""
        if self.canonical(user_id) in (uri for uri, _, _ in self.identities()):
            return True
        return fold(user_id) in {fold(user.id) for user in self._identity.users}

    def _is_configured_identity(self, uri: str) -> bool:
        return any(uri == one for one, _, configured in self.identities() if configured)

    def _users_of(self, state: _State) -> list[User]:
        given: dict[str, list[str]] = {}
        for uri, owner in state.identities.items():
            given.setdefault(owner, []).append(uri)
        every = [*self._configured.values(), *(made.user for made in state.users.values())]
        return [replace(user, aliases=(*user.aliases, *given.get(user.id, ()))) for user in every]

    def _check(self, state: _State, rules: Sequence[Rule] | None = None) -> None:
        try:
            self._identity.with_users(self._users_of(state), rules)
        except ConfigError as error:
            raise DirectoryError(Refusal.TAKEN, error.reason) from None

    def _fitting(self, state: _State, rules: Sequence[Rule] | None = None) -> _State:
        """Return the stored entries that do not contradict the changed configuration."""
        try:
            self._check(state, rules)
            return state
        except DirectoryError:
            fits = _State()
        for name, made in state.users.items():
            grown = replace(fits, users={**fits.users, name: made})
            fits = grown if self._fits(grown, name, rules) else fits
        for uri, owner in state.identities.items():
            grown = replace(fits, identities={**fits.identities, uri: owner})
            fits = grown if self._fits(grown, uri, rules) else fits
        return fits

    def _fits(self, state: _State, name: str, rules: Sequence[Rule] | None) -> bool:
        try:
            self._check(state, rules)
        except DirectoryError as error:
            log.warning("an entry of the directory is not in force", name=name, reason=str(error))
            return False
        return True

    @asynccontextmanager
    async def _change(self) -> AsyncIterator[None]:
        """Run one change at a time on the store's present content, which other gateways may have changed."""
        async with self._changing:
            await self._take_in(await self._store.entries())
            yield

    async def _take_in(self, entries: Mapping[str, str]) -> None:
        revision = entries.get(_REVISION, "")
        if self._revision and not revision:
            log.warning("the directory had gone from the store and was put back")
            await self._put_back()
        else:
            self._news |= await self._take(self._fitting(_read(entries, self._realm)))
            self._revision = revision

    async def _done(self, state: _State) -> None:
        """Announce a stored change to the other gateways, and apply the change here."""
        await self._store.put_entry(_REVISION, self._new_token())
        await self._take(state)

    async def _take(self, state: _State, rules: Sequence[Rule] | None = None) -> frozenset[str]:
        before = self._state
        changed = {name for name in {*before.users, *state.users} if before.users.get(name) != state.users.get(name)}
        changed |= self._unsettled
        self._unsettled |= changed
        for name in changed - self._configured.keys():
            made = state.users.get(name)
            credential = made.credential if made is not None else Credential(name, self._realm)
            await self._store.put_credential(credential)
        self._removed |= {name for name, made in before.users.items() if _born(state, name) != made.born}
        self._state = state
        self._unsettled.clear()
        self._identity.change(self._users_of(state), rules)
        return frozenset(changed)

    async def _put_back(self) -> None:
        for name, made in self._state.users.items():
            await self._store.put_entry(_USER + name, _written(made))
            await self._store.put_credential(made.credential)
        for uri, owner in self._state.identities.items():
            await self._store.put_entry(_IDENTITY + uri, owner)
        revision = self._new_token()
        await self._store.put_entry(_REVISION, revision)
        self._revision = revision


def _born(state: _State, user_id: str) -> str:
    made = state.users.get(user_id)
    return "" if made is None else made.born


def _written(made: Made) -> str:
    user = asdict(made.user)
    del user["aliases"]
    return json.dumps({"user": user, "ha1": made.credential.ha1, "born": made.born})


def _read(entries: Mapping[str, str], realm: str) -> _State:
    state = _State()
    for name, text in sorted(entries.items()):
        if name.startswith(_USER):
            made = _made_of(text, realm)
            if made is None or _USER + made.user.id != name:
                log.warning("an entry of the directory cannot be read", name=name)
            else:
                state.users[made.user.id] = made
        elif name.startswith(_IDENTITY):
            state.identities[name.removeprefix(_IDENTITY)] = text
    return state


def _made_of(text: str, realm: str) -> Made | None:
    try:
        kept = json.loads(text)
        user = _USER_VALUES.validate_python(kept["user"])
        digests = _DIGESTS.validate_python(kept["ha1"], strict=True)
        return Made(user, Credential(user.id, realm, digests), str(kept["born"]))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
