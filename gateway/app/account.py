"""A configured user, as whoever starts the gateway is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.config import Config
from gateway.identity.passwords import Passwords


@dataclass(frozen=True, slots=True)
class Account:
    """One configured user, as `gateway run` shows it."""

    user: str
    password: str | None
    """Only when the gateway made it; a password that was configured is not shown again."""
    use: str
    link: str | None = None
    """The page, signed in, for web users with a generated password."""


def accounts_of(config: Config, words: Passwords, link_of: Callable[[str], str]) -> tuple[Account, ...]:
    """Every configured user, with the password when the gateway made it; `link_of` gives the page signed in."""
    found = []
    for user in config.users:
        ways = [way for way, wanted in (("sign in on the page", user.web), ("register a phone", user.sip)) if wanted]
        made = user.id in words.generated
        password = words.values[user.id] if made else None
        found.append(Account(user.id, password, ", ".join(ways), link_of(user.id) if made and user.web else None))
    return tuple(found)
