"""Firefox on a host of its own, on the real softphone page: with IPv6 alone, and where no UDP comes out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.browser.firefox import Firefox
from tests.browser.firefox_page import DIAL, TEXT, WATCH, press, until
from tests.browser.sound_card import sound_card
from tests.interop.gateway import NEAR, PHONE_HZ, Gateway, config_on_free_ports, gateway_with
from tests.netns import NO_UDP, Host, host
from tests.peers import firefox
from tests.ports import free_port

pytestmark = [pytest.mark.wall, pytest.mark.serial, pytest.mark.nightly]

PAIR = """
  return (async () => {
    const report = await __peers.at(-1).getStats();
    const pair = [...report.values()].find(({ type, selected }) => type === "candidate-pair" && selected);
    const [local, remote] = [report.get(pair.localCandidateId), report.get(pair.remoteCandidateId)];
    return [local.protocol, remote.protocol, remote.address];
  })();
"""
LISTEN = """
  const [{ track }] = __peers.at(-1).getReceivers();
  const context = new AudioContext();
  window.ear = context.createAnalyser();
  ear.fftSize = 8192;
  context.createMediaStreamSource(new MediaStream([track])).connect(ear);
"""
LOUDEST = """
  const found = new Float32Array(ear.frequencyBinCount);
  ear.getFloatFrequencyData(found);
  return found.indexOf(Math.max(...found)) * ear.context.sampleRate / ear.fftSize;
"""
"""Hz of the loudest that is heard."""


@contextlib.asynccontextmanager
async def page_from(elsewhere: Host, folder: Path, **changes: str) -> AsyncIterator[tuple[Gateway, Firefox]]:
    """A gateway at our end of the cable, and alice's page in a Firefox on that host, which keeps its connections."""
    here = f"[{elsewhere.here}]" if ":" in elsewhere.here else elsewhere.here
    web, rtc = free_port(), free_port()
    config = config_on_free_ports(folder, WEB__LISTEN=f"{here}:{web}", WEBRTC__LISTEN=f"{here}:{rtc}", **changes)
    trusted = {"dom.securecontext.allowlist": elsewhere.here}  # or it has no microphone for a page without HTTPS
    async with (
        gateway_with(config, folder / "gateway.log") as gateway,
        sound_card() as environ,
        Firefox(firefox(), trusted, environ, on=elsewhere) as browser,
    ):
        await browser.open(gateway.app.signed_in_url("alice") + "&raw=1")
        await until(browser, "return document.body.dataset.view", "idle")
        await browser.run(WATCH)
        yield gateway, browser


async def talk(gateway: Gateway, browser: Firefox) -> None:
    """Call the phone 1001; each hears the other's tone."""
    phone = await gateway.phone("1001", PHONE_HZ)
    phone.on_incoming(200)
    await browser.run(DIAL.format("1001"))
    await until(browser, TEXT, "Connected.")
    await phone.listen()
    await phone.expect("tone")
    await browser.run(LISTEN)
    async with asyncio.timeout(30):
        while await browser.run(LOUDEST) != pytest.approx(PHONE_HZ, abs=NEAR):  # noqa: ASYNC110  # only asking tells
            await asyncio.sleep(0.1)


async def hang_up(gateway: Gateway, browser: Firefox) -> None:
    await press(browser, "#hangup")
    await until(browser, TEXT, "The call ended.")
    await gateway.idle()


async def test_firefox_with_ipv6_alone_talks_with_a_phone_of_ipv4(tmp_path: Path) -> None:
    """One call, IPv6 on one side and IPv4 on the other; neither is told of the other's address."""
    with host(ipv6=True) as there:
        async with page_from(there, tmp_path) as (gateway, browser):
            await talk(gateway, browser)
            assert await browser.run(PAIR) == ["udp", "udp", there.here]
            said = await browser.run("return __peers.at(-1).remoteDescription.sdp")
            assert "127.0.0.1" not in said.partition("m=")[2]
            await hang_up(gateway, browser)


async def test_firefox_whose_network_lets_no_udp_out_talks_by_tcp(tmp_path: Path) -> None:
    """By one TCP connection, and nothing is left of it when the call is over."""
    with host() as office:
        office.rules(NO_UDP)
        async with page_from(office, tmp_path, WEBRTC__TCP="true") as (gateway, browser):
            await talk(gateway, browser)
            assert await browser.run(PAIR) == ["tcp", "tcp", office.here]
            await hang_up(gateway, browser)
