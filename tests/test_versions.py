"""What older gateways wrote is read, what newer ones wrote is refused with a sentence: records, passwords, accounts."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.identity.passwords import FILE_NAME, resolve
from gateway.observe.ledger import SqliteLedger, connect
from gateway.trunks.accounts import Account
from gateway.trunks.vault import FILE, Vault

OLD_LEDGER = """
CREATE TABLE talking (id TEXT PRIMARY KEY, detail TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE calls (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, ended REAL NOT NULL, detail TEXT NOT NULL);
CREATE TABLE delivered (name TEXT PRIMARY KEY, sequence INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO calls (id, ended, detail) VALUES ('old', 1.0, '{}');
"""
"""As files were that said no version."""


def test_call_records_of_a_newer_gateway_are_left_alone_and_older_ones_taken_up(tmp_path: Path) -> None:
    """The file says its version from then on."""
    path = tmp_path / "cdr.sqlite"
    with sqlite3.connect(path) as old:
        old.executescript(OLD_LEDGER)
    old.close()
    ledger = SqliteLedger(path, 60.0)
    ledger.open(2.0)
    ledger.close()
    with sqlite3.connect(path) as plain:
        assert plain.execute("SELECT id FROM calls").fetchall() == [("old",)]
        assert plain.execute("PRAGMA user_version").fetchone() == (1,)
        plain.execute("PRAGMA user_version = 9")
    plain.close()
    with pytest.raises(sqlite3.DatabaseError, match="newer version"):
        connect(path)


def test_passwords_and_accounts_of_a_newer_gateway_are_left_alone(tmp_path: Path) -> None:
    """Written anew by this one, what it does not know would be lost."""
    secrets = tmp_path / FILE_NAME
    secrets.write_text(json.dumps({"version": 2, "passwords": {"alice": "kept"}, "provisioned": []}))
    with pytest.raises(ConfigError, match="newer version"):
        resolve({"alice": "auto"}, tmp_path, lambda count: bytes(count))
    assert "kept" in secrets.read_text()
    vault = Vault(tmp_path, bytes(32), lambda count: bytes(count))
    vault.write([Account(user="alice", registrar="pbx", username="1", password="p")], lambda name: "pbx.test")
    assert [one.user for one in vault.read(lambda name: "pbx.test")] == ["alice"]
    kept = json.loads((tmp_path / FILE).read_text())
    (tmp_path / FILE).write_text(json.dumps({**kept, "version": 2}))
    with pytest.raises(ConfigError, match="newer version"):
        vault.read(lambda name: "pbx.test")
