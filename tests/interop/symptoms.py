"""What tests of docs/troubleshooting.md share: a gateway with an administrator, a phone, and the page's commands."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.config import Config, load
from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.sip.auth.account import Credentials
from gateway.sip.invite import events
from tests import peers
from tests.interop.gateway import PASSWORDS, Gateway, environment_on_free_ports, gateway_with
from tests.net.peers import LOOPBACK, OFFER, Application, Recorder

PAGE = Path(__file__).parent.parent.parent / "docs" / "troubleshooting.md"
ADMIN = "admins-own-Secret-0815"
PCMU = OFFER + b"a=rtpmap:0 PCMU/8000\r\n"
USERS: list[dict[str, Any]] = [
    {"id": "admin", "web": True, "role": "admin"},
    {"id": "alice", "web": True},
    {"id": "1001", "sip": True, "may_call": ["6*", "1*", "2*", "alice"]},
    {"id": "1002", "sip": True, "max_calls": 1},
]


def command(heading: str, word: str) -> str:
    """The command under that heading that has this word, without the remark behind it."""
    [section] = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    lines = "\n".join(re.findall(r"```sh\n(.*?)```", section, re.DOTALL)).replace("\\\n", " ").splitlines()
    [found] = [line for line in lines if word in line]
    return re.sub(r"\s{2,}#.*", "", found)


def shell(line: str, folder: Path | None = None, environ: Mapping[str, str] | None = None) -> str:
    """What a command prints."""
    peers.program("curl", "curl")
    path = f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin"
    variables = {**(environ or {}), "PATH": path, "COLUMNS": "200"}
    done = subprocess.run(["sh", "-c", line], cwd=folder, env=variables, capture_output=True, text=True, check=False)
    return done.stdout


@dataclass(frozen=True)
class Rig:
    """A gateway with an administrator, and a phone that sends no audio."""

    gateway: Gateway
    phone: UserAgent
    environ: Mapping[str, str]

    async def prints(self, heading: str, word: str, here: str = "") -> str:
        """What the page's command prints; `here` is what stands in it instead of `word`."""
        line = command(heading, word).replace("http://127.0.0.1:8080", self.gateway.web).replace("PASSWORD", ADMIN)
        return await asyncio.to_thread(shell, line.replace(word, here or word), None, self.environ)

    async def tells(self, heading: str, word: str, here: str = "") -> Any:
        """The JSON that it prints."""
        return json.loads(await self.prints(heading, word, here))

    async def calls(
        self, number: str, body: bytes = PCMU, user: str = "1001", proxy: str | None = None
    ) -> tuple[Recorder, events.SessionEvent]:
        """A call of the phone, once it is answered or refused; by `proxy` (host:port) where one is given."""
        session = self.phone.invite(
            f"sip:{number}@{proxy or self.gateway.app.sip_hostport}",
            caller=f"<sip:{user}@{self.gateway.config.domain}>",
            body=body,
            credentials=Credentials(user, PASSWORDS[user]),
        )
        recorder = Recorder(session)
        return recorder, await recorder.wait_for_one_of(events.Answered, events.Failed, seconds=30)

    async def idle(self) -> None:
        """End what is left."""
        for call in self.gateway.app.calls:
            call.stop()
        await self.gateway.idle()


@contextlib.asynccontextmanager
async def rigged(
    folder: Path, altered: Callable[[Config], Config] = lambda config: config, /, **changes: str
) -> AsyncIterator[Rig]:
    """Start one; `changes` are GATEWAY_ variables, `altered` is for what no variable may say."""
    settings = {"USERS": json.dumps(USERS), "USERS__ADMIN__PASSWORD": ADMIN, **changes}
    environ = environment_on_free_ports(folder, **settings)
    phone = UserAgent(UserAgentConfig(listen=LOOPBACK), Application())
    config = altered(load(None, environ))
    async with gateway_with(config, folder / "gateway.log", secrets=[ADMIN]) as gateway:
        await phone.start()
        rig = Rig(gateway, phone, environ)
        try:
            yield rig
        finally:
            await phone.close()
            await rig.idle()
