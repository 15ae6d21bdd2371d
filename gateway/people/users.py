"""Users and identities as administrators see and change them over /api; whoever is changed signs in anew."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import fields
from typing import Any, Protocol, TypeVar

import structlog

from gateway.call.registry import Calls
from gateway.call.rules import NO_RULES
from gateway.identity import passwords
from gateway.identity.directory import Directory, DirectoryError, Refusal
from gateway.identity.mapping import IdentityMap, read_address
from gateway.identity.model import User
from gateway.identity.store import IdentityStore, StoreError
from gateway.legs.web_clients import Presence
from gateway.people.messages import MessageStoreError
from gateway.web.facade import AccountError

log = structlog.get_logger(__name__)

_STATUS = {Refusal.UNKNOWN: 404, Refusal.CONFIGURED: 409, Refusal.TAKEN: 409, Refusal.INVALID: 400}
_Act = Callable[[str], Awaitable[None]]
T = TypeVar("T")
_SHOWN = tuple(field.name for field in fields(User))


class _OwnAccounts(Protocol):
    @property
    def are_shared(self) -> bool: ...

    async def remove(self, user: str, *, by_user: bool) -> bool: ...


class _Forgets(Protocol):
    async def forget(self, user: str) -> None: ...


class _Rooms(_Forgets, Protocol):
    def has_number(self, number: str) -> bool: ...

    async def look(self, now: float) -> int: ...


class Users:
    """What the facade asks (gateway.web.facade.UserDirectory)."""

    def __init__(
        self,
        directory: Directory,
        identity: IdentityMap,
        store: IdentityStore,
        presence: Presence,
        calls: Calls,
        accounts: _OwnAccounts,
        courier: _Forgets,
        voicemail: _Forgets,
        links: _Forgets | None,
        random: Callable[[int], bytes],
        rooms: _Rooms,
    ) -> None:
        self._directory = directory
        self._identity = identity
        self._store = store
        self._presence = presence
        self._calls = calls
        self._accounts = accounts
        self._random = random
        self._rooms = rooms
        self._forgetting: dict[str, _Act] = {"bindings": self._unbind}
        if links is not None:
            self._forgetting["links"] = links.forget
        self._forgetting |= {
            "rooms": rooms.forget,
            "messages": courier.forget,
            "voicemail": voicemail.forget,
            "account": self._drop_account,
        }
        """What there is to do when a user is no more, the phones first."""
        self._owed: dict[str, list[str]] = {}
        """What of it is not done yet, by user id."""

    async def listed(self) -> list[dict[str, Any]]:
        return [await self._shown(user) for user in self._identity.users]

    async def shown(self, user_id: str) -> dict[str, Any] | None:
        user = self._identity.by_id(user_id)
        return None if user is None else await self._shown(user)

    async def make(self, values: dict[str, Any]) -> dict[str, Any]:
        password, made = values.pop("password"), None
        if password == passwords.AUTO:
            password = made = passwords.new_password(self._random)
        user = User(**values)
        await self._done(self.look(time.time()))
        if user.id in self._owed:
            raise AccountError("Not everything of the former user of that name is removed yet", 503)
        await self._check_rooms(user.id)
        await self._done(self._directory.make_user(user, password))
        self._signed_out(user.id)  # a guest of that name
        shown = await self._shown(self._identity.by_id(user.id) or user)
        return shown if made is None else shown | {"password": made}

    async def change(self, user_id: str, values: dict[str, Any]) -> dict[str, Any]:
        keep = "password" not in values
        password, made = values.pop("password", None), None
        if password == passwords.AUTO:
            password = made = passwords.new_password(self._random)
        before, user = await self._done(self._directory.change_user(user_id, values, password, keep_password=keep))
        self._signed_out(user_id)
        if before.sip and not user.sip:
            self._owe(user_id, ["bindings"])
            await self._forget((user_id,))
        shown = await self._shown(self._identity.by_id(user_id) or user)
        return shown if made is None else shown | {"password": made}

    async def remove(self, user_id: str) -> None:
        await self._done(self._directory.remove_user(user_id))
        self._end_gone()
        await self._forget((user_id,))

    def identities(self) -> list[dict[str, Any]]:
        return [
            {"uri": uri, "user": user, "configured": configured}
            for uri, user, configured in self._directory.identities()
        ]

    def identity_of(self, uri: str) -> dict[str, Any] | None:
        user = self._identity.find(uri)
        if user is None:
            return None
        known = self._canonical(uri)
        made = any(one == known for one, _, configured in self._directory.identities() if not configured)
        return {"uri": known, "user": user.id, "configured": not made}

    async def set_identity(self, uri: str, user_id: str) -> dict[str, Any]:
        uri = self._canonical(uri)
        await self._check_rooms(uri)
        await self._done(self._directory.put_identity(uri, user_id))
        return {"uri": uri, "user": user_id, "configured": False}

    async def remove_identity(self, uri: str) -> None:
        await self._done(self._directory.remove_identity(uri))

    async def look(self, now: float) -> int:
        """Take in what other gateways of the same store have changed; how many users are others now.

        What is left of users who are no more is tried again.
        """
        changed = await self._directory.load()
        for user_id in changed:
            self._signed_out(user_id)
        self._end_gone()
        await self._forget(tuple(self._owed))
        return len(changed)

    async def _check_rooms(self, name: str) -> None:
        """Whoever was invited to a room that is open by that number would ring somebody else."""
        await self._done(self._rooms.look(time.time()))
        address = read_address(name)
        number = "" if address is None else address.user
        if self._rooms.has_number(number) and self._canonical(number) == self._canonical(name):
            raise AccountError("There is a room of that number; close it first", 409)

    def _canonical(self, uri: str) -> str:
        try:
            return self._directory.canonical(uri)
        except DirectoryError as error:
            raise AccountError(str(error), _STATUS[error.refusal]) from None

    async def _done(self, change: Awaitable[T]) -> T:
        try:
            return await change
        except DirectoryError as error:
            raise AccountError(str(error), _STATUS[error.refusal]) from None
        except StoreError as error:
            log.error("the directory cannot be changed", reason=str(error))
            raise AccountError("The store does not answer", 503) from None

    def _signed_out(self, user_id: str) -> None:
        for channel in self._presence.channels(user_id):
            channel.signed_out()

    def _end_gone(self) -> None:
        """Nothing of a user that is no more goes to whoever has the same id next."""
        for user_id in self._directory.take_gone():
            self._signed_out(user_id)
            for call in self._calls:
                if any(leg.identity == user_id for leg in call.legs):
                    call.stop()
            self._calls.rules.put(user_id, NO_RULES)
            is_somebody = self._identity.by_id(user_id) is not None
            # Made again elsewhere: the phones of the store are the new one's, and an account that all have.
            theirs = ("bindings", *(("account",) if self._accounts.are_shared else ())) if is_somebody else ()
            self._owe(user_id, [act for act in self._forgetting if act not in theirs])

    def _owe(self, user_id: str, acts: list[str]) -> None:
        self._owed[user_id] = list(dict.fromkeys([*acts, *self._owed.get(user_id, ())]))

    async def _forget(self, users: Iterable[str]) -> None:
        """Do what is owed; what fails is left for the next look."""
        for user_id in users:
            for act in tuple(self._owed.get(user_id, ())):
                try:
                    await self._forgetting[act](user_id)
                except (StoreError, MessageStoreError, AccountError, OSError) as error:
                    log.error("something of a removed user is left", user=user_id, what=act, reason=str(error))
                    continue
                left = [one for one in self._owed.pop(user_id, ()) if one != act]
                if left:
                    self._owed[user_id] = left

    async def _unbind(self, user_id: str) -> None:
        await self._store.remove_all(self._identity.aor(User(user_id)))

    async def _drop_account(self, user_id: str) -> None:
        await self._accounts.remove(user_id, by_user=False)

    async def _shown(self, user: User) -> dict[str, Any]:
        return {name: getattr(user, name) for name in _SHOWN} | {
            "configured": self._directory.is_configured(user.id),
            "pages": len(self._presence.channels(user.id)),
            "phones": await self._phones(user),
        }

    async def _phones(self, user: User) -> int:
        if not user.sip:
            return 0
        try:
            return len(await self._store.bindings(self._identity.aor(user), time.time()))
        except StoreError:
            return 0  # the log says so; whoever looks at this wants to see the rest
