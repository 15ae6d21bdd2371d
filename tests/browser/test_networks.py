"""Browsers behind networks that fight back, on the real softphone page."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.demo.browser import SoftphoneBrowser
from tests import peers
from tests.coturn import SECRET, coturn
from tests.interop.gateway import BROWSER_HZ, config_on_free_ports, gateway_with

pytestmark = pytest.mark.browser

ONLY_RELAYS = """
const Connection = window.RTCPeerConnection;
window.RTCPeerConnection = class extends Connection {
  constructor(options) { super({ ...options, iceTransportPolicy: "relay" }); window.connection = this; }
};
"""
PAIR = """async () => {
  const report = await connection.getStats();
  const transport = [...report.values()].find(({ type }) => type === "transport");
  const pair = report.get(transport.selectedCandidatePairId);
  const [local, remote] = [report.get(pair.localCandidateId), report.get(pair.remoteCandidateId)];
  return [local.candidateType, local.protocol, remote.candidateType, remote.protocol];
}"""


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
