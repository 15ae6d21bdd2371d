"""What /healthz says an operator should look at."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.accounts.reachability import Reachability
from gateway.app.health import Certificate, Health, Watch
from gateway.call.registry import Calls
from gateway.config import Config

NOW = datetime(2026, 5, 1, tzinfo=UTC)


class Few:
    """A registry with so many calls."""

    def __init__(self, count: int, draining: bool = False) -> None:
        self.count, self.draining = count, draining

    def __len__(self) -> int:
        return self.count


def watch(
    config: Config, calls: Few, registered: frozenset[str] = frozenset(), reachability: Reachability | None = None
) -> Health:
    return Watch(config, cast(Calls, calls), lambda: registered, reachability or Reachability(), NOW.timestamp)()


def config(**changes: Any) -> Config:
    return Config.model_validate({"limits": {"max_calls": 10}, **changes})


@pytest.mark.parametrize(
    ("count", "draining", "status", "told"),
    [
        (0, False, "ok", 0),
        (8, False, "ok", 0),
        (9, False, "ok", 1),
        (10, False, "full", 1),
        (3, True, "draining", 1),
        (10, True, "draining", 2),
    ],
)
def test_the_status_says_whether_new_calls_are_taken(count: int, draining: bool, status: str, told: int) -> None:
    """Nine tenths of the calls are worth a sentence; all of them, or the end, is a status."""
    found = watch(config(), Few(count, draining))
    assert (found.status, len(found.conditions)) == (status, told)


def test_a_trunk_that_should_be_registered_and_is_not_is_named() -> None:
    """One that does not register is never missed."""
    account = {"username": "gw", "password": "pw", "register": True}
    trunks = [{"name": "office", "uri": "sip:pbx.test", **account}, {"name": "other", "uri": "sip:other.test"}]
    assert watch(config(trunks=trunks), Few(0)).conditions == ("Trunk office is not registered.",)
    assert watch(config(trunks=trunks), Few(0), frozenset({"office"})).conditions == ()


def test_a_trunk_that_does_not_answer_is_named() -> None:
    """Once, though it cannot be registered at either."""
    account = {"username": "gw", "password": "pw", "register": True}
    reachability = Reachability()
    reachability.answered("office", "sip:pbx.test", 408)
    made = config(trunks=[{"name": "office", "uri": "sip:pbx.test", **account}])
    assert watch(made, Few(0), reachability=reachability).conditions == ("Trunk office does not answer.",)


def certificate(path: Path, days: float) -> Path:
    """A certificate that ends so many days after NOW."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "phone.test")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=400))
        .not_valid_after(NOW + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.mark.parametrize(("days", "word"), [(31, ""), (29, "ends on"), (-1, "ended on")])
def test_a_certificate_is_named_before_it_ends(tmp_path: Path, days: float, word: str) -> None:
    """Thirty days before, and after it has."""
    told = Certificate(certificate(tmp_path / "cert.pem", days)).conditions(NOW.timestamp())
    assert len(told) == bool(word)
    assert all(word in sentence for sentence in told)


def test_a_renewed_certificate_is_read_again_and_a_missing_one_said(tmp_path: Path) -> None:
    """By the time and size of its file."""
    path = certificate(tmp_path / "cert.pem", 3)
    seen = Certificate(path)
    assert seen.conditions(NOW.timestamp())
    certificate(path, 300)
    os.utime(path, (1, 1))
    assert seen.conditions(NOW.timestamp()) == []
    path.write_bytes(b"nonsense")
    assert "cannot be read" in seen.conditions(NOW.timestamp())[0]
    path.unlink()
    assert "No such file" in seen.conditions(NOW.timestamp())[0]
    assert Certificate(None).conditions(NOW.timestamp()) == []
