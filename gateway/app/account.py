"""A configured user, as whoever starts the gateway is shown."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Account:
    """One configured user, as `gateway run` shows it."""

    user: str
    password: str | None
    """Only when the gateway made it; a password that was configured is not shown again."""
    use: str
    link: str | None = None
    """The page, signed in, for web users with a generated password."""
