"""The desk phone as asyncio sees it: a child process that runs pjsua2."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import sys
from dataclasses import dataclass
from typing import Any, Literal, Self

from gateway.errors import GatewayError

_START_SECONDS = 20.0
_NOT_INSTALLED = (
    "the desk phone, pjsua2, is not installed: install the extra `phone`; "
    "PyPI has it for Python 3.11 and 3.12 on x86-64 Linux"
)


class PhoneError(GatewayError):
    """The phone did not do in time what was expected of it."""


@dataclass(frozen=True, slots=True)
class PhoneEvent:
    """One line the phone wrote."""

    name: str
    """ready, registration, incoming, state, media, asked, told, listening, sound, tone, digit, message, presence, …"""
    at: float
    """Monotonic seconds, the same clock as time.monotonic() here."""
    details: dict[str, Any]


class DeskPhone:
    """One pjsua2 phone: commands are methods, what happens comes out of `expect`."""

    name = "pjsua2"

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._events: asyncio.Queue[PhoneEvent] = asyncio.Queue()
        self._reader = asyncio.create_task(self._read())
        self.seen: list[PhoneEvent] = []
        """Every event that was taken from the queue, for error messages."""

    @classmethod
    async def start(cls, port: int = 0) -> Self:
        """Start the process; raises PhoneError when pjsua2 is not installed or does not come up."""
        if importlib.util.find_spec("pjsua2") is None:
            raise PhoneError(_NOT_INSTALLED)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "gateway.demo.phone_process", str(port)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL if "PHONE_LOG_LEVEL" not in os.environ else None,
        )
        phone = cls(process)
        try:
            await phone.expect("ready", timeout=_START_SECONDS)
        except PhoneError:
            await phone.close()
            raise PhoneError(f"the desk phone (pjsua2) did not start within {_START_SECONDS:g} s") from None
        return phone

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            try:
                details = json.loads(line)
                event = PhoneEvent(details.pop("event"), details.pop("at"), details)
            except (ValueError, KeyError, AttributeError):
                continue
            self._take(event)

    def _take(self, event: PhoneEvent) -> None:
        self._events.put_nowait(event)

    def _do(self, verb: str, **arguments: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": verb, **arguments}).encode() + b"\n")

    async def expect(self, name: str, timeout: float = 10.0, **details: Any) -> PhoneEvent:
        """The next event of that name and with those details; others before it are passed over.

        Raises PhoneError with what was seen instead, after `timeout` seconds.
        """
        passed: list[str] = []
        try:
            async with asyncio.timeout(timeout):
                while True:
                    event = await self._events.get()
                    self.seen.append(event)
                    if event.name == name and details.items() <= event.details.items():
                        return event
                    passed.append(f"{event.name} {event.details}")
        except TimeoutError:
            wanted = f"{name} {details}" if details else name
            raise PhoneError(
                f"the phone saw no {wanted} within {timeout:g} s, but: {'; '.join(passed) or 'nothing'}"
            ) from None

    async def register(
        self, user: str, password: str, domain: str, registrar: str, timeout: float = 10.0, *, mailbox: bool = False
    ) -> None:
        """Register at `registrar` ("host:port") and wait for its 200; raises PhoneError otherwise."""
        self._do("register", user=user, password=password, domain=domain, registrar=registrar, mailbox=mailbox)
        event = await self.expect("registration", timeout)
        if event.details["code"] != 200:
            raise PhoneError(f"the registrar answered {event.details['code']} {event.details['reason']}")

    async def identify(self, user: str, domain: str) -> None:
        """Take an address without registering anywhere, for direct calls."""
        self._do("register", user=user, domain=domain)
        await self.expect("account")

    def unregister(self) -> None:
        self._do("unregister")

    def speak(self, hz: int) -> None:
        """Say this tone into every call from now on."""
        self._do("speak", hz=hz)

    def codecs(self, *names: str) -> None:
        """Use only these codecs, best first."""
        self._do("codecs", names=list(names))

    def on_incoming(self, code: int) -> None:
        """Status that incoming calls are answered with at once; 0 lets them wait for `answer`."""
        self._do("incoming", code=code)

    def dial(self, uri: str) -> None:
        self._do("dial", uri=uri)

    def answer(self, code: int = 200) -> None:
        self._do("answer", code=code)

    def hangup(self) -> None:
        self._do("hangup")

    def hold(self) -> None:
        self._do("hold")

    def unhold(self) -> None:
        self._do("unhold")

    def update(self) -> None:
        """Refresh the session (UPDATE); its answer comes as "told" with `method` and `code`."""
        self._do("update")

    def consult(self, uri: str) -> None:
        """Hold the call and make another one, which is the phone's call from now on."""
        self._do("consult", uri=uri)

    def transfer(self, uri: str) -> None:
        """Pass the call on (REFER); what becomes of it comes as "transfer" with `code`, the last one `final`."""
        self._do("transfer", uri=uri)

    def connect(self) -> None:
        """Have the held call and the other one talk with each other (REFER with Replaces)."""
        self._do("connect")

    def write(self, uri: str, text: str) -> None:
        """Send an instant message; its answer comes as "message_status" with `code`."""
        self._do("write", uri=uri, text=text)

    def appear(self, activity: str, note: str) -> None:
        """Publish how the phone's user is: "away", "busy" or "", with a note."""
        self._do("appear", activity=activity, note=note)

    def watch(self, uri: str, wanted: bool = True) -> None:
        """Subscribe to somebody's presence; what is heard comes as "presence" with `online` and `note`."""
        self._do("watch", uri=uri, wanted=wanted)

    async def listen(self) -> None:
        """Forget what was heard: the next `sound` and `tone` are of now."""
        self._do("listen")
        await self.expect("listening")

    def digits(self, digits: str, method: Literal["rfc4733", "info"] = "rfc4733") -> None:
        """Press digits, as RFC 4733 telephone-events or by SIP INFO."""
        self._do("digits", digits=digits, method=method)

    async def close(self, patience: float = 5.0) -> None:
        """Hang up, unregister and end the process; it is killed when it takes more than `patience` seconds."""
        if self._process.returncode is None:
            try:
                self._do("quit")
                async with asyncio.timeout(patience):
                    await self._process.wait()
            except (TimeoutError, ConnectionError):
                self._process.kill()
                await self._process.wait()
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
