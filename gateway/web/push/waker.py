"""Wakes users whose pages are closed: what the web side's push has to do with a call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gateway.call.leg import Address
from gateway.call.status import Cause
from gateway.web.push.sender import PushSender, read_key
from gateway.web.push.subscriptions import Subscriptions

_AFTER = 3_600
"""Seconds for which it is of use to know that somebody has called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waking:
    """How browsers are woken."""

    folder: Path
    """Where the key and the subscriptions are kept."""
    services: tuple[str, ...]
    """Push services that are known (`web.push_services`)."""
    contact: str
    """URL by which push services reach the operator."""
    wait: float
    """How long a call waits for a page to open (s)."""


class Waker:
    """Of one gateway."""

    def __init__(
        self, settings: Waking, clock: Callable[[], float], credential_of: Callable[[str], str | None]
    ) -> None:
        """`clock` gives Unix seconds, `credential_of` the mark of a user's password."""
        self.wait = settings.wait
        subscriptions = Subscriptions(settings.folder / "push.json", credential_of)
        key = read_key(settings.folder / "push.pem")
        self.sender = PushSender(subscriptions, key, settings.contact, services=settings.services, clock=clock)

    def reaches(self, user: str) -> bool:
        """Whether a browser of this user can be woken."""
        return self.wait > 0 and bool(self.sender.subscriptions.of(user))

    def call(self, user: str, caller: Address) -> None:
        """Somebody calls."""
        self.sender.send(user, {"type": "call", "from": _name(caller)}, round(self.wait))

    def over(self, user: str, caller: Address, cause: Cause) -> None:
        """The call that the user was woken for rings no more."""
        kind = "elsewhere" if cause is Cause.ELSEWHERE else "missed"
        self.sender.send(user, {"type": kind, "from": _name(caller)}, _AFTER)


def _name(caller: Address) -> str:
    return (caller.display_name or caller.user)[:128]
