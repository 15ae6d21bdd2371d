"""Browsers behind networks that fight back, on the real softphone page."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from gateway.demo.browser import SoftphoneBrowser
from tests import peers
from tests.coturn import SECRET, coturn
from tests.interop.gateway import BROWSER_HZ, config_on_free_ports, gateway_with
from tests.netns import Host, host
from tests.ports import free_port

pytestmark = pytest.mark.browser

NO_UDP = """
table inet firewall {
  chain out { type filter hook output priority 0; meta l4proto udp drop; }
}
"""
ONLY_RELAYS = """
const Connection = window.RTCPeerConnection;
window.RTCPeerConnection = class extends Connection {
  constructor(options) { super({ ...options, iceTransportPolicy: "relay" }); window.connection = this; }
};
"""
CONNECTION = ONLY_RELAYS.replace(', iceTransportPolicy: "relay"', "")
PAIR = """async () => {
  const report = await connection.getStats();
  const transport = [...report.values()].find(({ type }) => type === "transport");
  const pair = report.get(transport.selectedCandidatePairId);
  const [local, remote] = [report.get(pair.localCandidateId), report.get(pair.remoteCandidateId)];
  return [local.candidateType, local.protocol, remote.candidateType, remote.protocol];
}"""


def chromium_at(elsewhere: Host, folder: Path, page: str) -> str:
    """A program that is Chromium on that host, which gives the microphone to the page though it is not HTTPS."""
    program = folder / "chromium"
    arguments = [*elsewhere.words, peers.chromium(), f"--unsafely-treat-insecure-origin-as-secure={page}"]
    program.write_text(f'#!/bin/sh\nexec {shlex.join(arguments)} "$@"\n')
    program.chmod(0o755)
    return str(program)


async def test_a_browser_that_may_only_use_relays_is_given_one_and_talks(tmp_path: Path) -> None:
    """A password that coturn takes comes from /iceservers with the sign-in; the tone goes and comes by the relay."""
    async with coturn(tmp_path) as server:
        config = config_on_free_ports(
            tmp_path, WEBRTC__TURN_SERVER=server.url(), WEBRTC__TURN_SECRET=SECRET, WEBRTC__OWN_ADDRESSES="false"
        )
        async with (
            gateway_with(config, tmp_path / "gateway.log", [SECRET]) as gateway,
            SoftphoneBrowser(peers.chromium(), BROWSER_HZ) as browser,
        ):
            await browser.page.add_init_script(ONLY_RELAYS)
            await browser.open(gateway.app.signed_in_url("alice"))
            await browser.dial("600")
            await browser.tone(BROWSER_HZ)
            assert (await browser.page.evaluate(PAIR))[0] == "relay"
            await browser.hang_up()
            await gateway.idle()
        assert server.said(":alice>")
        assert not server.said("invalid credentials"), "a password was refused"


@pytest.mark.parametrize("plane", ["python", "native"])
async def test_a_browser_whose_network_lets_no_udp_out_talks_by_tcp(tmp_path: Path, plane: str) -> None:
    """The tone goes there and back by one TCP connection, and nothing is left of it when the call is over."""
    with host() as office:
        office.rules(NO_UDP)
        web, rtc = free_port(), free_port()
        config = config_on_free_ports(
            tmp_path,
            WEB__LISTEN=f"{office.here}:{web}",
            WEBRTC__LISTEN=f"{office.here}:{rtc}",
            WEBRTC__TCP="true",
            MEDIA__PLANE=plane,
        )
        page = f"http://{office.here}:{web}"
        async with (
            gateway_with(config, tmp_path / "gateway.log") as gateway,
            SoftphoneBrowser(chromium_at(office, tmp_path, page), BROWSER_HZ) as browser,
        ):
            await browser.page.add_init_script(CONNECTION)
            await browser.open(gateway.app.signed_in_url("alice"))
            await browser.dial("600")
            await browser.tone(BROWSER_HZ)
            assert (await browser.page.evaluate(PAIR))[1::2] == ["tcp", "tcp"]
            await browser.hang_up()
            await gateway.idle()
