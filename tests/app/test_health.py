"""What /healthz says an operator should look at."""

from __future__ import annotations

import asyncio
import base64
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.call.registry import Calls
from gateway.config import Config
from gateway.identity.store import StoreError
from gateway.observe.health import Certificate, EngineWatch, Health, StoreWatch, Watch, ports_taken, reload_state
from gateway.testing.clock import ManualClock
from gateway.testing.engine import FakeEngine
from gateway.trunks.reachability import Reachability
from tests.rows import by_row

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


@by_row(
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


def test_the_status_names_what_lasts_longest() -> None:
    """Sentences stand in the order of their weight."""
    said = Watch(config(), cast(Calls, few := Few(0)), frozenset, Reachability(), NOW.timestamp)
    lacks: list[str] = []
    faults: list[str] = []
    said.add_lacks(lambda: lacks)
    said.add_faults(lambda: faults)
    assert said() == Health("ok")
    lacks.append("a trunk")
    assert said() == Health("degraded", ("a trunk",))
    few.count = 10
    assert said().status == "full"
    faults.append("the engine")
    assert (said().status, said().conditions[:2]) == ("failed", ("the engine", "a trunk"))
    few.draining = True
    assert said().status == "draining"


async def test_a_plane_that_is_asked_in_vain_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it answers again."""
    monkeypatch.setattr("gateway.observe.health._SILENCE", 0.01)
    answers = asyncio.Event()

    class Engine(FakeEngine):
        async def busy(self) -> float | None:
            await answers.wait()
            return 0.5

    seen = EngineWatch(Engine())
    assert (await seen.busy(), seen.faults()) == (
        None,
        ["No call can be placed: the packet plane does not answer (media)."],
    )
    answers.set()
    assert (await seen.busy(), seen.faults()) == (0.5, [])


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


def test_a_trunk_whose_name_is_unknown_is_told_from_one_that_is_silent() -> None:
    """DNS is looked after by somebody else than the trunk."""
    reachability = Reachability()
    reachability.answered("office", "sip:pbx.test", 503)
    reachability.named("office", "sip:pbx.test", found=False)
    made = config(trunks=[{"name": "office", "uri": "sip:pbx.test"}])
    [said] = watch(made, Few(0), reachability=reachability).conditions
    assert said == "Trunk office does not answer: DNS knows no address of sip:pbx.test."


@by_row(("ports", "told"), [(None, 0), ((89, 100), 0), ((90, 100), 1)])
def test_ports_are_named_when_few_are_left(ports: tuple[int, int] | None, told: int) -> None:
    """Nine tenths of the pairs; an engine that does not know its ports says nothing."""

    class Engine(FakeEngine):
        @property
        def ports(self) -> tuple[int, int] | None:
            return ports

    assert len(ports_taken(Engine())) == told


async def test_a_store_that_is_away_or_slow_is_named() -> None:
    """While it hangs, too; an answer in time ends it."""
    clock = ManualClock()
    takes, fails, answer = 0.5, False, asyncio.Event()
    answer.set()

    async def look(now: float) -> int:
        clock.advance(takes)
        await answer.wait()
        if fails:
            raise StoreError("away")
        return 0

    seen = StoreWatch(look, clock)
    assert (await seen.look(0.0), seen.conditions()) == (0, [])
    takes = 2.0
    await seen.look(0.0)
    assert seen.conditions() == ["The store takes 2.0 s to answer (identity.store)."]
    takes, fails = 0.0, True
    assert await seen.look(0.0) == 0
    assert ("does not answer" in seen.faults()[0], seen.conditions()) == (True, [])
    fails = False
    await seen.look(0.0)
    assert (seen.faults(), seen.conditions()) == ([], [])
    answer.clear()
    hanging = asyncio.ensure_future(seen.look(0.0))
    await asyncio.sleep(0)
    clock.advance(2.4)
    assert (seen.faults(), seen.conditions()) == ([], ["The store takes 2.4 s to answer (identity.store)."])
    clock.advance(0.1)
    assert ("does not answer" in seen.faults()[0], seen.conditions()) == (True, [])
    answer.set()
    await hanging
    assert seen.faults() == []


def test_a_reload_that_was_refused_or_waits_is_said() -> None:
    """By the names of keys alone: their values may be secrets."""
    assert reload_state(None, ()) == []
    refused, waiting = reload_state("users.0.password", ("web.listen", "domain"))
    assert "users.0.password" in refused
    assert "web.listen, domain" in waiting


async def test_certificates_of_sip_are_watched_too(tmp_path: Path) -> None:
    """Each that is named, further ones as well."""
    paths = [certificate(tmp_path / f"{name}.pem", 3) for name in "abc"]
    files = [{"cert": str(path), "key": str(path)} for path in paths]
    made = config(web={"tls": files[0]}, sip={"tls": {**files[1], "certificates": [files[2]]}})
    watching = Watch(made, cast(Calls, Few(0)), frozenset, Reachability(), NOW.timestamp)
    assert await watching.look(NOW.timestamp()) == 3
    assert len(watching().conditions) == 3


async def test_a_certificate_whose_file_does_not_answer_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks how the gateway is opens no file; what was known of it is said until the look is over."""
    path = certificate(tmp_path / "cert.pem", 3)
    made = config(web={"tls": {"cert": str(path), "key": str(path)}})
    watching = Watch(made, cast(Calls, Few(0)), frozenset, Reachability(), NOW.timestamp)
    await watching.look(NOW.timestamp())
    monkeypatch.setattr("gateway.reading.PATIENCE", 0.2)
    path.unlink()
    os.mkfifo(path)
    for _ in range(2):
        looking = asyncio.create_task(watching.look(NOW.timestamp()))
        await asyncio.sleep(0)
        assert watching().conditions != ()
        assert not looking.done()
        await looking
        assert watching().conditions == (f"The certificate {path} cannot be read: its file does not answer.",)
    os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))


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


@by_row(("days", "word"), [(31, ""), (29, "ends on"), (-1, "ended on")])
async def test_a_certificate_is_named_before_it_ends(tmp_path: Path, days: float, word: str) -> None:
    """Thirty days before, and after it has."""
    seen = Certificate(certificate(tmp_path / "cert.pem", days))
    await seen.look()
    told = seen.conditions(NOW.timestamp())
    assert len(told) == bool(word)
    assert all(word in sentence for sentence in told)


def of_a_version_that_is_none(path: Path) -> bytes:
    """OpenSSL loads one of version 5."""
    data = x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(serialization.Encoding.DER)
    other = data.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x04", 1)
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(other) + b"-----END CERTIFICATE-----\n"


async def test_a_renewed_certificate_is_read_again_and_a_missing_one_said(tmp_path: Path) -> None:
    """At each look."""
    path = certificate(tmp_path / "cert.pem", 3)
    seen = Certificate(path)

    async def said() -> list[str]:
        await seen.look()
        return seen.conditions(NOW.timestamp())

    assert await said()
    certificate(path, 300)
    assert await said() == []
    for nonsense in (b"nonsense", of_a_version_that_is_none(path)):
        path.write_bytes(nonsense)
        assert "cannot be read" in (await said())[0]
    certificate(path, 300)
    assert await said() == []
    path.unlink()
    assert "No such file" in (await said())[0]
