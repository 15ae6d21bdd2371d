"""Every configuration that is shipped, tried by a stranger at another host."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from websockets.exceptions import InvalidMessage, InvalidStatus

from gateway.commands.init import Answers, configuration
from gateway.config import Config, load
from gateway.config.values import is_loopback
from tests.docs_blocks import ROOT
from tests.interop.stranger import SDP, status_of
from tests.net.certificates import Authority
from tests.ports import free_ports
from tests.strangers.stage import WAYS, Stage, Way, standing

pytestmark = pytest.mark.wall

DOMAIN = "phone.example.com"


def _answers(folder: Path, way: Way, **changes: Any) -> str:
    address = "2001:db8::7" if way.ipv6 else "203.0.113.7"
    return configuration(Answers(domain=DOMAIN, address=address, state_dir=folder, **changes))


def _with_certificate(folder: Path, way: Way) -> str:
    cert, key = Authority(folder).issue(DOMAIN)
    return _answers(folder, way, certificate=cert, key=key)


def _everywhere(text: str, way: Way) -> str:
    """The file as it is, or opened to all addresses of IPv6 instead of IPv4."""
    if not way.ipv6:
        return text
    dumped = yaml.safe_dump(yaml.safe_load(text), default_style="'")
    return dumped.replace("'0.0.0.0'", "'::'").replace("0.0.0.0:", "[::]:")


@dataclass(frozen=True, slots=True)
class Shipped:
    """A configuration, and the variables that come with it."""

    name: str
    text: Callable[[Path, Way], str]
    variables: Callable[[], dict[str, str]] = dict

    def __str__(self) -> str:
        return self.name


SHIPPED = (
    Shipped("gateway.yaml", lambda folder, way: (ROOT / "gateway.yaml").read_text()),
    Shipped("deploy", lambda folder, way: _everywhere((ROOT / "deploy/gateway.yaml").read_text(), way)),
    Shipped(
        "container",
        lambda folder, way: _everywhere((ROOT / "deploy/gateway.yaml").read_text(), way),
        lambda: dict(_yaml("deploy/compose.yaml")["services"]["gateway"]["environment"]),
    ),
    Shipped(
        "Helm",
        lambda folder, way: _everywhere(
            yaml.safe_dump(_yaml("deploy/helm/sip-webrtc-gateway/values.yaml")["config"]), way
        ),
    ),
    Shipped("init without certificate", _answers),
    Shipped("init with certificate", _with_certificate),
    Shipped("init behind a proxy", lambda folder, way: _answers(folder, way, proxied=True)),
)


def _yaml(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text())


def config_of(shipped: Shipped, folder: Path, way: Way) -> Config:
    """The shipped configuration on free ports, at the same addresses or at those of the other IP version."""
    path = folder / "gateway.yaml"
    path.write_text(shipped.text(folder, way))
    raw = load(path, {})
    web, sip, webrtc, rtp = free_ports(4)

    def at(host: str, port: int) -> str:
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    own = {
        "WEB__LISTEN": at(raw.web.listen.host, web),
        "SIP__LISTEN": json.dumps([f"{one.transport}:{at(one.host, sip)}" for one in raw.sip.listen]),
        "WEBRTC__LISTEN": at(raw.webrtc.listen.host, webrtc),
        "RTP__PORTS": f"{rtp}-{rtp + 99}",
        "STATE_DIR": str(folder),
        "LIMITS__LOAD": "0",
        # No container beside this one forwards the packets.
        "MEDIA__PLANE_START": "true",
    }
    return load(path, shipped.variables() | {f"GATEWAY_{key}": value for key, value in own.items()})


OFFER = json.dumps({"sdp": SDP.format(host="192.0.2.1"), "type": "offer", "to": "600"})
REQUESTS = (
    ("GET", "/webrtc/rooms", ""),
    ("POST", "/webrtc/offer", OFFER),
    ("GET", "/metrics", ""),
    ("GET", "/rtc/stats", ""),
    ("GET", "/api/audit", ""),
    ("GET", "/api/calls", ""),
    ("GET", "/api/users", ""),
    ("GET", "/api/recordings", ""),
    ("POST", "/api/links", "{}"),
)
"""What people have who are let in."""
FORWARDED = ("", "X-Forwarded-For: 127.0.0.1\r\n", "X-Forwarded-For: 8.8.8.8\r\n", "Forwarded: for=127.0.0.1\r\n")
REFUSED = (0, 400, 401, 403, 404, 405)
"""0: nobody takes the connection."""


async def _page_statuses(at: Stage) -> AsyncIterator[tuple[str, int]]:
    for header in FORWARDED:
        for method, path, body in REQUESTS:
            head = f"{method} {path} HTTP/1.1\r\nHost: {at.hostport}\r\nContent-Type: application/json\r\n{header}"
            request = f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
            yield f"{method} {path} {header.strip()}", await at.status(request.encode())


async def _room_status(at: Stage) -> int:
    """The status that refuses a WebSocket to a room; 101 where there is one."""
    try:
        await at.websocket("", "/webrtc/signaling?room_id=a")
    except InvalidStatus as refused:
        return refused.response.status_code
    except (OSError, EOFError, InvalidMessage):
        return 0
    return 101


@contextlib.asynccontextmanager
async def shipped_at(shipped: Shipped, folder: Path, way: Way) -> AsyncIterator[Stage]:
    """A gateway of that configuration, and a stranger's host."""
    async with standing(folder, way, config_of(shipped, folder, way)) as at:
        yield at


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("shipped", SHIPPED, ids=str)
async def test_no_shipped_file_lets_a_stranger_in(tmp_path: Path, shipped: Shipped, way: Way) -> None:
    """Neither by the page's requests, whatever they say of where they come from, nor by SIP."""
    async with shipped_at(shipped, tmp_path, way) as at:
        is_open = way.proxied or not is_loopback(at.app.config.web.listen.host)
        assert await at.status(at.request("GET", "/healthz")) == (200 if is_open else 0)
        async for what, status in _page_statuses(at):
            assert status in REFUSED, (what, status)
            assert bool(status) is is_open, (what, status)
        assert await _room_status(at) in REFUSED
        host = at.app.config.sip.listen[0].host
        if host in ("0.0.0.0", "::"):
            stranger = await at.stranger()
            for method in ("INVITE", "REGISTER", "MESSAGE", "SUBSCRIBE", "REFER", "PUBLISH"):
                uri = f"sip:600@{at.app.config.domain}"
                answer = await stranger.ask(stranger.request(method, uri), at.sip)
                assert status_of(answer) in (401, 403, 405, 407, 481), (method, answer)
