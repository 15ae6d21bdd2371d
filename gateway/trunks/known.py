"""Trunks as accounts: where their calls come from, what they sign with, and where we are registered with them."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from gateway.sip.flow import Flow

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

REMEMBERED_SOURCES = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TrunkAccount:
    """One trunk, as far as it concerns who calls."""

    name: str
    sources: tuple[Network, ...] = ()
    """Networks its calls come from; they need no digest."""
    hosts: tuple[str, ...] = ()
    """Hosts of its URIs, names or addresses, as RFC 5952 writes them."""
    username: str | None = None
    """The account at the trunk; where the trunk signs its calls to us, it signs them with the same."""
    ha1: Mapping[str, str] = field(default_factory=dict, repr=False)
    """HA1 of that account in our realm, by algorithm; empty where the trunk has no password."""
    admits_registered: bool = False
    """Whether calls from where the trunk's registrar is are the trunk's, as long as we are registered there."""


class Trunks:
    """Tells whose call comes in: by source, by the registrar we are registered at, by account."""

    def __init__(
        self, accounts: Iterable[TrunkAccount], addresses: Callable[[str], Collection[str]] = lambda host: ()
    ) -> None:
        """`addresses` gives the IP addresses to which a host name has led last."""
        self._addresses = addresses
        self._registered: dict[str, frozenset[str]] = {}
        self._accounts_at: dict[str, tuple[str, frozenset[str]]] = {}
        self.change(accounts)

    def change(self, accounts: Iterable[TrunkAccount]) -> None:
        """Know these trunks from now on; where we are registered is told by `registered`, as ever."""
        self._accounts = tuple(accounts)
        self._by_username = {one.username: one for one in self._accounts if one.username is not None and one.ha1}
        self._admitting = {one.name for one in self._accounts if one.admits_registered}
        self._known: OrderedDict[str, tuple[TrunkAccount, ...]] = OrderedDict()

    def registered(self, trunk: str, hosts: Iterable[str]) -> None:
        """We are registered at `trunk`, whose registrar answers at these addresses; none: not any more."""
        self._registered[trunk] = frozenset(hosts)

    def account_registered(self, contact: str, trunk: str, hosts: Iterable[str]) -> None:
        """A user's own account is registered at `trunk` under `contact`, from these addresses; none: not any more."""
        self._accounts_at.pop(contact, None)
        if found := frozenset(hosts):
            self._accounts_at[contact] = (trunk, found)

    def of_account(self, source: Flow, contact: str | None) -> str | None:
        """The trunk that calls from there for the account of that contact; None: for any, as in a dialog of its."""
        if contact is not None:
            trunk, hosts = self._accounts_at.get(contact, (None, frozenset()))
            return trunk if source.host in hosts else None
        return next((trunk for trunk, hosts in self._accounts_at.values() if source.host in hosts), None)

    def by_source(self, source: Flow, called: str | None = None) -> str | None:
        """The trunk whose calls come from there without digest: `sources` first, then where we are registered.

        Several accounts at one provider share its sources: there it is the one whose account is `called`, else the
        first.
        """
        host = source.host
        named = self._at(host)
        if named:
            return next((one.name for one in named if called and one.username == called), named[0].name)
        return next(
            (name for name, hosts in self._registered.items() if name in self._admitting and host in hosts), None
        )

    def placed_at(self, source: Flow) -> str | None:
        """Return the trunk that has a URI with that address; what comes from there is still to be proved."""
        return next(
            (
                one.name
                for one in self._accounts
                if any(source.host == host or source.host in self._addresses(host) for host in one.hosts)
            ),
            None,
        )

    def speaks_for(self, trunk: str, source: Flow) -> bool:
        """Whether what comes from there needs no more proof to be of that trunk."""
        return any(one.name == trunk for one in self._at(source.host)) or (
            trunk in self._admitting and source.host in self._registered.get(trunk, ())
        )

    def are_one(self, source: Flow, other: Flow) -> bool:
        """Whether both places are of one trunk."""
        names = {one.name for one in self._at(source.host)} | self._admitting
        return any(self.speaks_for(name, source) and self.speaks_for(name, other) for name in names)

    def _at(self, host: str) -> tuple[TrunkAccount, ...]:
        """The trunks that have the address among their `sources`, as they are configured."""
        known = self._known.get(host)
        if known is None:
            known = self._known[host] = self._named(host)
            if len(self._known) > REMEMBERED_SOURCES:
                self._known.popitem(last=False)
        return known

    def _named(self, host: str) -> tuple[TrunkAccount, ...]:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return ()
        return tuple(
            account
            for account in self._accounts
            if any(address.version == network.version and address in network for network in account.sources)
        )

    def by_username(self, username: str) -> tuple[str, Mapping[str, str]] | None:
        """The trunk that signs with this account, and its HA1 by algorithm."""
        account = self._by_username.get(username)
        return (account.name, account.ha1) if account is not None else None
