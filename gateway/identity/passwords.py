"""Generated passwords, and the digest values kept in stores instead of passwords."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.errors import ConfigError
from gateway.files import write_whole
from gateway.identity.model import Credential
from gateway.identity.store import IdentityStore

AUTO = "auto"
"""Configured value that requests a generated password."""

FILE_NAME = "secrets.json"
_VERSION = 1

_RANDOM_BYTES = 10  # 80 bits, 16 characters that can be typed on a desk phone


@dataclass(frozen=True, slots=True)
class Passwords:
    """Passwords in force since this start."""

    values: dict[str, str] = field(repr=False)
    """User id -> password; users without a password are absent."""
    generated: frozenset[str] = frozenset()
    """Ids with a generated password."""
    retired: tuple[str, ...] = ()
    """Ids with a password at an earlier start and none now."""
    digests: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    """User id -> HA1 by algorithm, for unknown passwords."""

    def credentials(self, realm: str) -> dict[str, Credential]:
        """Return the credentials for a store, by user id."""
        made = {name: Credential(name, realm, ha1(name, realm, word)) for name, word in self.values.items()}
        return made | {name: Credential(name, realm, dict(known)) for name, known in self.digests.items()}


def resolve(
    wanted: Mapping[str, str | None],
    state_dir: Path,
    random: Callable[[int], bytes],
    digests: Mapping[str, Mapping[str, str]] | None = None,
) -> Passwords:
    """Return the passwords of the ids in `wanted`: as given, none, or generated for "auto".

    `digests`: HA1 values by algorithm for ids with unknown password. New passwords come from `random(n)` and are kept
    in `state_dir`/secrets.json, readable only by the owner. Removed ids stay in the file until `settle`, as the store
    must be updated first. Raise ConfigError for an unusable file.
    """
    path = state_dir / FILE_NAME
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(state_dir):
            kept = _read(path)
            values, state = _completed(wanted, kept, random, digests or {})
            if state != kept:
                write_whole(path, _text(state))
    except OSError as error:
        # A read-only folder, as a container's volume, does no harm if nothing needs writing.
        kept = _read_if_there(path)
        values, state = _completed(wanted, kept, random, digests or {})
        if state["passwords"] != kept["passwords"]:
            raise ConfigError("state_dir", f"{path} cannot be used: {error.strerror}") from None
    return Passwords(
        values={name: values[name] for name in wanted if name in values},
        generated=frozenset(name for name, word in wanted.items() if word == AUTO),
        retired=tuple(name for name in kept["provisioned"] if name not in {*values, *(digests or {})}),
        digests=digests or {},
    )


def _completed(
    wanted: Mapping[str, str | None],
    kept: dict[str, Any],
    random: Callable[[int], bytes],
    digests: Mapping[str, Mapping[str, str]],
) -> tuple[dict[str, str], dict[str, Any]]:
    """Return every user's password, and the state to keep."""
    made: dict[str, str] = dict(kept["passwords"])
    values = {name: word for name, word in wanted.items() if word is not None and word != AUTO}
    for name in (name for name, word in wanted.items() if word == AUTO):
        values[name] = made.setdefault(name, new_password(random))
    provisioned = sorted({*values, *digests, *kept["provisioned"]})
    return values, {"version": _VERSION, "passwords": made, "provisioned": provisioned}


def settle(passwords: Passwords, state_dir: Path) -> None:
    """Drop the `retired` ids from the file, after the store has removed their credentials."""
    path = state_dir / FILE_NAME
    # If the file cannot be written, the next start retires the ids again.
    with suppress(OSError), _locked(state_dir):
        kept = _read(path)
        left = [name for name in kept["provisioned"] if name not in passwords.retired]
        if left != kept["provisioned"]:
            write_whole(path, _text(kept | {"provisioned": left}))


def _read_if_there(path: Path) -> dict[str, Any]:
    try:
        return _read(path)
    except OSError:
        return {"version": _VERSION, "passwords": {}, "provisioned": []}


async def provision(store: IdentityStore, passwords: Passwords, realm: str) -> None:
    """Store the HA1 values of every user, and remove those of retired users."""
    for credential in passwords.credentials(realm).values():
        await store.put_credential(credential)
    for name in passwords.retired:
        await store.put_credential(Credential(name, realm))


def ha1(username: str, realm: str, password: str) -> dict[str, str]:
    """Return algorithm -> H(username:realm:password) in hex (RFC 8760, RFC 7616 section 3.4.2)."""
    secret = f"{username}:{realm}:{password}".encode()
    return {
        "MD5": hashlib.md5(secret, usedforsecurity=False).hexdigest(),
        "SHA-256": hashlib.sha256(secret).hexdigest(),
        "SHA-512-256": hashlib.new("sha512_256", secret).hexdigest(),
    }


def check(credential: Credential | None, password: str) -> bool:
    """Return True if `password` matches the credential, in equal time for a wrong password and an unknown user."""
    known = credential if credential is not None else Credential("", "")
    best = next((name for name in ("SHA-512-256", "SHA-256", "MD5") if name in known.ha1), "SHA-256")
    try:
        given = ha1(known.username, known.realm, password)[best]
    except UnicodeEncodeError:
        return False
    return hmac.compare_digest(given, known.ha1.get(best, ""))


def new_password(random: Callable[[int], bytes]) -> str:
    """Return an unguessable password, of letters easily typed on a desk phone."""
    return base64.b32encode(random(_RANDOM_BYTES)).decode("ascii").lower()


@contextmanager
def _locked(state_dir: Path) -> Iterator[None]:
    """Lock the folder, so that gateways started together generate one password."""
    descriptor = os.open(state_dir / (FILE_NAME + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {"version": _VERSION, "passwords": {}, "provisioned": []}
    except UnicodeDecodeError:
        raise ConfigError("state_dir", f"{path} is damaged; remove it to have new passwords made") from None
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)
    try:
        state = json.loads(text)
        if isinstance(state["version"], int) and state["version"] > _VERSION:
            raise ConfigError("state_dir", f"{path} was written by a newer version of the gateway")
        passwords, provisioned = state["passwords"], state["provisioned"]
        if not all(isinstance(word, str) and word for pair in passwords.items() for word in pair):
            raise ValueError
        if not all(isinstance(name, str) for name in provisioned):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ConfigError("state_dir", f"{path} is damaged; remove it to have new passwords made") from None
    return {"version": _VERSION, "passwords": passwords, "provisioned": provisioned}


def _text(state: dict[str, Any]) -> str:
    return json.dumps(state, indent=2) + "\n"
