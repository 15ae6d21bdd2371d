"""Browsers behind networks that fight back, on the real softphone page."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.demo.browser import SoftphoneBrowser
from tests import peers
from tests.browser.softphone import phone_hears, talk
from tests.coturn import SECRET, coturn
from tests.interop.gateway import BROWSER_HZ, PHONE_HZ, Gateway, config_on_free_ports, gateway_with
from tests.netns import NO_UDP, WORLD, Host, beyond, host
from tests.ports import free_port

# A Chromium drops what it is loading when this machine's addresses change: here they do.
pytestmark = [pytest.mark.wall, pytest.mark.serial, pytest.mark.nightly]

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
    arguments = [*elsewhere.words, peers.whole_chromium(), f"--unsafely-treat-insecure-origin-as-secure={page}"]
    program.write_text(f'#!/bin/sh\nexec {shlex.join(arguments)} "$@"\n')
    program.chmod(0o755)
    return str(program)


@contextlib.asynccontextmanager
async def page_from(elsewhere: Host, folder: Path, **changes: str) -> AsyncIterator[tuple[Gateway, SoftphoneBrowser]]:
    """A gateway at our end of the cable, and alice's page in a Chromium on that host, which keeps its `connection`."""
    here = f"[{elsewhere.here}]" if ":" in elsewhere.here else elsewhere.here
    web, rtc = free_port(), free_port()
    config = config_on_free_ports(folder, WEB__LISTEN=f"{here}:{web}", WEBRTC__LISTEN=f"{here}:{rtc}", **changes)
    async with (
        gateway_with(config, folder / "gateway.log") as gateway,
        SoftphoneBrowser(chromium_at(elsewhere, folder, f"http://{here}:{web}"), BROWSER_HZ) as browser,
    ):
        await browser.page.add_init_script(CONNECTION)
        await browser.open(gateway.app.signed_in_url("alice"))
        yield gateway, browser


MOVED = PAIR.replace("async ()", "async (address)").replace(
    "return [local.candidateType, local.protocol, remote.candidateType, remote.protocol]",
    'return local.address === address && connection.connectionState === "connected"',
)


async def test_a_browser_that_may_only_use_relays_is_given_one_and_talks(tmp_path: Path) -> None:
    """A password that coturn takes comes from /iceservers with the sign-in; the tone goes and comes by the relay."""
    async with coturn(tmp_path) as server:
        config = config_on_free_ports(
            tmp_path, WEBRTC__TURN_SERVER=server.url(), WEBRTC__TURN_SECRET=SECRET, WEBRTC__OWN_ADDRESSES="false"
        )
        async with (
            gateway_with(config, tmp_path / "gateway.log", [SECRET]) as gateway,
            SoftphoneBrowser(peers.whole_chromium(), BROWSER_HZ) as browser,
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


async def test_a_browser_whose_network_lets_no_udp_out_talks_by_tcp(tmp_path: Path) -> None:
    """The tone goes there and back by one TCP connection, and nothing is left of it when the call is over."""
    with host() as office:
        office.rules(NO_UDP)
        async with page_from(office, tmp_path, WEBRTC__TCP="true") as (gateway, browser):
            await browser.dial("600")
            await browser.tone(BROWSER_HZ)
            assert (await browser.page.evaluate(PAIR))[1::2] == ["tcp", "tcp"]
            await browser.hang_up()
            await gateway.idle()


@pytest.mark.parametrize(
    ("udp", "ours"),
    [("", "prflx"), ("udp dport != {port} drop;", "relay")],
    ids=["opens the translator by checks", "only by its relay"],
)
async def test_a_gateway_behind_an_address_translator_is_reached(tmp_path: Path, udp: str, ours: str) -> None:
    """With `media.ice: full` and the URL of a coturn outside: by a hole in the translator, or by the relay alone."""
    with host(net="10.77") as router, beyond(router) as outside:
        web, rtc = free_port(), free_port()
        async with coturn(tmp_path, host=outside.there, prefix=outside.words) as server:
            router.rules(
                f"""
                table ip door {{
                  chain in {{ type nat hook prerouting priority -100; tcp dport {web} dnat to {router.here}; }}
                  chain out {{
                    type filter hook forward priority 1;
                    ip saddr {router.here} meta l4proto udp {udp.format(port=server.port) or "accept"}
                  }}
                }}
                """
            )
            page = f"http://{outside.here}:{web}"
            config = config_on_free_ports(
                tmp_path,
                WEB__LISTEN=f"{router.here}:{web}",
                WEB__PUBLIC_URL=page,
                WEBRTC__LISTEN=f"{router.here}:{rtc}",
                WEBRTC__TURN_SERVER=server.url(),
                WEBRTC__TURN_SECRET=SECRET,
                MEDIA__ICE="full",
                MEDIA__ICE_PEERS_ALLOWED=json.dumps([WORLD]),
            )
            async with (
                gateway_with(config, tmp_path / "gateway.log", [SECRET]) as gateway,
                SoftphoneBrowser(chromium_at(outside, tmp_path, page), BROWSER_HZ) as browser,
            ):
                await browser.page.add_init_script(CONNECTION)
                there = gateway.app.signed_in_url("alice").partition("#")
                await browser.open(f"{page}/{there[1]}{there[2]}")
                await browser.dial("600")
                await browser.tone(BROWSER_HZ)
                assert (await browser.page.evaluate(PAIR))[2] in (ours, "srflx" if ours == "prflx" else ours)
                await browser.hang_up()
                await gateway.idle()


async def test_a_phone_calls_a_browser_through_a_full_agent(tmp_path: Path) -> None:
    """Both ends believe at first that they are controlled, and settle it (RFC 8445 section 7.3.1.1)."""
    config = config_on_free_ports(tmp_path, MEDIA__ICE="full")
    async with (
        gateway_with(config, tmp_path / "gateway.log") as gateway,
        SoftphoneBrowser(peers.whole_chromium(), BROWSER_HZ) as browser,
    ):
        phone = await gateway.phone("1001", PHONE_HZ)
        await browser.open(gateway.app.signed_in_url("alice"))
        phone.dial(gateway.uri("alice"))
        await browser.status("ringing")
        await browser.accept()
        await phone.expect("state", state="answered")
        await phone_hears(phone)
        await browser.tone(PHONE_HZ)
        phone.hangup()
        await gateway.idle()


async def test_a_browser_with_ipv6_alone_talks_with_a_phone_of_ipv4(tmp_path: Path) -> None:
    """One call, IPv6 on one side and IPv4 on the other; neither is told of the other's address."""
    with host(ipv6=True) as there:
        async with page_from(there, tmp_path) as (gateway, browser):
            phone = await gateway.phone("1001", PHONE_HZ)
            await talk(browser, phone)
            _, _, media = (await browser.page.evaluate("connection.remoteDescription.sdp")).partition("m=")
            assert f"IN IP6 {there.here}" in media
            assert "127.0.0.1" not in media
            await browser.hang_up()
            await gateway.idle()


async def test_a_browser_whose_address_changes_in_a_call_talks_on(tmp_path: Path) -> None:
    """From one network to another: the browser finds the way from there, and the call is the same one."""
    with host() as wifi:
        async with page_from(wifi, tmp_path) as (gateway, browser):
            await browser.dial("600")
            await browser.tone(BROWSER_HZ)
            [call] = gateway.app.calls
            wifi.run(f"ip addr del {wifi.there}/26 dev {wifi.name}b", f"ip addr add {wifi.other}/26 dev {wifi.name}b")
            wifi.run(f"ip route replace default via {wifi.here}")
            await browser.page.wait_for_function(MOVED, arg=wifi.other, timeout=30_000)
            await browser.page.evaluate("__ear.recent.length = __ear.kept = 0")
            await browser.tone(BROWSER_HZ)
            assert [one.id for one in gateway.app.calls] == [call.id]
