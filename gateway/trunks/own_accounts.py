"""Users' own SIP accounts: read at the start, changed by users and administrators, kept, and registered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from gateway.app import settings
from gateway.app.opening import Opening
from gateway.cluster.cluster import Cluster
from gateway.cluster.settings import shared_key
from gateway.config import Config
from gateway.identity.mapping import IdentityMap
from gateway.identity.store import IdentityStore, StoreError
from gateway.tasks import ended
from gateway.trunks.accounts import Account, Accounts
from gateway.trunks.registrations import Registrations
from gateway.trunks.shared_accounts import SharedAccounts
from gateway.trunks.vault import Vault, VaultError, read_key
from gateway.web.facade import AccountError
from gateway.web.limits import KeyedBuckets

log = structlog.get_logger(__name__)

_HOUR = 3600.0


class OwnAccounts:
    """What the facade asks about accounts (gateway.web.facade.Gateway)."""

    def __init__(
        self,
        config: Config,
        accounts: Accounts,
        registrations: Registrations,
        vault: Vault,
        clock: Callable[[], float],
        shared: SharedAccounts | None = None,
    ) -> None:
        """`shared` has them where this gateway is one of a cluster."""
        self._shared = shared
        self.config = config
        """In force now; another one after a reload."""
        self._accounts = accounts
        self._registrations = registrations
        self._vault = vault
        allowed = config.accounts.changes_per_hour
        self._changes = KeyedBuckets(allowed / _HOUR, allowed, clock)
        self._writing = asyncio.Lock()

    def listed(self) -> list[dict[str, Any]]:
        """Every account and how it stands."""
        return [self._shown(account) for account in self._accounts]

    @property
    def are_shared(self) -> bool:
        """Whether other gateways have the same ones."""
        return self._shared is not None

    def of(self, user: str) -> dict[str, Any] | None:
        account = self._accounts.of(user)
        return None if account is None else self._shown(account)

    def registrar_of(self, user: str) -> str | None:
        return self._accounts.registrar_of(user)

    def registrars(self, *, by_user: bool) -> list[str]:
        """Names of the registrars that an account may be at; none where users may not bring theirs."""
        return [] if by_user and not self.config.accounts.by_users else [trunk.name for trunk in self.config.registrars]

    async def put(self, user: str, given: dict[str, str | None], *, by_user: bool) -> dict[str, Any]:
        """Take a user's account in force, and keep it; raises AccountError."""
        self._may_change(user, by_user)
        registrar = self.config.registrar(given["registrar"] or "")
        if registrar is None:
            raise AccountError("There is no such registrar (accounts.registrars)", 404)
        words = {name: given.get(name) or "" for name in ("username", "auth_username", "display_name")}
        if not words["username"] or not all(word.isprintable() for word in words.values()):
            raise AccountError("The account has no name, or one with control characters", 400)
        account = Account(
            user=user,
            registrar=registrar.name,
            username=words["username"],
            password=given.get("password") or "",
            auth_username=words["auth_username"] or None,
            display_name=words["display_name"],
        )
        if account == self._accounts.of(user):
            return self._shown(account)  # a page that signs in again brings the same one
        if self._shared is None:
            self._accounts.put(account)
            self._registrations.put(account)
        else:
            await _done(self._shared.put(account))
        log.info("account", user=user, registrar=registrar.name, by="user" if by_user else "administrator")
        await self._write()
        return self._shown(account)

    async def remove(self, user: str, *, by_user: bool) -> bool:
        """Forget a user's account, and take it back from its registrar; False where there is none."""
        if self._accounts.of(user) is None:
            return False
        self._may_change(user, by_user)
        if self._shared is None:
            self._registrations.drop(user)
            self._accounts.remove(user)
        else:
            await _done(self._shared.remove(user))
        log.info("account removed", user=user, by="user" if by_user else "administrator")
        await self._write()
        return True

    def _may_change(self, user: str, by_user: bool) -> None:
        standing = self._accounts.of(user)
        if standing is not None and standing.configured:
            raise AccountError("The account is set in the gateway's configuration", 409)
        if by_user and not self.config.accounts.by_users:
            raise AccountError("Users may not bring accounts here (accounts.by_users)", 403)
        if by_user and not self._changes.take(user):
            raise AccountError("The account was changed too often (accounts.changes_per_hour)", 503)

    async def _write(self) -> None:
        async with self._writing:
            places = settings.registrar_places(self.config)
            try:
                await asyncio.to_thread(self._vault.write, list(self._accounts), places.get)
            except VaultError as error:
                log.error("accounts are not kept over a restart", reason=str(error))

    def _shown(self, account: Account) -> dict[str, Any]:
        elsewhere = None if self._shared is None else self._shared.stands(account.user)
        state, status = elsewhere or self._registrations.state(account.user)
        return {
            "user": account.user,
            "registrar": account.registrar,
            "username": account.username,
            "configured": account.configured,
            "state": state,
            "status": status,
        }


async def _done(change: Awaitable[None]) -> None:
    try:
        await change
    except StoreError as error:
        log.error("an account cannot be changed", reason=str(error))
        raise AccountError("The store does not answer", 503) from None


def open_own_accounts(
    opening: Opening,
    identity: IdentityMap,
    accounts: Accounts,
    registrations: Registrations,
    store: IdentityStore,
    cluster: Cluster,
) -> OwnAccounts:
    """Accounts as users change them, and in a cluster together with the other gateways. Raises ConfigError."""
    config, clock = opening.config, asyncio.get_running_loop().time
    vault = Vault(config.state_dir, read_key(config.state_dir, opening.random), opening.random)
    key = shared_key(config, "accounts")
    if key is None or not cluster.node:
        return OwnAccounts(config, accounts, registrations, vault, clock)
    shared = SharedAccounts(
        cluster,
        store,
        Vault(config.state_dir, key, opening.random),
        accounts,
        registrations,
        lambda: settings.registrar_places(opening.config),
        lambda user: identity.by_id(user) is not None,
        opening.wall_clock,
        config.cluster.interval,
    )
    opening.stack.callback(shared.close)
    opening.stack.push_async_callback(ended, asyncio.create_task(shared.run()))
    return OwnAccounts(config, accounts, registrations, vault, clock, shared)
