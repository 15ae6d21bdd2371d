"""Phones that share no code with us, at gateways that protect media in one way alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.media.engine import Kind
from tests.interop.baresip import baresip
from tests.interop.gateway import PASSWORDS, PHONE_HZ, config_on_free_ports, gateway_with, hear_each_other

pytestmark = pytest.mark.wall

SINE_HZ = 660
"""What baresip says."""


@pytest.mark.parametrize(
    ("keying", "suite", "encryption", "kind"),
    [("dtls", "AEAD_AES_128_GCM", "dtls_srtp", Kind.DTLS), ("sdes", "AEAD_AES_256_GCM", "srtp-mand", Kind.SDES)],
)
async def test_baresip_takes_what_is_offered_alone(
    tmp_path: Path, keying: str, suite: str, encryption: str, kind: Kind
) -> None:
    """DTLS (RFC 5763), and AES-256 by SDES (RFC 7714), where SRTP is required: its tone is found in the browser."""
    changes = {"RTP__SRTP": "required", "RTP__SRTP_KEYING": keying, "RTP__SRTP_SUITES": suite}
    async with gateway_with(config_on_free_ports(tmp_path, **changes), tmp_path / "gateway.log") as gateway:
        page = await gateway.browser("alice")
        async with baresip(
            tmp_path / "phone",
            "1001",
            PASSWORDS["1001"],
            gateway.sip,
            gateway.config.domain,
            codec="PCMU/8000/1",
            source=f"ausine,{SINE_HZ}",
            encryption=encryption,
        ) as phone:
            await phone.expect("REGISTER_OK")
            await page.dial("1001")
            await page.status("talking")
            await phone.expect("CALL_ESTABLISHED")
            await page.tone(SINE_HZ)
            (call,) = gateway.app.calls
            assert kind in {leg.party.kind for leg in call.legs}
            await page.hang_up()
            await phone.expect("CALL_CLOSED")
            await gateway.idle()


@pytest.mark.parametrize("suite", ["AES_256_CM_HMAC_SHA1_80", "AES_256_CM_HMAC_SHA1_32"])
async def test_aes_256_is_what_pjsua2_means_by_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suite: str) -> None:
    """RFC 6188: offered alone where SRTP is required it is taken, and each hears the other's tone."""
    monkeypatch.setenv("PHONE_SRTP", "1")
    changes = {"RTP__SRTP": "required", "RTP__SRTP_KEYING": "sdes", "RTP__SRTP_SUITES": suite}
    async with gateway_with(config_on_free_ports(tmp_path, **changes), tmp_path / "gateway.log") as gateway:
        phone, page = await gateway.phone("1001", PHONE_HZ), await gateway.browser("alice")
        await page.dial("1001")
        await page.status("talking")
        await hear_each_other(page, phone)
        phone.hangup()
        await phone.expect("state", state="ended")
        await gateway.idle()
