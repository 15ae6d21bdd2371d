"""Published event state by entity-tag (RFC 3903)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from gateway.errors import GatewayError
from gateway.people.presence import PresenceState


class PublicationError(GatewayError):
    """Raised for a refused PUBLISH; `status` answers the request."""

    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True)
class Published:
    """A publication."""

    user: str
    name: str
    """Lasting name of the publication; the entity-tag changes with every PUBLISH."""
    expires_at: float
    """Seconds of the caller's clock."""


class Publications:
    """Publications by entity-tag; `told` gets user, name and state, None at the end."""

    def __init__(
        self,
        told: Callable[[str, str, PresenceState | None], None],
        new_tag: Callable[[], str],
        *,
        per_user: int = 10,
    ) -> None:
        self._listener = told
        self._new_tag = new_tag
        self._per_user = per_user
        self._by_tag: dict[str, Published] = {}
        self._counts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._by_tag)

    def publish(self, user: str, tag: str | None, state: PresenceState | None, expires: float, now: float) -> str:
        """Create (no tag), modify (tag and state), refresh (tag only) or remove (`expires` 0); return the new tag.

        Raises PublicationError: 412 for an unknown tag, 400 for a missing state, 503 beyond the limit per user.
        """
        self.expire(now)
        if tag is None:
            if state is None:
                raise PublicationError("there is nothing to publish", 400)
            if self._counts[user] >= self._per_user:
                raise PublicationError("too many publications", 503)
            name = self._new_tag()
        else:
            known = self._by_tag.get(tag)
            if known is None or known.user != user:
                raise PublicationError("no publication has this tag", 412)
            del self._by_tag[tag]
            self._counts[user] -= 1
            name = known.name
        fresh = self._new_tag()
        if expires <= 0:
            self._listener(user, name, None)
            return fresh
        self._by_tag[fresh] = Published(user, name, now + expires)
        self._counts[user] += 1
        if state is not None:
            self._listener(user, name, state)
        return fresh

    def expire(self, now: float) -> None:
        """Remove expired publications."""
        for tag in [tag for tag, one in self._by_tag.items() if one.expires_at <= now]:
            expired = self._by_tag.pop(tag)
            self._counts[expired.user] -= 1
            self._listener(expired.user, expired.name, None)

    @property
    def deadline(self) -> float | None:
        """Time of the next expiry; None without publications."""
        return min((one.expires_at for one in self._by_tag.values()), default=None)
