"""Users' own SIP accounts at a PBX: whose each is, and under which name the PBX calls us for it.

An account is registered under a Contact of its own, which nobody can guess and which stays the same over a restart,
so that a PBX that keeps one contact an account does not refuse the next registration.
"""

from __future__ import annotations

import hashlib
import hmac
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.sip.auth.account import Credentials
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.uri import Uri


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One user's account at one registrar."""

    user: str
    """Id of the user whose it is."""
    registrar: str
    """Name of a listed registrar."""
    username: str
    """User part of its address."""
    password: str = field(repr=False)
    auth_username: str | None = None
    """Digest user name where that is another one."""
    display_name: str = ""
    configured: bool = False
    """Given by the configuration, so that it is changed there only."""

    @property
    def credentials(self) -> Credentials:
        return Credentials(self.auth_username or self.username, self.password)

    def address(self, registrar: Uri) -> NameAddr:
        """Its address of record at the registrar of that URI."""
        return NameAddr(Uri.of(self.username, registrar.host, registrar.port), self.display_name)


class Accounts:
    """The accounts in force, one a user."""

    def __init__(self, key: bytes, own: bytes | None = None) -> None:
        """`key`: at least 16 secret bytes, the same after a restart; the contacts are made of it.

        `own`: such bytes of this gateway alone, where `key` is that of its cluster.
        """
        self._key = key
        self.instance, self.gateway_instance = _instance(key), _instance(own or key)
        """By what registrars know that an account is registered anew, by any gateway of a cluster, and by what trunks
        tell this gateway from the others (+sip.instance, RFC 5626 section 4.1)."""
        self._by_user: dict[str, Account] = {}
        self._by_contact: dict[str, Account] = {}
        self.ours: set[str] | None = None
        """Users whose accounts this gateway is to register; None: those of all."""

    def __iter__(self) -> Iterator[Account]:
        return iter(list(self._by_user.values()))

    def of(self, user: str) -> Account | None:
        """The account of that user."""
        return self._by_user.get(user)

    def is_ours(self, user: str) -> bool:
        """Whether this gateway is to register the account of that user, and no other one of its cluster."""
        return self.ours is None or user in self.ours

    def registrar_of(self, user: str) -> str | None:
        """Name of the registrar that the account of that user is at."""
        account = self._by_user.get(user)
        return account.registrar if account is not None else None

    def called(self, contact: str | None) -> Account | None:
        """Whose account the user part of one of our Contacts stands for."""
        return self._by_contact.get(contact or "")

    def put(self, account: Account) -> None:
        """Take an account into force; an older one of the same user is gone."""
        self.remove(account.user)
        self._by_user[account.user] = account
        self._by_contact[self.contact(account)] = account

    def remove(self, user: str) -> Account | None:
        """Forget the account of that user, and give back what it was."""
        account = self._by_user.pop(user, None)
        if account is not None:
            self._by_contact.pop(self.contact(account), None)
        return account

    def contact(self, account: Account) -> str:
        """User part of the Contact that the account is registered with."""
        whose = "\0".join((account.user, account.registrar, account.username)).encode()
        return hmac.new(self._key, b"contact\0" + whose, hashlib.sha256).hexdigest()[:24]


def _instance(key: bytes) -> str:
    return uuid.UUID(bytes=hmac.new(key, b"instance", hashlib.sha256).digest()[:16], version=4).urn
