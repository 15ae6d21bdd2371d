"""Users' own accounts: found by user and by contact, sealed in a file that opens for nobody else."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.sip.flow import Flow
from gateway.sip.message.uri import Uri
from gateway.trunks.accounts import Account, Accounts
from gateway.trunks.known import Trunks
from gateway.trunks.vault import FILE, KEY_FILE, Vault, VaultError, read_key
from tests.rows import by_row

KEY = bytes(range(32))
ALICE = Account(user="alice", registrar="office", username="201", password="pa-ss", auth_username="a201")
PLACES = {"office": "pbx.test:5070", "other": "other.test"}
PBX = Flow("udp", "192.0.2.1", 5060)


def test_an_account_is_found_by_its_user_and_by_its_contact() -> None:
    """The contact cannot be made without the key, differs by account, and is the same after a restart."""
    accounts = Accounts(KEY)
    accounts.put(ALICE)
    contact = accounts.contact(ALICE)
    assert (accounts.of("alice"), accounts.called(contact), accounts.called(None)) == (ALICE, ALICE, None)
    assert (accounts.registrar_of("alice"), accounts.registrar_of("bob")) == ("office", None)
    assert Accounts(KEY).contact(ALICE) == contact
    assert Accounts(bytes(32)).contact(ALICE) != contact
    assert len({accounts.contact(replace(ALICE, user=user)) for user in ("alice", "bob")}) == 2


def test_a_user_has_one_account() -> None:
    """What takes its place is all that is called from then on."""
    accounts = Accounts(KEY)
    accounts.put(ALICE)
    accounts.put(replace(ALICE, username="202"))
    assert [account.username for account in accounts] == ["202"]
    assert accounts.called(accounts.contact(ALICE)) is None
    assert accounts.remove("alice") is not None
    assert accounts.remove("alice") is None
    assert list(accounts) == []


def test_an_account_signs_with_its_digest_name_and_is_called_by_its_extension() -> None:
    """3CX gives both names; where there is one it serves for both."""
    assert ALICE.credentials.username == "a201"
    assert replace(ALICE, auth_username=None).credentials.username == "201"
    assert str(ALICE.address(Uri.parse("sip:pbx.test:5070")).uri) == "sip:201@pbx.test:5070"
    assert "pa-ss" not in repr(ALICE)


def test_a_pbx_calls_an_account_from_where_it_is_registered_only() -> None:
    """By the account's contact, or in a dialog; from elsewhere, or for another contact, it is a stranger."""
    trunks = Trunks(())
    trunks.account_registered("c1", "office", ["192.0.2.1"])
    elsewhere = Flow("udp", "192.0.2.9", 5060)
    assert trunks.of_account(PBX, "c1") == "office"
    assert trunks.of_account(PBX, None) == "office"
    assert [trunks.of_account(PBX, "c2"), trunks.of_account(elsewhere, "c1"), trunks.of_account(elsewhere, None)] == [
        None
    ] * 3
    assert trunks.by_source(PBX) is None
    trunks.account_registered("c1", "office", ())
    assert trunks.of_account(PBX, "c1") is None


def kept(folder: Path, places: dict[str, str] = PLACES) -> list[Account]:
    return Vault(folder, read_key(folder, os.urandom), os.urandom).read(places.get)


def test_accounts_outlive_a_restart_sealed(tmp_path: Path) -> None:
    """The password stands nowhere in the clear, both files are for this user only, and no other key opens them."""
    assert kept(tmp_path) == []
    Vault(tmp_path, read_key(tmp_path, os.urandom), os.urandom).write(
        [ALICE, replace(ALICE, user="configured", configured=True)], PLACES.get
    )
    assert kept(tmp_path) == [ALICE]
    assert "pa-ss" not in (tmp_path / FILE).read_text()
    for name in (FILE, KEY_FILE):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    (tmp_path / KEY_FILE).write_bytes(bytes(32))
    assert kept(tmp_path) == []


@by_row(
    ("name", "value"),
    [("registrar", "other"), ("username", "999"), ("auth_username", "x"), ("sealed", "AAAA"), ("sealed", "no base64")],
)
def test_what_is_sealed_opens_in_its_own_entry_only(tmp_path: Path, name: str, value: str) -> None:
    """Who may write the file cannot have a password sent to another registrar, or as somebody else."""
    Vault(tmp_path, read_key(tmp_path, os.urandom), os.urandom).write([ALICE], PLACES.get)
    whole = json.loads((tmp_path / FILE).read_text())
    whole["accounts"]["alice"][name] = value
    (tmp_path / FILE).write_text(json.dumps(whole))
    assert kept(tmp_path) == []


def test_what_is_sealed_is_for_its_user_and_its_place(tmp_path: Path) -> None:
    """Under another user's name, at a registrar that has moved or is not listed any more, it does not open."""
    Vault(tmp_path, read_key(tmp_path, os.urandom), os.urandom).write([ALICE], PLACES.get)
    assert kept(tmp_path, {"office": "elsewhere.test"}) == []
    assert kept(tmp_path, {}) == []
    whole = json.loads((tmp_path / FILE).read_text())
    whole["accounts"] = {"bob": whole["accounts"]["alice"]}
    (tmp_path / FILE).write_text(json.dumps(whole))
    assert kept(tmp_path) == []


@by_row("text", ["", "[]", '{"accounts": 1}', '{"accounts": {"a": {"x": 1}}}', "\x00"])
def test_a_damaged_file_is_said_to_be(tmp_path: Path, text: str) -> None:
    """The start names it and what to do."""
    (tmp_path / FILE).write_text(text)
    with pytest.raises(ConfigError, match="damaged"):
        kept(tmp_path)


def test_a_damaged_key_is_said_to_be(tmp_path: Path) -> None:
    """A key of another length is none."""
    (tmp_path / KEY_FILE).write_bytes(b"short")
    with pytest.raises(ConfigError, match="damaged"):
        kept(tmp_path)


def test_a_folder_that_cannot_be_written_has_a_key_for_this_start(tmp_path: Path) -> None:
    """A read-only volume keeps nothing; accounts of the configuration work all the same."""
    place = tmp_path / "file"
    place.write_text("in the way of a folder")
    assert read_key(place, lambda count: bytes(count)) == bytes(32)
    with pytest.raises(VaultError):
        Vault(place, KEY, os.urandom).write([ALICE], PLACES.get)
