"""`gateway calls`, `gateway trace` and `gateway bans` beside a gateway that runs, as its operator types them."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from rich.console import Console
from structlog.testing import capture_logs

from gateway.app import GatewayApp
from gateway.commands.console import ConsoleError, Operator, ladder, show_bans, show_calls, show_trace
from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.web.console import FILE_NAME, ConsoleAccess, offer, read, withdraw
from tests.app.phones import Phone
from tests.interop.gateway import config_on_free_ports
from tests.media.plane_rig import until
from tests.net.peers import Application


def shown(show: Callable[[Console], None], terminal: bool = False) -> str:
    """What a command prints, on a terminal of 60 columns or into a pipe."""
    console = Console(width=60, force_terminal=terminal, color_system=None)
    with console.capture() as capture:
        show(console)
    return capture.get()


async def printed(show: Callable[..., None], operator: Operator, *rest: str | None, **options: bool) -> str:
    return await asyncio.to_thread(shown, lambda console: show(operator, console, *rest, **options))


async def test_commands_find_a_gateway_that_could_not_be_offered_at_its_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk was full, or somebody else's folder in the way; once that is over nobody has to do anything."""
    monkeypatch.setattr("gateway.app.opening._OFFER_SECONDS", 0.05)
    in_the_way = tmp_path / FILE_NAME / "other"
    in_the_way.mkdir(parents=True)
    app = GatewayApp(config_on_free_ports(tmp_path))
    await app.start()
    try:
        assert read(tmp_path) is None
        in_the_way.rmdir()
        in_the_way.parent.rmdir()
        await until(lambda: read(tmp_path) is not None)
        assert await printed(show_calls, Operator(tmp_path)) == "No calls.\n"
    finally:
        await app.stop()


async def test_an_operator_at_the_machine_sees_calls_their_ladder_and_bans(tmp_path: Path) -> None:
    """A call by its first letters, while it is up and when it is over; the file is for the gateway's user alone."""
    app = GatewayApp(config_on_free_ports(tmp_path, SIP__BANS__NEVER="[]"))
    await app.start()
    agent = UserAgent(UserAgentConfig(listen=(("127.0.0.1", 0),)), Application())
    await agent.start()
    try:
        path = tmp_path / FILE_NAME
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        operator = Operator(tmp_path)
        assert await printed(show_calls, operator) == "No calls.\n"
        phone = Phone(agent, app, "1001")
        assert await phone.status() == 200
        [call] = app.calls
        table = await printed(show_calls, operator)
        assert call.id in table
        assert "connected" in table
        assert call.record.caller.uri in table
        assert call.id in await asyncio.to_thread(shown, lambda console: show_calls(operator, console), terminal=True)
        drawn = await printed(show_trace, operator, call.id[:6], whole=False)
        rows = [line[12:] for line in drawn.splitlines()]
        assert any(
            row.startswith("|-") and " INVITE sip:600@" in row and row.rstrip(" |").endswith(">") for row in rows
        )
        assert any(row.startswith("|<") and " SIP/2.0 200 OK " in row for row in rows)
        assert "digest" not in drawn.lower()
        phone.session.hangup()
        await asyncio.wait_for(call.finished(), 30)
        assert " BYE sip:" in await printed(show_trace, operator, call.id, whole=True)
        with pytest.raises(ConsoleError, match="There is no such call"):
            await printed(show_trace, operator, "nonsense", whole=False)
        assert await printed(show_bans, operator, None) == "Nobody is banned.\n"
        with pytest.raises(ConsoleError, match="not banned"):
            await printed(show_bans, operator, "192.0.2.1")
        access = json.loads(path.read_text())
        async with httpx.AsyncClient(base_url=access["url"]) as http:
            # An operator, no administrator, and nobody who may call.
            http.headers["Authorization"] = f"Bearer {access['token']}"
            assert (await http.get("/api/audit")).status_code == 403
            assert (await http.get("/webrtc/sessions")).status_code == 401
            http.headers["Authorization"] = f"Bearer {access['token'][:-1]}x"
            assert (await http.get("/api/calls")).status_code == 401
    finally:
        await agent.close()
        await app.stop()
    assert not path.exists()
    with pytest.raises(ConsoleError, match="no gateway runs on"):
        Operator(tmp_path)


def test_a_gateway_that_has_gone_without_a_word_is_said_to_be_gone(tmp_path: Path) -> None:
    """It was killed and left its file; or another has begun on the folder, whose file stays."""
    mine, other = ConsoleAccess("http://127.0.0.1:9", "x"), ConsoleAccess("http://127.0.0.1:10", "y")
    offer(tmp_path, mine)
    with pytest.raises(ConsoleError, match="does not answer"):
        Operator(tmp_path).ask("/api/calls")
    offer(tmp_path, other)
    withdraw(tmp_path, mine)
    assert read(tmp_path) == other
    withdraw(tmp_path, other)
    assert not (tmp_path / FILE_NAME).exists()
    for text in ("", "[]", '{"url": 1}'):
        (tmp_path / FILE_NAME).write_text(text)
        assert read(tmp_path) is None


def test_a_file_for_which_there_is_no_room_is_written_later(tmp_path: Path) -> None:
    """The gateway runs without it, and its log says so."""
    in_its_place = tmp_path / FILE_NAME
    in_its_place.mkdir()
    mine = ConsoleAccess("http://127.0.0.1:9", "x")
    with capture_logs() as logs:
        offer(tmp_path, mine)
    assert [line["reason"] for line in logs] == ["Is a directory"]
    in_its_place.rmdir()
    with capture_logs() as logs:
        offer(tmp_path, mine)
        offer(tmp_path, mine)
    assert (read(tmp_path), logs) == (mine, [])


def test_what_strangers_write_moves_no_cursor() -> None:
    """And a ladder has a lane for each peer, in order of appearance."""
    said = {"at": 0.0, "text": "x\x1b[2J\r\ny", "title": "INVITE \x1b[31mred " + "long " * 40}
    messages = [
        {**said, "direction": "in", "peer": "udp:192.0.2.7:5060"},
        {**said, "direction": "out", "peer": "web:alice"},
        {**said, "direction": "in", "peer": "web:alice"},
    ]
    lines = ladder(messages, whole=True)
    assert "\x1b" not in "".join(lines)
    assert lines[0].split() == ["udp:192.0.2.7:5060", "gateway", "web:alice"]
    first, second, third = lines[1], lines[5], lines[9]
    assert first[12:14] == "|-"
    assert first[41] == ">"
    assert second[42:44] == "|-"
    assert third[43] == "<"
    assert max(len(line) for line in lines) < 110
    assert ladder([]) == ["No messages are kept of this call (limits.ladder_memory)."]
