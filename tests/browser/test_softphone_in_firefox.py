"""Firefox on the page of a gateway as it is configured out of the box: it hears 600."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from gateway.media.embedded.addresses import own_addresses
from tests import peers
from tests.browser.firefox import Firefox
from tests.browser.firefox_page import WATCH, dialled
from tests.coturn import SECRET, coturn
from tests.interop.gateway import PASSWORDS, config_on_free_ports, gateway_with
from tests.ports import free_port
from tests.web.browser import NO_SOUND

pytestmark = [
    pytest.mark.wall,
]

HEARD = """
  return (async () => {
    const peer = window.__peers.at(-1);
    if (!peer) return null;
    let found = {state: peer.connectionState, packets: 0};
    for (const each of (await peer.getStats()).values()) {
      if (each.type === 'inbound-rtp') found.packets = each.packetsReceived;
      if (each.type === 'remote-candidate') (found.candidates ??= []).push(each.address);
    }
    return found;
  })();
"""


async def test_firefox_hears_the_echo_on_the_default_configuration(executable: str, tmp_path: Path) -> None:
    """Its ICE refuses loopback candidates; one of this machine's own addresses is offered beside them."""
    peers.network()
    async with dialled(executable, tmp_path) as firefox:
        async with asyncio.timeout(30):
            while not (heard := await firefox.run(HEARD)) or heard["packets"] < 50:  # noqa: ASYNC110  # only asking tells
                await asyncio.sleep(0.2)
        assert heard["state"] == "connected"
        assert set(own_addresses()) & set(heard["candidates"])


WITHOUT_UDP = WATCH.replace(
    "super(...given);",
    """super(...given);
      const take = this.setRemoteDescription.bind(this);
      this.setRemoteDescription = ({ type, sdp }) =>
        take({ type, sdp: sdp.replaceAll(/a=candidate:\\S+ 1 udp.*\\r\\n/g, "") });""",
)


async def test_firefox_without_a_microphone_says_so_and_listens(
    executable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is faked: there is no microphone, so it is said, and whoever wants hears the tone all the same."""
    peers.network()
    for name, value in NO_SOUND.items():
        monkeypatch.setenv(name, value)
    async with dialled(executable, tmp_path, {"media.navigator.streams.fake": False}, number="601") as firefox:
        says = "return document.getElementById('status').textContent"
        async with asyncio.timeout(30):
            while "No microphone was found" not in await firefox.run(says):  # noqa: ASYNC110  # only asking tells
                await asyncio.sleep(0.1)
            await firefox.run("document.getElementById('listen').click()")
            while not (heard := await firefox.run(HEARD)) or heard["packets"] < 50:  # noqa: ASYNC110  # only asking tells
                await asyncio.sleep(0.1)
        assert heard["state"] == "connected"
        assert await firefox.run(says) == "Connected."


async def test_firefox_hears_the_echo_by_tcp(executable: str, tmp_path: Path) -> None:
    """Where of our candidates only the passive one is left."""
    peers.network()
    listen = f"{own_addresses()[0]}:{free_port()}"
    tcp = dialled(executable, tmp_path, watch=WITHOUT_UDP, WEBRTC__LISTEN=listen, WEBRTC__TCP="true")
    async with tcp as firefox, asyncio.timeout(30):
        while not (heard := await firefox.run(HEARD)) or heard["packets"] < 50:  # noqa: ASYNC110  # only asking tells
            await asyncio.sleep(0.2)


async def test_firefox_hears_the_echo_by_a_relay_alone(executable: str, tmp_path: Path) -> None:
    """With a password of the shared secret, as the page is given it."""
    peers.network()
    own = own_addresses()[0]
    async with coturn(tmp_path, host=own, options=("--no-tls",)) as server:
        only = {"media.peerconnection.ice.relay_only": True}
        changes = {"WEBRTC__TURN_SERVER": server.url(), "WEBRTC__TURN_SECRET": SECRET}
        relayed = dialled(executable, tmp_path, only, WEBRTC__LISTEN=f"{own}:{free_port()}", **changes)
        async with relayed as firefox, asyncio.timeout(30):
            while not (heard := await firefox.run(HEARD)) or heard["packets"] < 50:  # noqa: ASYNC110  # only asking tells
                await asyncio.sleep(0.2)
        assert server.said("CREATE_PERMISSION processed, success")


async def test_the_page_says_why_where_there_is_no_address_but_loopback(executable: str, tmp_path: Path) -> None:
    """One sentence that names the setting, in place of a guess at firewalls."""
    async with dialled(executable, tmp_path, WEBRTC__OWN_ADDRESSES="false") as firefox:
        said = ""
        async with asyncio.timeout(40):
            while "loopback" not in said:
                await asyncio.sleep(0.2)
                said = await firefox.run("return document.getElementById('status').textContent")
        assert "webrtc.listen" in said


PRESS = """
  const root = document.querySelector('main span').shadowRoot;
  root.getElementById('call').click();
"""
SAYS = "return document.querySelector('main span').shadowRoot.getElementById('status').textContent"


async def test_firefox_calls_by_a_link_and_only_as_often_as_it_says(executable: str, tmp_path: Path) -> None:
    """Its page on a gateway without guests: the echo is heard, once."""
    peers.network()
    users = '[{"id": "alice", "web": true, "role": "operator"}]'
    config = config_on_free_ports(tmp_path, USERS=users, WEB__GUESTS="off")
    async with (
        gateway_with(config, tmp_path / "gateway.log") as gateway,
        httpx.AsyncClient(base_url=gateway.web) as http,
        Firefox(executable) as firefox,
    ):
        given = {"user": "alice", "password": PASSWORDS["alice"]}
        token = (await http.post("/api/session", json=given)).json()["access_token"]
        made = await http.post("/api/links", json={"to": "600"}, headers={"Authorization": f"Bearer {token}"})
        await firefox.open(made.json()["url"])
        await firefox.run(WATCH)
        await firefox.run(PRESS)
        async with asyncio.timeout(30):
            while not (heard := await firefox.run(HEARD)) or heard["packets"] < 50:  # noqa: ASYNC110  # only asking tells
                await asyncio.sleep(0.2)
        assert await firefox.run(SAYS) == "You are connected."
        await firefox.run(PRESS)
        assert await firefox.run(SAYS) == "The call has ended."
        await firefox.run(PRESS)
        async with asyncio.timeout(30):
            while await firefox.run(SAYS) != "This link is not valid any more.":  # noqa: ASYNC110  # only asking tells
                await asyncio.sleep(0.2)
