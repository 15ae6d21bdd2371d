"""The composition root: all or nothing at the start, all of it gone at the end."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import pytest

from gateway.app import GatewayApp
from gateway.config import Config
from gateway.errors import AwayError, ConfigError
from tests.interop.gateway import PASSWORDS, config_on_free_ports
from tests.ports import free_port
from tests.rows import by_row


def bound(config: Config) -> list[str]:
    """Which of the gateway's listening places are taken."""
    places = [
        ("sip", socket.SOCK_DGRAM, config.sip.listen[0].port),
        *((key.partition(".")[0], socket.SOCK_STREAM, address.port) for key, address in config.web.listeners),
        ("webrtc", socket.SOCK_DGRAM, config.webrtc.listen.port),
    ]
    found = []
    for name, kind, port in places:
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                found.append(name)
    return found


async def test_nothing_happens_before_start_and_nothing_is_left_after_stop(tmp_path: Path) -> None:
    """Ports, tasks; stopping twice is no matter."""
    config = config_on_free_ports(tmp_path, WEB__ALSO_LISTEN=f"127.0.0.1:{free_port()}")
    app = GatewayApp(config)
    assert bound(config) == []
    before = asyncio.all_tasks()
    await app.start()
    assert bound(config) == ["sip", "web", "web", "webrtc"]
    await app.stop()
    await app.stop()
    assert bound(config) == []
    assert asyncio.all_tasks() == before


@by_row(
    ("key", "kind", "variable", "prefix"),
    [
        ("sip.listen", socket.SOCK_DGRAM, "SIP__LISTEN", "udp:"),
        ("web.listen", socket.SOCK_STREAM, "WEB__LISTEN", ""),
        ("web.also_listen.0", socket.SOCK_STREAM, "WEB__ALSO_LISTEN", ""),
        ("webrtc.listen", socket.SOCK_DGRAM, "WEBRTC__LISTEN", ""),
    ],
)
async def test_a_taken_port_names_its_key_and_leaves_nothing_open(
    tmp_path: Path, key: str, kind: socket.SocketKind, variable: str, prefix: str
) -> None:
    """What was opened before it is closed again."""
    with socket.socket(socket.AF_INET, kind) as holder:
        holder.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            holder.listen(1)
        place = f"{prefix}127.0.0.1:{holder.getsockname()[1]}"
        config = config_on_free_ports(tmp_path, **{variable: place})
        with pytest.raises(AwayError, match=r"cannot be opened: .*ddress already in use") as refused:
            await GatewayApp(config).start()
    assert refused.value.key.startswith(key)
    assert bound(config) == []


async def test_a_certificate_that_cannot_be_read_names_its_key(tmp_path: Path) -> None:
    """web.tls, before the page's port is opened."""
    for name in ("cert", "key"):
        (tmp_path / name).write_text("not a certificate")
    config = config_on_free_ports(tmp_path, WEB__TLS__CERT=str(tmp_path / "cert"), WEB__TLS__KEY=str(tmp_path / "key"))
    with pytest.raises(ConfigError) as refused:
        await GatewayApp(config).start()
    assert refused.value.key == "web.tls"
    assert bound(config) == []


async def test_a_trunk_that_is_away_does_not_keep_the_gateway_from_starting(tmp_path: Path) -> None:
    """It registers there in the background, and gives up at the end."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        uri = f"sip:127.0.0.1:{silent.getsockname()[1]}"
        trunk = {
            "name": "t",
            "uri": uri,
            "username": "gw",
            "password": "trunk-secret",
            "register": True,
            "options_interval": 0,
        }
        app = GatewayApp(config_on_free_ports(tmp_path, TRUNKS=json.dumps([trunk])))
        async with asyncio.timeout(20):
            await app.start()
        silent.setblocking(False)
        data = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(silent, 4096), 30)
        assert data.startswith(b"REGISTER ")
        assert b"trunk-secret" not in data
        async with asyncio.timeout(20):
            await app.stop()


async def test_accounts_show_made_passwords_and_never_chosen_ones(tmp_path: Path) -> None:
    """A link signs in where the gateway made the password; a chosen one is not shown again."""
    config = config_on_free_ports(
        tmp_path,
        USERS='[{"id": "alice", "web": true, "password": "auto"}, {"id": "bob", "web": true},'
        ' {"id": "1001", "sip": true}, {"id": "1002", "sip": true}]',
        USERS__alice__PASSWORD="auto",
    )
    app = GatewayApp(config)
    await app.start()
    try:
        accounts = {account.user: account for account in app.accounts}
        made = app.password("alice")
        assert accounts["alice"].password == made
        assert accounts["alice"].link is not None
        assert made in accounts["alice"].link
        assert len(made) >= 12
        assert (accounts["bob"].password, accounts["bob"].link) == (None, None)
        assert app.password("bob") == PASSWORDS["bob"]
        assert accounts["1001"].use == "register a phone"
        assert app.sip_hostport == f"127.0.0.1:{config.sip.listen[0].port}"
    finally:
        await app.stop()


async def test_a_made_password_is_the_same_after_a_restart(tmp_path: Path) -> None:
    """It is kept in the state directory, readable by its owner only."""
    seen = []
    for _ in range(2):
        app = GatewayApp(config_on_free_ports(tmp_path, USERS__alice__PASSWORD="auto"))
        await app.start()
        seen.append(app.password("alice"))
        await app.stop()
    assert seen[0] == seen[1] != PASSWORDS["alice"]
    assert readable_by_others(tmp_path, seen[0]) == {}


def readable_by_others(folder: Path, text: str) -> dict[str, int]:
    """Files with `text` in them whose mode is not the owner's alone; there has to be at least one file with it."""
    modes = {
        str(file): file.stat().st_mode & 0o777
        for file in folder.rglob("*")
        if file.is_file() and text in file.read_text(errors="replace")
    }
    assert modes
    return {name: mode for name, mode in modes.items() if mode & 0o077}
