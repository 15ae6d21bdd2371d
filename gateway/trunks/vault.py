"""Accounts that users brought, kept in a file with their passwords sealed (AES-256-GCM).

The key is a file of its own. What is sealed is bound to the user, the registrar and its place: moved to another entry,
or to a registrar that has another address now, it does not open.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.errors import ConfigError, GatewayError
from gateway.files import write_whole
from gateway.trunks.accounts import Account

log = structlog.get_logger(__name__)

KEY_FILE, FILE = "accounts.key", "accounts.json"
_VERSION = 1
_KEY_BYTES, _NONCE_BYTES = 32, 12


class VaultError(GatewayError):
    """What is to be kept cannot be written."""


def read_key(state_dir: Path, random: Callable[[int], bytes], file: str = KEY_FILE) -> bytes:
    """The key of `state_dir`, made of `random` at the first start; readable by this user only.

    Where the folder cannot be written the key lasts as long as the process: nothing can be kept there either.
    Raises ConfigError for a file that is damaged or not to be read.
    """
    path = state_dir / file
    try:
        if not path.exists():
            state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(path, random(_KEY_BYTES), first_wins=True)
    except OSError as error:
        log.warning("what is sealed lasts until the next start", file=file, reason=str(error.strerror))
        return random(_KEY_BYTES)
    try:
        key = path.read_bytes()
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise ConfigError("state_dir", f"{path} cannot be used: {error.strerror}") from None
    if len(key) != _KEY_BYTES:
        raise ConfigError("state_dir", f"{path} is damaged; remove it, and what was sealed with it is gone")
    return key


class Vault:
    """The file; every change is written at once, whole or not at all. Blocking: for a thread."""

    def __init__(self, state_dir: Path, key: bytes, random: Callable[[int], bytes]) -> None:
        self._path = state_dir / FILE
        self._cipher = AESGCM(key)
        self._random = random

    def read(self, places: Callable[[str], str | None]) -> list[Account]:
        """What is kept; `places` names a registrar's host and port, None where it is not listed any more.

        An entry that does not open is left out and logged. Raises ConfigError for a file that cannot be read.
        """
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            if isinstance(kept["version"], int) and kept["version"] > _VERSION:
                raise ConfigError("state_dir", f"{self._path} was written by a newer version of the gateway")
            entries = kept["accounts"]
            accounts = [self._open(user, entry, places) for user, entry in entries.items()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ConfigError("state_dir", f"{self._path} cannot be read: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise ConfigError("state_dir", f"{self._path} is damaged; remove it") from None
        return [account for account in accounts if account is not None]

    def write(self, accounts: Iterable[Account], places: Callable[[str], str | None]) -> None:
        """Keep these and no others; raises VaultError."""
        entries = {account.user: self._seal(account, places) for account in accounts if not account.configured}
        try:
            write_whole(self._path, json.dumps({"version": _VERSION, "accounts": entries}, indent=1))
        except OSError as error:
            raise VaultError(f"{self._path} cannot be written: {error.strerror}") from None

    def sealed(self, account: Account, places: Callable[[str], str | None]) -> str:
        """One account as a text that whoever has the key may keep; `places` as `read` has it."""
        return json.dumps({"version": _VERSION, **self._seal(account, places)})

    def opened(self, user: str, text: str, places: Callable[[str], str | None]) -> Account | None:
        """The account of which `sealed` has made that text; None, and a line in the log, for any other."""
        try:
            entry = json.loads(text)
            if entry.pop("version") == _VERSION:
                return self._open(user, entry, places)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            pass
        log.warning("a user's account is left out", user=user, reason="it cannot be read")
        return None

    def _seal(self, account: Account, places: Callable[[str], str | None]) -> dict[str, Any]:
        nonce = self._random(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, account.password.encode(), _bound(account, places(account.registrar)))
        return {
            "registrar": account.registrar,
            "username": account.username,
            "auth_username": account.auth_username,
            "display_name": account.display_name,
            "sealed": base64.b64encode(nonce + sealed).decode(),
        }

    def _open(self, user: str, entry: dict[str, Any], places: Callable[[str], str | None]) -> Account | None:
        kept = Account(user=user, password="", **{name: value for name, value in entry.items() if name != "sealed"})
        place = places(kept.registrar)
        if place is None:
            log.warning("a user's account is left out", user=user, reason="its registrar is not listed any more")
            return None
        try:
            whole = base64.b64decode(entry["sealed"], validate=True)
            password = self._cipher.decrypt(whole[:_NONCE_BYTES], whole[_NONCE_BYTES:], _bound(kept, place)).decode()
        except (InvalidTag, binascii.Error, ValueError):
            log.warning("a user's account is left out", user=user, reason="it was not sealed for this registrar")
            return None
        return Account(
            user=user,
            registrar=kept.registrar,
            username=kept.username,
            password=password,
            auth_username=kept.auth_username,
            display_name=kept.display_name,
        )


def _bound(account: Account, place: str | None) -> bytes:
    """What the seal is bound to."""
    return json.dumps([account.user, account.registrar, place, account.username, account.auth_username]).encode()
