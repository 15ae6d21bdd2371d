"""Who is signed in where: refresh tokens that change at every use, and end for all devices at once when stolen."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from gateway.files import LatestFile

_FILE_VERSION = 1


@dataclass(slots=True, kw_only=True)
class SignIn:
    """One browser of one user. Times are Unix seconds."""

    id: str
    user: str
    secret_hash: str
    """SHA-256 of the refresh token in force."""
    previous_hash: str = ""
    """Of the one before: a second tab may still send it for a moment."""
    rotated_at: float = 0.0
    expires_at: float = 0.0
    credential: str = ""
    """Mark of the password it began with: another password ends it."""


class SignIns:
    """The table, kept in a file of hashes so that a restart signs nobody out."""

    def __init__(
        self,
        clock: Callable[[], float],
        path: Path | None = None,
        *,
        lifetime: float = 30 * 86_400.0,
        limit: int = 10_000,
        grace: float = 30.0,
        limit_per_user: int = 20,
    ) -> None:
        """`grace`: how long the token before the last is still answered (s); a file that is damaged is begun anew."""
        self._clock = clock
        self._file = None if path is None else LatestFile(path, self._text)
        self._lifetime = lifetime
        self._limit = limit
        self._limit_per_user = limit_per_user
        self._grace = grace
        self._entries: dict[str, SignIn] = {}
        self._evicted: list[SignIn] = []
        if path is not None:
            self._load(path)

    @property
    def lifetime(self) -> float:
        """Seconds a sign-in lasts when it is not used."""
        return self._lifetime

    def entry(self, session_id: str) -> SignIn | None:
        """The sign-in of that id, whatever its age."""
        return self._entries.get(session_id)

    def take(self, entry: SignIn) -> None:
        """Have this in the place of what is known of it."""
        if self._entries.get(entry.id) != entry:
            if entry.id not in self._entries:
                self._make_room(entry.user)
            self._entries[entry.id] = entry
            self._save()

    def take_evicted(self) -> list[SignIn]:
        """Those that have made room for others since the last time."""
        evicted, self._evicted = self._evicted, []
        return evicted

    def begin(self, user: str, credential: str) -> tuple[SignIn, str]:
        """A new sign-in and its first refresh token."""
        self._make_room(user)
        entry = SignIn(id=secrets.token_hex(8), user=user, secret_hash="", credential=credential)
        self._entries[entry.id] = entry
        return entry, self._renew(entry)

    def use(self, token: str, credential_of: Callable[[str], str | None]) -> tuple[SignIn, str | None] | None:
        """The sign-in of a refresh token and the next token (None: the last one stands); None when it is refused.

        A token that was replaced longer ago than the grace has been copied: its sign-in ends.
        """
        entry = self._entries.get(token.partition(".")[0])
        if entry is None:
            return None
        now, given = self._clock(), _hash(token)
        if now >= entry.expires_at or (credential_of(entry.user) or "") != entry.credential:
            self.end(entry.id)
            return None
        if secrets.compare_digest(given, entry.secret_hash):
            return entry, self._renew(entry)
        if not secrets.compare_digest(given, entry.previous_hash):
            return None
        if now - entry.rotated_at <= self._grace:
            return entry, None
        self.end(entry.id)
        return None

    def find(self, token: str) -> SignIn | None:
        """The sign-in a refresh token belongs to, whatever its age; for signing out."""
        entry = self._entries.get(token.partition(".")[0])
        given = _hash(token)
        return entry if entry is not None and given in (entry.secret_hash, entry.previous_hash) else None

    def lives(self, session_id: str, credential_of: Callable[[str], str | None]) -> bool:
        """Whether nobody has signed out of it, and the user's password is the one it began with."""
        entry = self._entries.get(session_id)
        return entry is not None and (credential_of(entry.user) or "") == entry.credential

    def end(self, session_id: str) -> None:
        """Sign out."""
        if self._entries.pop(session_id, None) is not None:
            self._save()

    def __len__(self) -> int:
        return len(self._entries)

    def _renew(self, entry: SignIn) -> str:
        now, token = self._clock(), f"{entry.id}.{secrets.token_urlsafe(32)}"
        entry.previous_hash, entry.secret_hash = entry.secret_hash, _hash(token)
        entry.rotated_at, entry.expires_at = now, now + self._lifetime
        self._save()
        return token

    def _make_room(self, user: str) -> None:
        """Drop what has expired, and beyond the limits what was not used for longest."""
        now = self._clock()
        self._entries = {key: entry for key, entry in self._entries.items() if now < entry.expires_at}
        mine = sorted((entry for entry in self._entries.values() if entry.user == user), key=lambda e: e.rotated_at)
        everybody = sorted(self._entries.values(), key=lambda entry: entry.rotated_at)
        surplus = mine[: max(0, len(mine) - self._limit_per_user + 1)]
        surplus += everybody[: max(0, len(everybody) - self._limit + 1)]
        for entry in surplus:
            if self._entries.pop(entry.id, None) is not None:
                self._evicted.append(entry)
        del self._evicted[: -self._limit]

    async def written(self) -> None:
        """Wait until the latest change is in the file."""
        if self._file is not None:
            await self._file.written()

    def _load(self, path: Path) -> None:
        try:
            state = json.loads(path.read_text())
            entries = [SignIn(**entry) for entry in state["sign_ins"]]
        except (OSError, ValueError, TypeError, KeyError):
            return
        self._entries = {entry.id: entry for entry in entries}

    def _save(self) -> None:
        if self._file is not None:
            self._file.changed()

    def _text(self) -> str:
        return json.dumps({"version": _FILE_VERSION, "sign_ins": [asdict(entry) for entry in self._entries.values()]})


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
