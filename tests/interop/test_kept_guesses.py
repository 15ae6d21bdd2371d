"""Wrong passwords of a gateway that is killed: the next process continues their counts."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from pathlib import Path

import httpx
import pytest

from bench.process import running
from tests.app.ws_phone import UdpPhone
from tests.interop.gateway import PASSWORDS, environment_on_free_ports
from tests.interop.stranger import stranger
from tests.media.engine_support import until

pytestmark = pytest.mark.wall

HOME, THIEF, OTHER = "198.51.100.1", "198.51.100.2", "198.51.100.3"


def environment(folder: Path) -> dict[str, str]:
    """One process after the other on one state folder, behind a proxy on this machine."""
    limits = {"FAILED_LOGINS": "4", "LOGIN_PENALTY": "3600", "FAILED_LOGINS_PER_USER": "4"}
    values = {f"{side}__LIMITS__{key}": value for side in ("WEB", "SIP") for key, value in limits.items()}
    others = {key: value for key, value in os.environ.items() if not key.startswith("GATEWAY_")}
    return others | environment_on_free_ports(folder, WEB__PROXIES='["127.0.0.1"]', MEDIA__PLANE="python", **values)


async def signs_in(url: str, source: str, user: str, password: str) -> int:
    """Status of a sign-in that a proxy passes on from that address."""
    async with httpx.AsyncClient(base_url=url, headers={"X-Forwarded-For": source}) as http:
        return (await http.post("/api/session", json={"user": user, "password": password})).status_code


async def registers(sip: str, source: str, password: str) -> int:
    """Status of a REGISTER of 1001 from that address."""
    host, _, port = sip.partition(":")
    async with stranger(source) as socket:
        answer = await UdpPhone(socket, (host, int(port)), "1001", "gateway.example", password).register()
        return answer.status


async def test_a_kill_gives_no_further_guesses_and_keeps_known_addresses(tmp_path: Path) -> None:
    """Neither over HTTP nor over SIP; the files hold no password, and only their owner reads them."""
    environ = environment(tmp_path) | {"GATEWAY_DOMAIN": "gateway.example"}
    sip = json.loads(environ["GATEWAY_SIP__LISTEN"])[0].removeprefix("udp:")
    at_home, at_the_thiefs = "127.0.0.21", "127.0.0.22"
    files = [tmp_path / "guesses-web.json", tmp_path / "guesses-sip.json"]
    async with running(environ, tmp_path / "1.log") as gateway:
        assert await signs_in(gateway.url, HOME, "alice", PASSWORDS["alice"]) == 200
        assert await registers(sip, at_home, PASSWORDS["1001"]) == 200
        for number in range(4):
            assert await signs_in(gateway.url, THIEF, "alice", f"guess-{number}") == 401
            assert await registers(sip, at_the_thiefs, f"guess-{number}") in (401, 403)
        await until(lambda: all(file.exists() and ",4," in file.read_text() for file in files))
        gateway.process.kill()
        await asyncio.to_thread(gateway.process.wait)
    async with running(environ, tmp_path / "2.log") as gateway:
        assert await signs_in(gateway.url, THIEF, "bob", PASSWORDS["bob"]) == 503
        assert await signs_in(gateway.url, HOME, "alice", PASSWORDS["alice"]) == 200
        assert await signs_in(gateway.url, OTHER, "bob", PASSWORDS["bob"]) == 200
        assert await registers(sip, at_the_thiefs, PASSWORDS["1001"]) == 403
        assert await registers(sip, at_home, PASSWORDS["1001"]) == 200
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert not any(secret in file.read_text() for secret in ("guess-", *PASSWORDS.values()))


@pytest.mark.parametrize("text", ["", "[]", "{", '{"version": 1, "counts": [["a", "b", -1, 0]], "sources": {}}'])
async def test_a_file_of_counts_that_cannot_be_read_counts_as_none(tmp_path: Path, text: str) -> None:
    """The gateway starts, says so once, and counts from there."""
    (tmp_path / "guesses-web.json").write_text(text)
    async with running(environment(tmp_path), log := tmp_path / "1.log") as gateway:
        assert await signs_in(gateway.url, HOME, "alice", PASSWORDS["alice"]) == 200
    assert log.read_text().count("cannot be read from guesses-web.json") == 1
