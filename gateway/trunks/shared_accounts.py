"""Users' own accounts in a cluster: kept in its store, sealed, and each registered by one of the gateways.

Which one that is stands in the store as a binding of `account:USER`, which is changed only as it was read. It counts
for as long as that gateway is there; another one takes the account over afterwards.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

import structlog

from gateway.identity.model import Binding
from gateway.identity.store import IdentityStore, StoreError
from gateway.repeated import Repeated
from gateway.trunks.accounts import Account, Accounts
from gateway.trunks.registrations import Registrations
from gateway.trunks.vault import Vault

log = structlog.get_logger(__name__)

_ENTRY, _KEPT = "account:", "accounts"
"""Names of the entries of the store: of each account, and of the one that says that there may be some."""
_STANDS = 3_600.0
"""Seconds that a binding stands without being written again."""
_LOOKED_AT = 100
"""Accounts whose binding is read again at each look, though nothing speaks for a change."""


class Peers(Protocol):
    """The gateways of the cluster (gateway.cluster.cluster)."""

    node: str

    @property
    def live(self) -> Collection[str]: ...

    @property
    def is_open(self) -> bool:
        """Whether the others see us."""

    async def opened(self) -> object:
        """Wait until they do."""


class SharedAccounts:
    """Takes in what others have changed, tells them what is changed here, and has ours registered."""

    def __init__(
        self,
        peers: Peers,
        store: IdentityStore,
        vault: Vault,
        accounts: Accounts,
        registrations: Registrations,
        places: Callable[[], Mapping[str, str]],
        is_user: Callable[[str], bool],
        clock: Callable[[], float],
        interval: float,
    ) -> None:
        """`vault` seals under the key of the cluster; `places` as `Vault.seal` has it, in force now; `clock` gives
        Unix seconds; `interval`: seconds between two looks. `accounts` has what a file of this gateway kept.
        """
        self._peers = peers
        self._store = store
        self._vault = vault
        self._accounts = accounts
        self._registrations = registrations
        self._places = places
        self._is_user = is_user
        self._clock = clock
        self._interval = interval
        self._texts: dict[str, str] = {}
        """What the store had for each user when we last looked."""
        self._known_places: Mapping[str, str] = {}
        self._holders: dict[str, Binding] = {}
        """Of each account the gateway that registers it, and how it stands there."""
        self._taken: dict[str, str] = {}
        """Of each account that we have taken over, from which gateway."""
        self._turns: deque[str] = deque()
        self._began = False
        self._changing = asyncio.Lock()
        accounts.ours = set()

    async def run(self) -> None:
        """Look every few seconds, from when the others see us until they do no more."""
        await self._peers.opened()
        # While the store is away what is registered stays so; whoever else thinks that we are gone cannot write it down
        # either.
        away, failed = "accounts of other gateways cannot be seen", "looking for accounts of other gateways failed"
        look = Repeated(self.look, StoreError, away=away, failed=failed)
        while self._peers.is_open:
            await look.once()
            await asyncio.sleep(self._interval)
        # Calls are drained: new ones are the others', who take the accounts over.
        async with self._changing:
            for user in tuple(self._ours) if self._peers.live else ():
                self._hold(user, False)

    def close(self) -> None:
        """What is registered here at the end is the others', if there are any."""
        if self._peers.live:
            self._registrations.leave(self._ours)

    async def look(self) -> None:
        """Have in force what the store holds, and register what is ours. Raises StoreError."""
        async with self._changing:
            await self._take_in(await self._store.entries())
            users = [account.user for account in self._accounts]
            if len(self._turns) < len(users):
                self._turns.extend(users)
            again = {self._turns.popleft() for _ in range(min(_LOOKED_AT, len(self._turns)))}
            there = {self._peers.node, *self._peers.live}
            for user in users:
                holder = self._holders.get(user)
                if user in again or holder is None or holder.contact not in there or self._tells_news(user, holder):
                    await self._settle(user)
            # Who is there again has registered all the time, in place of us, and takes nothing back.
            back = [user for user, node in self._taken.items() if node in there]
            self._registrations.hurry_accounts(back)
            for user in back:
                del self._taken[user]

    async def put(self, account: Account) -> None:
        """Keep an account for all, and register it, unless another gateway does. Raises StoreError."""
        async with self._changing:
            if not self._began:
                await self._take_in(await self._store.entries())
            # Whose it is stands there before the account does: whoever finds that takes it for its own else.
            await self._settle(account.user)
            await self._write(account)
            self._accounts.put(account)
            if account.user in self._ours:
                self._registrations.put(account)

    async def remove(self, user: str) -> None:
        """Forget an account, wherever it is registered. Raises StoreError."""
        async with self._changing:
            await self._store.put_entry(_ENTRY + user, None)
            self._texts.pop(user, None)
            self._forget(user)

    def stands(self, user: str) -> tuple[str, int] | None:
        """State and status of an account as the gateway says that registers it; None where that is this one."""
        holder = self._holders.get(user)
        if holder is None or holder.contact == self._peers.node:
            return None
        return holder.user_agent, holder.cseq

    async def _take_in(self, entries: Mapping[str, str]) -> None:
        if _KEPT not in entries:
            # A store that is new, or has lost what it had.
            if self._began:
                log.warning("accounts had gone from the store and were put back")
            for account in self._accounts:
                await self._write(account)
            await self._store.put_entry(_KEPT, "1")
            self._began = True
            return
        self._began = True
        texts = {name.removeprefix(_ENTRY): text for name, text in entries.items() if name.startswith(_ENTRY)}
        places = self._places()
        before = self._texts if places == self._known_places else {}
        self._known_places = places
        for user, text in texts.items():
            if text != before.get(user):
                self._take(self._vault.opened(user, text, places.get) if self._is_user(user) else None)
        for account in self._accounts:
            if not account.configured and account.user not in texts:
                self._forget(account.user)
        self._texts = {user: text for user, text in texts.items() if self._is_user(user)}

    def _take(self, account: Account | None) -> None:
        known = None if account is None else self._accounts.of(account.user)
        if account is not None and account != known and (known is None or not known.configured):
            self._accounts.put(account)
            self._registrations.put(account)

    def _forget(self, user: str) -> None:
        self._accounts.remove(user)
        self._ours.discard(user)
        self._holders.pop(user, None)
        self._taken.pop(user, None)
        self._registrations.drop(user)

    async def _write(self, account: Account) -> None:
        if account.configured:
            return
        text = self._vault.sealed(account, self._places().get)
        await self._store.put_entry(_ENTRY + account.user, text)
        await self._store.put_entry(_KEPT, "1")
        self._texts[account.user] = text

    @property
    def _ours(self) -> set[str]:
        assert self._accounts.ours is not None
        return self._accounts.ours

    def _tells_news(self, user: str, holder: Binding) -> bool:
        """Whether what the others read of one of ours is not how it stands, or ends soon."""
        if holder.contact != self._peers.node:
            return False
        said = (holder.user_agent, holder.cseq)
        return said != self._registrations.state(user) or holder.expires_at - self._clock() < _STANDS / 2

    async def _settle(self, user: str) -> None:
        """Know whose an account is, and take it where its gateway is not there."""
        aor, now = _ENTRY + user, self._clock()
        found = await self._store.bindings(aor, now)
        holder = next(iter(found), None)
        is_ours = holder is not None and holder.contact == self._peers.node
        if holder is None or is_ours or holder.contact not in self._peers.live:
            if holder is None or not is_ours or self._tells_news(user, holder):
                state, status = self._registrations.state(user)
                mine = Binding(aor, self._peers.node, now + _STANDS, cseq=status, user_agent=state)
                others = [one for one in found if one.contact != mine.contact]
                if not await self._store.change_bindings(aor, found, others, [mine], now):
                    return  # somebody was quicker: who that was shows at the next look
                if holder is not None and not is_ours:
                    log.info("an account is taken over", user=user, node=holder.contact)
                    self._taken[user] = holder.contact
                holder = mine
            is_ours = True
        self._holders[user] = holder
        self._hold(user, is_ours)

    def _hold(self, user: str, is_ours: bool) -> None:
        if is_ours == (user in self._ours):
            return
        if is_ours:
            self._ours.add(user)
            if (account := self._accounts.of(user)) is not None:
                self._registrations.put(account)
        else:
            self._ours.discard(user)
            self._taken.pop(user, None)
            self._registrations.drop(user, is_others=True)
