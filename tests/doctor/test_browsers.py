"""A certificate that browsers refuse is a fault where browsers are to come."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from gateway.config import Config
from gateway.doctor import browsers, certificates
from gateway.doctor.findings import Finding, Verdict
from tests.doctor.around import config
from tests.net.certificates import Authority, self_signed
from tests.rows import by_row


def found(given: Config, key: str = "web.tls") -> list[Finding]:
    return [one for one in certificates.certificates(given, time.time()) if one.subject == key]


def page(pair: tuple[Path, Path], **web: Any) -> Config:
    """A page of that certificate and key that others reach."""
    tls = {"cert": str(pair[0]), "key": str(pair[1])}
    return config(domain="phone.test", web={"listen": "0.0.0.0:8443", "tls": tls, **web})


PUBLIC = "https://phone.test"


@by_row(
    ("web", "name", "verdict"),
    [
        ({"public_url": PUBLIC}, "phone.test", Verdict.GOOD),
        ({}, "phone.test", Verdict.GOOD),
        ({"public_url": PUBLIC}, "other.test", Verdict.WRONG),
        ({}, "other.test", Verdict.WRONG),
        ({"listen": "127.0.0.1:8443"}, "other.test", Verdict.GOOD),
        ({"listen": "127.0.0.1:8443", "public_url": PUBLIC}, "other.test", Verdict.WRONG),
    ],
)
def test_a_certificate_of_another_name_is_a_fault_where_browsers_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, web: dict[str, Any], name: str, verdict: Verdict
) -> None:
    """The page's own name counts, or the domain; on this machine alone nobody minds."""
    authority = Authority(tmp_path)
    trusted = x509.load_pem_x509_certificate(authority.file.read_bytes())
    monkeypatch.setattr(browsers, "_known", lambda: [trusted])
    [finding] = found(page(authority.issue(name, days=90), **web))
    assert finding.verdict is verdict
    assert verdict is Verdict.GOOD or ("phone.test" in finding.found and name in finding.found)


def test_a_self_signed_certificate_is_a_fault_where_browsers_come(tmp_path: Path) -> None:
    """Of the page, and of SIP over secure WebSocket; behind a proxy on this machine it may be."""
    pair = self_signed(tmp_path, "phone.test")
    tls = {"cert": str(pair[0]), "key": str(pair[1])}
    [finding] = found(page(pair))
    assert (finding.verdict, "signed itself" in finding.found) == (Verdict.WRONG, True)
    assert [one.verdict for one in found(page(pair, listen="127.0.0.1:8443"))] == [Verdict.GOOD]
    by_websocket = config(domain="phone.test", sip={"listen": ["wss:0.0.0.0:5062"], "tls": tls})
    assert Verdict.WRONG in [one.verdict for one in found(by_websocket, "sip.tls")]
    by_tls = config(domain="phone.test", sip={"listen": ["tls:0.0.0.0:5061"], "tls": tls})
    assert Verdict.WRONG not in [one.verdict for one in found(by_tls, "sip.tls")]


def test_an_authority_that_is_not_known_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be in every browser of a house: no fault; a machine that knows no authority says nothing of it."""
    other = Authority(tmp_path)
    known = x509.load_pem_x509_certificate(other.file.read_bytes())
    pair = Authority(tmp_path).issue("phone.test", days=90)
    monkeypatch.setattr(browsers, "_known", lambda: [known])
    assert [one.verdict for one in found(page(pair))] == [Verdict.GOOD, Verdict.NOTICE]
    monkeypatch.setattr(browsers, "_known", list)
    assert [one.verdict for one in found(page(pair))] == [Verdict.GOOD]
