"""Which browsers of which users can be woken, kept in a file over a restart."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec

from gateway.files import LatestFile

_FILE_VERSION = 1
_MAX_ENDPOINT = 1_024
_LABEL = "[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*|[0-9a-f:.]*:[0-9a-f:.]*")
"""A name, or an IP address (urlsplit takes its brackets off)."""


class SubscriptionError(ValueError):
    """What is no usable subscription; the sentence is for whoever sent it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """One browser, as its PushSubscription says; the endpoint is a secret."""

    endpoint: str
    """URL of the push service that is POSTed to."""
    p256dh: str
    """The browser's public key: an uncompressed P-256 point, base64url."""
    auth: str
    """Its authentication secret: 16 bytes, base64url."""
    credential: str | None = field(default=None, repr=False, compare=False)
    """Mark of its user's password when it was made: with another password it is of no use."""

    @property
    def keys(self) -> tuple[bytes, bytes]:
        """`p256dh` and `auth` as bytes."""
        return _decoded(self.p256dh), _decoded(self.auth)


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def checked(subscription: Subscription, services: tuple[str, ...]) -> Subscription:
    """The same; raises SubscriptionError where its keys are unusable or its service is none of `services`.

    A service is an origin, with * for one or more labels of the host: "https://*.push.apple.com".
    """
    try:
        p256dh, auth = subscription.keys
    except (binascii.Error, ValueError):
        raise SubscriptionError("the keys are not base64url") from None
    if not _is_point(p256dh) or len(auth) != 16:
        raise SubscriptionError("p256dh must be an uncompressed P-256 point, auth 16 bytes")
    if service_of(subscription.endpoint, services) is None:
        raise SubscriptionError("the endpoint is of no push service that is known here (web.push_services)")
    return subscription


def _is_point(data: bytes) -> bool:
    if len(data) != 65 or data[0] != 4:
        return False
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), data)
    except ValueError:
        return False  # not on the curve
    return True


def service_of(endpoint: str, services: tuple[str, ...]) -> str | None:
    """Which of `services` an endpoint is of."""
    if len(endpoint) > _MAX_ENDPOINT or not endpoint.isascii() or not endpoint.isprintable() or " " in endpoint:
        return None
    try:
        found = urlsplit(endpoint)
        port = found.port
    except ValueError:
        return None
    host = found.hostname or ""
    if found.username or found.password or not _HOST.fullmatch(host):
        return None
    for service in services:
        wanted = urlsplit(service)
        if (found.scheme, port) != (wanted.scheme, wanted.port) or wanted.hostname is None:
            continue
        wild = wanted.hostname.removeprefix("*")
        if host == wanted.hostname or (wild != wanted.hostname and host.endswith(wild)):
            return service
    return None


class Subscriptions:
    """The table; a browser belongs to whoever signed in on it last, the oldest of a user give way."""

    def __init__(
        self, path: Path | None, credential_of: Callable[[str], str | None], *, limit_per_user: int = 10
    ) -> None:
        """`credential_of` gives the mark of a user's password; a file that is damaged is begun anew.

        `path` None: they do not outlive a restart.
        """
        self._credential_of = credential_of
        self._file = None if path is None else LatestFile(path, self._text)
        self._limit = limit_per_user
        self._users: dict[str, list[Subscription]] = {}
        if path is not None:
            self._load(path)

    def add(self, user: str, subscription: Subscription) -> None:
        """Wake this browser for the user's calls; said again it changes nothing."""
        if subscription in self.of(user):
            return
        subscription = replace(subscription, credential=self._credential_of(user))
        self._drop(subscription.endpoint)
        held = self._users.setdefault(user, [])
        held.append(subscription)
        del held[: -self._limit]
        self._save()

    def remove(self, endpoint: str, user: str | None = None) -> bool:
        """Forget a browser, if it is that user's; False where there is none."""
        found = self._drop(endpoint, user)
        if found:
            self._save()
        return found

    def of(self, user: str) -> tuple[Subscription, ...]:
        """Every browser that can be woken for this user."""
        held = self._users.get(user)
        mark = self._credential_of(user) if held else None
        return tuple(one for one in held or () if mark is not None and one.credential == mark)

    def _drop(self, endpoint: str, user: str | None = None) -> bool:
        for owner in [user] if user is not None else list(self._users):
            held = self._users.get(owner, [])
            kept = [one for one in held if one.endpoint != endpoint]
            if len(kept) < len(held):
                self._users[owner] = kept
                if not kept:
                    del self._users[owner]
                return True
        return False

    async def written(self) -> None:
        """Wait until the latest change is in the file."""
        if self._file is not None:
            await self._file.written()

    def _load(self, path: Path) -> None:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["version"] == _FILE_VERSION:
                for user, held in content["users"].items():
                    self._users[user] = [Subscription(**one) for one in held]
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            self._users = {}

    def _save(self) -> None:
        if self._file is not None:
            self._file.changed()

    def _text(self) -> str:
        users = {user: [asdict(one) for one in held] for user, held in self._users.items()}
        return json.dumps({"version": _FILE_VERSION, "users": users})
