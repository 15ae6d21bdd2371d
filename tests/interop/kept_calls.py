"""Journals of gateways that were killed, as they wrote them: tests/data/journals, and how they are made.

`python -m tests.interop.kept_calls FOLDER [TREE]` writes the journal, its key and the names of the calls in it into
FOLDER; the gateway is that of the source tree TREE, by default this one. All have addresses that nobody else of
loopback uses, so that a gateway which goes on with them later speaks to nobody else.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bench.browser import Identity
from bench.process import environment, plane_of, running
from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.sip.auth.account import Credentials
from gateway.sip.invite.events import Answered, Provisional
from gateway.sip.invite.incoming import IncomingSession
from tests.chaos.pages import PASSWORD, USER, Page, PageEar
from tests.net.peers import ANSWER, OFFER, Application, Recorder

GATEWAY, CALLER, CALLEE = "127.77.0.9", "127.77.0.1", "127.77.0.2"
SIP, WEB, MEDIA, RTP = 5060, 8080, 3478, "40000-40099"
DOMAIN, DESK = "gateway.example", "1001"
_BETWEEN_PHONES, _OF_A_PAGE, _RINGING = "9000", "9001", "9002"
_FILES = ("calls.journal", "accounts.key")
NAMES = "calls.json"
"""Of each call its Call-ID at the callee, and at a caller that is a phone; `at`: when it was, Unix seconds."""


def surroundings(folder: Path) -> dict[str, str]:
    """Environment of a gateway on that state folder."""
    changes = {
        "WEB__LISTEN": f"{GATEWAY}:{WEB}",
        "SIP__LISTEN": [f"udp:{GATEWAY}:{SIP}"],
        "WEBRTC__LISTEN": f"{GATEWAY}:{MEDIA}",
        "RTP__LISTEN": GATEWAY,
        "RTP__PORTS": RTP,
        "DOMAIN": DOMAIN,
        "MEDIA__PLANE": "native",
        "CODECS__WEBRTC": ["pcmu"],
        "CODECS__RTP": ["pcmu"],
        "USERS": [
            {"id": USER, "web": True, "password": PASSWORD, "may_call": ["*", "9*"]},
            {"id": DESK, "sip": True, "password": PASSWORD, "may_call": ["*", "9*"]},
        ],
        "ROUTES": [{"match": "9*", "to": f"sip:{{user}}@{CALLEE}:{SIP}"}],
    }
    return environment(str(folder), SIP, **changes)


async def _write(folder: Path, tree: Path) -> None:
    names: dict[str, Any] = {}

    def rings(session: IncomingSession, recorder: Recorder) -> None:
        number = session.request.uri.user or ""
        names.setdefault(number, {})["callee"] = session.call_id
        session.ring()
        if number != _RINGING:
            session.answer(ANSWER)

    caller, callee = (
        UserAgent(UserAgentConfig(listen=((host, SIP),), close_timeout=0.2), application)
        for host, application in ((CALLER, Application()), (CALLEE, Application(rings)))
    )
    with tempfile.TemporaryDirectory(prefix="gateway-kept-") as state:
        async with running(surroundings(Path(state)) | {"PYTHONPATH": str(tree)}, Path(state) / "log") as gateway:
            await caller.start()
            await callee.start()
            try:
                for number, until in ((_BETWEEN_PHONES, Answered), (_RINGING, Provisional)):
                    session = caller.invite(
                        f"sip:{number}@{DOMAIN}",
                        received=f"udp:{GATEWAY}:{SIP}",
                        caller=f"<sip:{DESK}@{DOMAIN}>",
                        body=OFFER,
                        credentials=Credentials(DESK, PASSWORD),
                    )
                    await Recorder(session).wait(until)
                    names.setdefault(number, {})["caller"] = session.call_id
                async with _page_calls():
                    gateway.process.kill()
                    await asyncio.to_thread(gateway.process.wait)
                names["at"] = time.time()
                plane = plane_of(state)
                assert plane is not None
                os.kill(plane, signal.SIGKILL)
            finally:
                await caller.close()
                await callee.close()
        for name in _FILES:
            shutil.copy(Path(state) / name, folder / name)
    what = {"between phones": _BETWEEN_PHONES, "of a page": _OF_A_PAGE, "rings": _RINGING}
    told = {name: names[number] for name, number in what.items()} | {"at": names["at"]}
    (folder / NAMES).write_text(json.dumps(told, indent=2) + "\n")


@asynccontextmanager
async def _page_calls() -> AsyncIterator[None]:
    """A call of a page, whose media is up."""
    ear, news = PageEar(), asyncio.Event()
    page = Page(f"ws://{GATEWAY}:{WEB}/rpc", Identity.make(), ear, news)
    try:
        await page.open()
        await page.dial(_OF_A_PAGE)
        async with asyncio.timeout(30):
            while not page.associations:
                news.clear()
                await news.wait()
        await asyncio.sleep(0.5)  # and the gateway has written that down
        yield
    finally:
        await page.close()
        ear.close()


if __name__ == "__main__":
    Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
    asyncio.run(_write(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else ".").resolve()))
