"""The gateway as a program uses it: an async context manager, and the calls that go through it."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gateway.app.root import GatewayApp
from gateway.call.call import Call as RunningCall
from gateway.call.leg import Address
from gateway.call.state import State
from gateway.call.status import Cause
from gateway.config import Config, load, load_values
from gateway.dialing.applications import Application
from gateway.log.program import ProgramLog

_LOG = ProgramLog()
_WAITING = 1000
"""Calls, or states of one, that wait for a program that does not ask for them; the oldest go first."""


class CallWatch:
    """One call as it goes by: `async for state in call` gives each state it comes to, the last is `State.ENDED`."""

    def __init__(self, call: RunningCall) -> None:
        self.id = call.id
        self.caller: Address = call.caller.address
        self.dialled = call.record.dialled
        self._call = call
        self._latest = call.state
        self._states: deque[State] = deque([call.state], maxlen=_WAITING)
        self._news = asyncio.Event()

    @property
    def state(self) -> State:
        """Where the call is now."""
        return self._call.state

    @property
    def cause(self) -> Cause | None:
        """Why it ended; None while it has not."""
        return self._call.cause if self.state is State.ENDED else None

    def hang_up(self) -> None:
        """End it for both sides."""
        self._call.stop()

    def changed(self) -> None:
        """Keep the new state for who iterates; the same again means that one side is another now."""
        if self._call.state is not self._latest:
            self._latest = self._call.state
            self._states.append(self._latest)
        self._news.set()

    async def __aiter__(self) -> AsyncIterator[State]:
        while True:
            while self._states:
                state = self._states.popleft()
                yield state
                if state is State.ENDED:
                    return
            self._news.clear()
            await self._news.wait()


class Gateway:
    """A whole gateway: `async with Gateway("gateway.yaml") as gateway`.

    `config` is a file, a mapping of the same keys, or None for the defaults; GATEWAY_ variables of the environment lie
    over a file and the defaults. What cannot be used or opened raises ConfigError, in one sentence. `log` of the
    configuration holds while the first gateway of a program runs; where it says nothing, the program's own log is used.
    """

    def __init__(
        self,
        config: Config | Mapping[str, Any] | str | os.PathLike[str] | None = None,
        *,
        application: Application | None = None,
    ) -> None:
        self._app = GatewayApp(_read(config), application=application)
        self._watches: dict[str, CallWatch] = {}
        self._listening: list[deque[CallWatch]] = []
        self._news = asyncio.Event()

    async def __aenter__(self) -> Self:
        _LOG.begin(self.config.log, wanted="log" in self.config.model_fields_set)
        try:
            await self._app.start()
        except BaseException:
            _LOG.end()
            raise
        self._app.calls.observe(self._changed)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._app.stop()
        finally:
            _LOG.end()

    @property
    def config(self) -> Config:
        """What it runs on."""
        return self._app.config

    @property
    def page_url(self) -> str:
        """Where people find the softphone page; the HTTP and JSON-RPC interfaces are below it."""
        return self._app.page_url

    @property
    def sip_address(self) -> str:
        """Host and port of the first SIP address, where phones register."""
        return self._app.sip_hostport

    @property
    def active_calls(self) -> int:
        """Calls that are not over."""
        return len(self._app.calls)

    def password(self, user: str) -> str:
        """The password in force of a configured user."""
        return self._app.password(user)

    async def idle(self) -> None:
        """Wait until every call that is up now is over, its media too."""
        await asyncio.gather(*(call.finished() for call in self._app.calls))

    def calls(self) -> AsyncIterator[CallWatch]:
        """Every call that begins from now on."""
        waiting: deque[CallWatch] = deque(maxlen=_WAITING)
        self._listening.append(waiting)
        return self._each(waiting)

    async def _each(self, waiting: deque[CallWatch]) -> AsyncIterator[CallWatch]:
        try:
            while True:
                while waiting:
                    yield waiting.popleft()
                self._news.clear()
                await self._news.wait()
        finally:
            self._listening = [other for other in self._listening if other is not waiting]

    def _changed(self, call: RunningCall) -> None:
        watch = self._watches.get(call.id)
        if watch is not None:
            watch.changed()
            if call.state is State.ENDED:
                del self._watches[call.id]
        elif self._listening and call.state is not State.ENDED:
            watch = self._watches[call.id] = CallWatch(call)
            for waiting in self._listening:
                waiting.append(watch)
            self._news.set()


def _read(config: Config | Mapping[str, Any] | str | os.PathLike[str] | None) -> Config:
    if isinstance(config, Config):
        return config
    if isinstance(config, Mapping):
        return load_values(config)
    return load(None if config is None else Path(config), os.environ)
