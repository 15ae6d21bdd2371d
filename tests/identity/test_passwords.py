"""Passwords made once, kept, and turned into digest values."""

from __future__ import annotations

import itertools
import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.identity.model import Credential
from gateway.identity.passwords import check, ha1, provision, resolve, settle
from gateway.identity.store import StoreError
from gateway.store.identity_memory import MemoryStore
from tests.rows import by_row

REALM = "gateway.local"


def counting() -> Callable[[int], bytes]:
    """A random source whose every answer differs from the last."""
    numbers = itertools.count(1)
    return lambda size: next(numbers).to_bytes(size, "big")


def test_auto_is_made_once(tmp_path: Path) -> None:
    """After a restart, with another random source, the password is the same; each user has another one."""
    wanted = {"alice": "auto", "1001": "auto"}
    first = resolve(wanted, tmp_path / "state", counting())
    second = resolve(wanted, tmp_path / "state", lambda size: b"\xff" * size)
    assert first.values == second.values
    assert first.values["alice"] != first.values["1001"]
    assert all(len(word) == 16 and word.isalnum() and word.islower() for word in first.values.values())
    assert first.generated == {"alice", "1001"}


def test_set_password_wins_and_none_is_none(tmp_path: Path) -> None:
    """A password of the configuration is used and not written down; a user without one has none."""
    passwords = resolve({"alice": "hunter2", "guest": None}, tmp_path, counting())
    assert passwords.values == {"alice": "hunter2"}
    assert not passwords.generated
    assert "hunter2" not in (tmp_path / "secrets.json").read_text()
    assert "hunter2" not in repr(passwords)


def test_auto_password_comes_back(tmp_path: Path) -> None:
    """A user that leaves the configuration and returns has the old password again."""
    before = resolve({"alice": "auto"}, tmp_path, counting())
    resolve({}, tmp_path, counting())
    assert resolve({"alice": "auto"}, tmp_path, counting()).values == before.values


def test_secrets_are_private(tmp_path: Path) -> None:
    """Folder and file belong to their user alone, also when somebody loosened the file."""
    folder = tmp_path / "state"
    resolve({"alice": "auto"}, folder, counting())
    file = folder / "secrets.json"
    assert {stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    file.chmod(0o644)
    resolve({"alice": "auto"}, folder, counting())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_unchanged_state_is_not_written(tmp_path: Path) -> None:
    """A second start leaves the file alone, so that a read-only disk is enough."""
    resolve({"alice": "auto"}, tmp_path, counting())
    before = (tmp_path / "secrets.json").stat()
    resolve({"alice": "auto"}, tmp_path, counting())
    after = (tmp_path / "secrets.json").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


@by_row(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b'{"passwords": []}',
        b'{"passwords": {"a": ""}, "provisioned": []}',
        b'{"passwords": {"a": 1}, "provisioned": []}',
        b'{"passwords": {}, "provisioned": [1]}',
        b"[" * 100_000,
    ],
)
def test_damaged_file_names_the_key(tmp_path: Path, content: bytes) -> None:
    """A file that cannot be read ends in a sentence, and is not silently overwritten."""
    file = tmp_path / "secrets.json"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="damaged") as caught:
        resolve({"alice": "auto"}, tmp_path, counting())
    assert caught.value.key == "state_dir"
    assert file.read_bytes() == content


def test_folder_that_cannot_be_used_names_the_key(tmp_path: Path) -> None:
    """A state directory below a plain file is a configuration error."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError) as caught:
        resolve({"alice": "auto"}, tmp_path / "file" / "state", counting())
    assert caught.value.key == "state_dir"


def test_ha1_is_that_of_the_rfcs() -> None:
    """HA1 over the values of RFC 7616 section 3.9.1, for each algorithm."""
    values = ha1("Mufasa", "http-auth@example.org", "Circle of Life")
    assert values == {
        "MD5": "3d78807defe7de2157e2b0b6573a855f",
        "SHA-256": "7987c64c30e25f1b74be53f966b49b90f2808aa92faf9a00262392d7b4794232",
        "SHA-512-256": "fb174f5c3c7802721517cae13b98e2b8dae2e0118cb705d94ee29946319204ce",
    }


async def test_provision_fills_the_store(tmp_path: Path) -> None:
    """The store gets HA1 values for the realm, and never a password."""
    store = MemoryStore()
    await provision(store, resolve({"1001": "hunter2"}, tmp_path, counting()), REALM)
    credential = await store.credential("1001", REALM)
    assert credential is not None
    assert credential.ha1 == ha1("1001", REALM, "hunter2")
    assert "hunter2" not in str(credential.ha1)


async def test_user_that_is_gone_loses_its_credential(tmp_path: Path) -> None:
    """Who leaves the configuration, or loses the password, cannot sign in with the old one."""
    store = MemoryStore()
    await provision(store, resolve({"1001": "hunter2", "1002": "auto"}, tmp_path, counting()), REALM)
    await provision(store, resolve({"1002": None}, tmp_path, counting()), REALM)
    assert await store.credential("1001", REALM) is None
    assert await store.credential("1002", REALM) is None


class AwayStore(MemoryStore):
    """Takes nothing."""

    async def put_credential(self, credential: Credential) -> None:
        raise StoreError("no connection")


async def test_who_is_gone_while_the_store_is_away_loses_the_credential_at_the_next_start(tmp_path: Path) -> None:
    """However many starts fail; once it is done it is not done again, so somebody else may have the name."""
    store = MemoryStore()
    await provision(store, resolve({"1001": "hunter2"}, tmp_path, counting()), REALM)
    for _ in range(2):
        with pytest.raises(StoreError):
            await provision(AwayStore(), resolve({"1001": None}, tmp_path, counting()), REALM)
    words = resolve({"1001": None}, tmp_path, counting())
    await provision(store, words, REALM)
    settle(words, tmp_path)
    assert await store.credential("1001", REALM) is None
    assert resolve({"1001": None}, tmp_path, counting()).retired == ()
    settle(words, tmp_path / "nowhere")


def test_check_takes_only_the_right_password() -> None:
    """The right password passes; a wrong one, an unknown user and broken text do not."""
    credential = Credential("alice", REALM, ha1("alice", REALM, "hunter2"))
    assert check(credential, "hunter2")
    assert not check(credential, "hunter3")
    assert not check(credential, "\udc80")
    assert not check(None, "hunter2")
    assert not check(None, "")
    assert not check(Credential("alice", REALM), "")


def test_file_is_plain_json(tmp_path: Path) -> None:
    """People can read their passwords in it."""
    passwords = resolve({"alice": "auto"}, tmp_path, counting())
    state = json.loads((tmp_path / "secrets.json").read_text())
    assert state == {"version": 1, "passwords": passwords.values, "provisioned": ["alice"]}


@by_row("algorithm", ["MD5", "SHA-256", "SHA-512-256"])
async def test_digests_take_the_place_of_passwords(tmp_path: Path, algorithm: str) -> None:
    """They are put into the store as they are, let their user in, and are taken away with the user."""
    store = MemoryStore()
    await store.open()
    digests = {"1001": {algorithm: ha1("1001", REALM, "hunter2")[algorithm]}}
    resolved = resolve({"1001": None}, tmp_path, counting(), digests)
    await provision(store, resolved, REALM)
    credential = await store.credential("1001", REALM)
    assert credential is not None
    assert credential.ha1 == digests["1001"]
    assert (check(credential, "hunter2"), check(credential, "hunter3")) == (True, False)
    await provision(store, resolve({}, tmp_path, counting()), REALM)
    assert await store.credential("1001", REALM) is None
