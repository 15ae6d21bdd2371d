"""The DTLS certificate of calls that outlive their gateway: kept beside the packet plane, renewed with it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.embedded.plane.native.plane import NativePlane
from gateway.media.embedded.settings import EmbeddedConfig
from gateway.media.embedded.webrtc.certificate import DtlsCertificate, keep
from gateway.media.embedded.webrtc.config import WebRtcConfig
from sdp import SessionDescription
from sdp.attributes import Fingerprint
from tests.media.dtls_phone import PLAIN, SECURE, Renewing, both_heard, it_offers, we_offer
from tests.media.engine_support import Phone, config, written_down
from tests.media.plane_rig import leave, native_plane
from tests.rows import by_row


def shown(sdp: str) -> list[str]:
    """Fingerprints of a description."""
    description = SessionDescription.parse(sdp)
    return [each.digest for each in description.all_of(description.media[0], Fingerprint)]


def config_of(folder: Path) -> EmbeddedConfig:
    webrtc = WebRtcConfig(listen=("127.0.0.1",), certificate_file=folder / "dtls.pem")
    return replace(config(), webrtc=webrtc)


def test_a_kept_certificate_is_readable_by_its_user_only(tmp_path: Path) -> None:
    """Key and certificate come back as they were."""
    made = DtlsCertificate.generate(datetime.now(UTC), timedelta(days=1), "gateway")
    older = DtlsCertificate.generate(datetime.now(UTC), timedelta(days=1), "older")
    keep([made, older], tmp_path / "dtls.pem")
    assert (tmp_path / "dtls.pem").stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["dtls.pem"]
    left = DtlsCertificate.left(tmp_path / "dtls.pem")
    assert [each.fingerprint() for each in left] == [made.fingerprint(), older.fingerprint()]


@by_row("content", ["", "no PEM", "another key", "expired"])
def test_a_kept_certificate_of_no_use_is_left(tmp_path: Path, content: str) -> None:
    """There is a new one then."""
    path, now = tmp_path / "dtls.pem", datetime.now(UTC)
    made = DtlsCertificate.generate(now - timedelta(days=2), timedelta(days=1 if content == "expired" else 9), "one")
    keep([made], path)
    if content == "another key":
        other = tmp_path / "other.pem"
        keep([DtlsCertificate.generate(now, timedelta(days=1), "other")], other)
        key = other.read_text().partition("-----BEGIN PRIVATE")
        path.write_text(path.read_text().partition("-----BEGIN PRIVATE")[0] + key[1] + key[2])
    elif content != "expired":
        path.write_text(content)
    assert DtlsCertificate.left(path) == ()
    assert DtlsCertificate.left(tmp_path / "none.pem") == ()


def test_a_certificate_that_cannot_be_kept_ends_no_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A line in the log says so, without the key."""
    caplog.set_level(logging.WARNING)
    made = DtlsCertificate.generate(datetime.now(UTC), timedelta(days=1), "gateway")
    keep([made], tmp_path / "no folder" / "dtls.pem")
    assert "cannot be kept" in caplog.text
    assert "PRIVATE" not in caplog.text


@pytest.mark.wall
@pytest.mark.parametrize("exchange", [we_offer, it_offers])
async def test_a_recovered_call_keeps_its_fingerprint(tmp_path: Path, exchange: Callable[..., Awaitable[None]]) -> None:
    """A PBX that begins its first new handshake after a restart meets the certificate that was negotiated."""
    phone, plain = Renewing(), Phone()
    async with AsyncExitStack() as stack:
        for each in (phone, plain):
            await each.open()
            stack.push_async_callback(each.close)
        first = EmbeddedEngine(config_of(tmp_path), make_plane=lambda: native_plane(tmp_path))
        await first.start()
        offer = await first.offer("call", PLAIN, SECURE, plain.sdp())
        phone.begin(offer)
        plain.take(await first.answer("call", SECURE, PLAIN, phone.sdp(setup="active")))
        plain.play(900)
        phone.play(600)
        await both_heard(phone, plain)
        values = written_down(first)
        plane = first._running().plane
        assert isinstance(plane, NativePlane)
        await leave(plane)
        second = EmbeddedEngine(config_of(tmp_path), make_plane=lambda: native_plane(tmp_path))
        await second.start()
        stack.push_async_callback(second.close)
        await second.resume("call", values)
        again = await second.offer("call", PLAIN, SECURE, plain.sdp())
        assert shown(again) == shown(offer)
        plain.take(await second.answer("call", SECURE, PLAIN, phone.sdp(setup="active")))
        phone.begin(again)
        await both_heard(phone, plain)
        await exchange(second, phone, plain)
        await both_heard(phone, plain)


@pytest.mark.wall
async def test_a_plane_with_no_calls_gets_another_certificate(tmp_path: Path) -> None:
    """No key outlives what it was for."""
    prints = []
    for _ in range(2):
        engine = EmbeddedEngine(config_of(tmp_path), make_plane=lambda: native_plane(tmp_path))
        await engine.start()
        prints.append(engine.port.fingerprints)
        await engine.close()
    assert prints[0] != prints[1]
