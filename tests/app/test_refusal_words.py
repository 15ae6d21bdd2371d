"""Words of a far end that refuses, in the log and in `gateway trace`."""

from __future__ import annotations

import json
from pathlib import Path

from gateway.commands.console import ladder
from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.sip.message import build
from gateway.sip.message.message import Request
from tests.app.phones import Phone
from tests.app.places import place
from tests.interop.gateway import config_on_free_ports, gateway_with
from tests.net.peers import LOOPBACK, Application
from tests.rows import by_row


@by_row(
    ("phrase", "warning", "said"),
    [
        ("From and credentials differ", "", "403 From and credentials differ"),
        ("No", '399 pbx "Not your number"', '403 No 399 pbx "Not your number"'),
        ("\u202egnp.exe\ufeff  x", "", "403 gnp.exe x"),
        ("y" * 5000, "", "403 " + "y" * 251 + "\u2026"),
    ],
)
async def test_a_trunks_own_words_are_in_the_log(tmp_path: Path, phrase: str, warning: str, said: str) -> None:
    """Both of a call and of a registration, without characters that turn or hide text."""

    def refuse(request: Request, number: int) -> list[bytes]:
        if request.method == "OPTIONS":
            return [build.response(request, 200, to_tag="t").write()]
        more = [("Warning", warning)] if warning else []
        made = build.response(request, 403, to_tag="t", headers=more).write()
        return [made.replace(b"403 Forbidden", f"403 {phrase}".encode())]

    async with place(refuse, "127.0.0.59") as trunk:
        host, port = trunk.address
        made = {
            "name": "pbx",
            "uri": f"sip:{host}:{port}",
            "username": "g",
            "password": "of-pbx-4711",
            "register": True,
        }
        routes = [{"match": "4711", "to": "trunk:pbx"}]
        config = config_on_free_ports(
            tmp_path, TRUNKS=json.dumps([made]), ROUTES=json.dumps(routes), USERS__1001__MAY_CALL='["trunk:*"]'
        )
        async with gateway_with(config, tmp_path / "gateway.log") as gateway:
            agent = UserAgent(UserAgentConfig(listen=LOOPBACK), Application())
            await agent.start()
            await trunk.asked("REGISTER")
            assert await Phone(agent, gateway.app, "1001", dials="4711").status() == 403
            await agent.close()
            await gateway.idle()
            text = await gateway.journal.text()
    lines = text.replace('\\"', '"').splitlines()
    [ended] = [line for line in lines if "state=ended" in line]
    assert said in ended
    [registered] = [line for line in lines if "registered=False" in line]
    assert said[:127] in registered
    assert [line for line in lines if "not registered: 403" in line and said[:127] in line]
    assert all(char.isprintable() for line in lines for char in line)


def test_the_trace_shows_an_answer_whole() -> None:
    """Between two lanes that are near each other, too."""
    title = "SIP/2.0 403 From and credentials differ, and so do you " + "and you " * 20
    lines = ladder([{"at": 0.0, "direction": "in", "peer": "udp:192.0.2.7:5060", "title": title, "text": ""}])
    assert title.removeprefix("SIP/2.0 ").split() == " ".join(lines[2:]).split()
    assert max(map(len, lines)) < 110
