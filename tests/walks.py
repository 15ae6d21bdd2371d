"""Walks of requests through a whole gateway: the files they enter, and the doors between rooms that they pass.

`python -m tests.walks` prints the figures, `--doors WALK` names the doors of one, `--lower` writes lower figures to the
ratchet file. A door is a call from a file of one room to a function in another, counted once a walk.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import logging
import sys
import tempfile
from asyncio.events import Handle
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import httpx
import structlog

from gateway.app import GatewayApp
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request, Response
from tests.app.phones import SDP
from tests.app.scripted_house import Callee
from tests.interop.gateway import PASSWORDS, config_on_free_ports
from tests.interop.stranger import stranger
from tests.media.engine_support import browser_sdp
from tests.virtual import VirtualLoop

ROOT = Path(__file__).parent.parent
RATCHET = Path(__file__).parent / "data" / "walks.json"
SETTLED = 0.02
"""Seconds of virtual time after an outcome in which the gateway does what is left of the request."""
QUIET = 0.35
"""Seconds of virtual time between two walks."""
PERIODIC = ("LoadWatch._look", "Endpoint._sweep", "StreamTransport.sweep", "watch_plane")
"""Functions that a timer of the gateway begins, whatever was requested."""
INLINED = frozenset({"<listcomp>", "<dictcomp>", "<setcomp>", "<genexpr>", "<lambda>", "<module>"})
"""Frames that some versions of Python have and others have not."""

PRODUCT = ("gateway/", "sdp/")
ASIDE = ("tests/", "gateway/log/")
"""Peers, which use the product's parser, and the log, which each run configures for itself."""
_TURN = Handle._run.__code__
"""Function by which the event loop begins whatever is due."""

Door = tuple[str, str, str]
"""File of the caller, file and name of the function."""


@dataclass
class Walk:
    """Calls that one request caused, from its octets to its outcome."""

    steps: list[Door] = field(default_factory=list)

    @property
    def doors(self) -> set[Door]:
        return {step for step in self.steps if step[0] and room(step[0]) != room(step[1])}

    def figures(self) -> dict[str, int]:
        """Return the figures of the ratchet."""
        files = {file for _, file, _ in self.steps}
        return {"doors": len(self.doors), "files of app": sum(room(file) == "app" for file in files)}

    def changes(self) -> int:
        """Return how often one step is in another room than the step before."""
        rooms = [room(file) for _, file, _ in self.steps]
        return sum(before != after for before, after in itertools.pairwise(rooms))


def room(file: str) -> str:
    """Return the folder of a file below `gateway`, its own name where it is in none, or `sdp`."""
    parts = file.split("/")
    return "sdp" if parts[0] == "sdp" else parts[1].removesuffix(".py")


class Recorder:
    """Profile of the thread of the event loop."""

    def __init__(self) -> None:
        self._files: dict[CodeType, str] = {}

    @contextlib.contextmanager
    def recording(self) -> Iterator[Walk]:
        """Record the calls of the block that no test makes into a walk."""
        walk = Walk()

        def seen(frame: FrameType, event: str, _argument: Any) -> None:
            if event == "call" and (step := self._step(frame)) is not None:
                walk.steps.append(step)

        before = sys.getprofile()
        sys.setprofile(seen)
        try:
            yield walk
        finally:
            sys.setprofile(before)

    def _step(self, frame: FrameType) -> Door | None:
        file, name = self._file(frame.f_code), frame.f_code.co_qualname
        if not file.startswith(PRODUCT) or file.startswith(ASIDE) or frame.f_code.co_name in INLINED:
            return None
        caller, begun = "", name
        back = frame.f_back
        while back is not None and back.f_code is not _TURN:
            other = self._file(back.f_code)
            if other.startswith(ASIDE):
                return None
            if other:
                caller, begun = caller or other, back.f_code.co_qualname
            back = back.f_back
        return None if begun.startswith(PERIODIC) else (caller, file, name)

    def _file(self, code: CodeType) -> str:
        """Return the path of a function's file from the top of the tree, "" outside of it."""
        if code not in self._files:
            path = Path(code.co_filename)
            self._files[code] = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else ""
        return self._files[code]


class House:
    """A gateway, the phone of 1002, and the phone of 1001, which has answered a challenge and is not registered."""

    def __init__(self, app: GatewayApp, callee: Callee, caller: Callee) -> None:
        self.app = app
        self.callee = callee
        self.caller = caller
        self.number = callee.uri
        self.contact = NameAddr.parse(caller.contact)
        self.call: asyncio.Task[Response]
        self.invite: Request


@contextlib.asynccontextmanager
async def house(folder: Path) -> AsyncIterator[House]:
    async with contextlib.AsyncExitStack() as stack:
        app = GatewayApp(config_on_free_ports(folder, MEDIA__PLANE="python"))
        stack.push_async_callback(app.stop)
        await app.start()
        host, _, port = app.sip_hostport.rpartition(":")
        sockets = [await stack.enter_async_context(stranger(address)) for address in ("127.0.0.62", "127.0.0.63")]
        callee, caller = (
            Callee(socket, (host, int(port)), user, app.config.domain, PASSWORDS[user])
            for socket, user in zip(sockets, ("1002", "1001"), strict=True)
        )
        assert (await callee.register(contact=callee.contact)).status == 200
        assert (await caller.register(expires=0, contact=caller.contact)).status == 200
        yield House(app, callee, caller)


async def walk_all(there: House, record: Callable[[], AbstractContextManager[Walk]]) -> dict[str, Walk]:
    """Return the walks of one gateway by name, each recorded by itself."""
    found: dict[str, Walk] = {}
    for name, steps in WALKS.items():
        follow = steps(there)
        await anext(follow)
        await asyncio.sleep(QUIET)
        with record() as found[name]:
            await anext(follow)
            await asyncio.sleep(SETTLED)
        async for _ in follow:
            pass
    return found


async def register(there: House) -> AsyncIterator[None]:
    yield
    assert (await there.caller.register(contact=there.caller.contact)).status == 200
    yield


async def invite(there: House) -> AsyncIterator[None]:
    yield
    there.call = asyncio.create_task(
        there.caller.ask("INVITE", there.number, there.number, there.contact, SDP.format(port=40004).encode())
    )
    there.invite = await there.callee.request("INVITE")
    yield


async def answer(there: House) -> AsyncIterator[None]:
    yield
    await there.callee.send(there.callee.says(there.invite, 200))
    assert (await there.call).status == 200
    yield


async def bye(there: House) -> AsyncIterator[None]:
    yield
    await there.callee.hangs_up(there.invite)
    await there.caller.accepts("BYE")
    yield


async def message(there: House) -> AsyncIterator[None]:
    yield
    sent = there.caller.ask("MESSAGE", there.number, there.number, None, b"Hello", content_type="text/plain")
    asked = asyncio.create_task(sent)
    await there.callee.accepts("MESSAGE")
    assert (await asked).status == 200
    yield


async def subscribe(there: House) -> AsyncIterator[None]:
    yield
    headers = (("Event", "presence"), ("Expires", "600"), ("Accept", "application/pidf+xml"))
    answer = await there.caller.ask("SUBSCRIBE", there.number, there.number, there.contact, headers=headers)
    assert answer.status == 200
    await there.caller.accepts("NOTIFY")
    yield


async def offer(there: House) -> AsyncIterator[None]:
    headers = {"Authorization": f"Bearer alice:{PASSWORDS['alice']}"}
    async with httpx.AsyncClient(base_url=there.app.page_url, headers=headers, timeout=30) as http:
        yield
        body = {"sdp": {"type": "offer", "sdp": browser_sdp()}, "to": "1002"}
        asked = asyncio.create_task(http.post("/webrtc/offer", json=body))
        invited = await there.callee.request("INVITE")
        yield
        await there.callee.send(there.callee.says(invited, 486, None))
        await asked


WALKS: dict[str, Callable[[House], AsyncIterator[None]]] = {
    "REGISTER with digest -> 200": register,
    "INVITE with digest -> INVITE at the phone": invite,
    "callee's 200 -> 200 to the caller": answer,
    "BYE -> the other's BYE": bye,
    "MESSAGE -> 200": message,
    "SUBSCRIBE -> NOTIFY": subscribe,
    "POST /webrtc/offer -> INVITE at the phone": offer,
}
"""Steps of each walk, in the order of one gateway's day: prepared, done, and tidied up after two yields."""


async def walks(folder: Path) -> dict[str, Walk]:
    """Return the walks of a gateway of its own; one before it has filled the caches of this process."""
    async with house(folder / "first") as first:
        await walk_all(first, lambda: contextlib.nullcontext(Walk()))
    async with house(folder / "second") as second:
        return await walk_all(second, Recorder().recording)


def risen(found: Mapping[str, Walk], allowed: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return a line for each figure above the ratchet's; a walk without one may not have any."""
    return [
        f"{name}: {figure} {allowed.get(name, {}).get(figure, 0)} -> {count}: python -m tests.walks --doors '{name}'"
        for name, walk in found.items()
        for figure, count in walk.figures().items()
        if count > allowed.get(name, {}).get(figure, 0)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--doors", choices=WALKS, metavar="WALK", help=f"one of: {', '.join(WALKS)}")
    parser.add_argument("--lower", action="store_true", help="write lower figures to the ratchet file")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner(loop_factory=VirtualLoop) as runner:
        found = runner.run(walks(Path(folder)))
    if arguments.lower:
        if RATCHET.exists() and (lines := risen(found, json.loads(RATCHET.read_text()))):
            parser.exit(1, "\n".join(lines) + "\n")
        RATCHET.write_text(json.dumps({name: walk.figures() for name, walk in found.items()}, indent=1) + "\n")
    elif arguments.doors:
        for caller, file, name in sorted(found[arguments.doors].doors):
            sys.stdout.write(f"{caller} -> {file} {name}\n")
    else:
        for name, walk in found.items():
            figures = walk.figures()
            sys.stdout.write(
                f"{len(walk.steps):5} calls {walk.changes():4} changes of room {figures['doors']:4} doors "
                f"{figures['files of app']:3} files of app  {name}\n"
            )


if __name__ == "__main__":
    main()
