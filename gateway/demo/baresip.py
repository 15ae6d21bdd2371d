"""The desk phone where pjsua2 is not: a baresip without a window, driven over its control socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import struct
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from gateway.demo.phone import PhoneError, PhoneEvent
from gateway.demo.ports import free_ports
from gateway.demo.tones import Listener

_MODULES = (Path("/usr/lib/baresip/modules"), Path("/usr/local/lib/baresip/modules"))
_START_SECONDS = 20.0
_HEADER = 44
"""Octets of a WAV file before its samples."""
_LOOK = 0.01
"""Seconds between two looks at what it has recorded."""
_STATES = {"CALL_ESTABLISHED": "answered", "CALL_CLOSED": "ended", "CALL_RINGING": "ringing"}
_CONFIG = """\
poll_method epoll
sip_listen 127.0.0.1:0
net_interface 127.0.0.1
audio_source ausine,440
audio_player aubridge,ear
audio_alert aubridge,bell
ausrc_srate 48000
auplay_srate 48000
ausrc_channels 2
auplay_channels 2
ausrc_format s16
auplay_format s16
auenc_format s16
audec_format s16
audio_buffer 20-160
ringback_disabled yes
menu_bell no
snd_path {folder}
module_path {modules}
module g711.so
module ausine.so
module aubridge.so
module sndfile.so
module_tmp account.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen 127.0.0.1:{control}
"""


def find_baresip() -> str | None:
    """Path of an installed baresip."""
    return shutil.which("baresip")


class _Recording:
    """The WAV file that baresip is writing of the far end's sound in its present call."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._place = _HEADER
        self._listener: Listener | None = None

    def listen(self, now: float) -> Listener | None:
        """Hear what was added; None where nothing was recorded yet."""
        files = sorted(self._folder.glob("dump-*-dec.wav"), key=lambda file: file.stat().st_mtime_ns)
        data = files[-1].read_bytes() if files else b""
        if len(data) > _HEADER:
            channels, rate = struct.unpack_from("<HI", data, 22)
            self._listener = self._listener or Listener(rate)
            end = self._place + (len(data) - self._place) // (2 * channels) * 2 * channels
            samples = np.frombuffer(data[self._place : end], np.int16).reshape(-1, channels)[:, 0]
            self._place = end
            self._listener.hear(samples, now)
        return self._listener


class BaresipPhone:
    """One baresip with the commands and events of `DeskPhone` that the demo asks for; it answers every call at once."""

    name = "baresip"

    def __init__(self, folder: tempfile.TemporaryDirectory[str], process: asyncio.subprocess.Process) -> None:
        self._folder = folder
        self._process = process
        self._events: asyncio.Queue[PhoneEvent] = asyncio.Queue()
        self._hz = 440
        self._rang: str | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._ear: asyncio.Task[None] | None = None
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    @classmethod
    async def start(cls) -> BaresipPhone:
        """Start the process; raises PhoneError where there is no baresip or it does not come up."""
        executable = find_baresip()
        modules = next((path for path in _MODULES if path.is_dir()), None)
        if executable is None or modules is None:
            raise PhoneError("baresip is not installed: install the package baresip")
        folder = tempfile.TemporaryDirectory(prefix="gateway-demo-")
        [control] = free_ports(1)
        config = _CONFIG.format(control=control, folder=folder.name, modules=modules)
        (Path(folder.name) / "config").write_text(config)
        for empty in ("accounts", "contacts", "current_contact"):
            (Path(folder.name) / empty).touch()
        process = await asyncio.create_subprocess_exec(
            *(executable, "-f", folder.name),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        phone = cls(folder, process)
        try:
            async with asyncio.timeout(_START_SECONDS):
                await phone._connect(control)
        except (TimeoutError, PhoneError):
            await phone.close()
            raise PhoneError("the desk phone (baresip) did not come up") from None
        return phone

    async def _connect(self, port: int) -> None:
        while self._process.returncode is None:
            try:
                self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)
            else:
                self._tasks.append(asyncio.create_task(self._read()))
                return
        raise PhoneError("baresip has ended")

    async def _read(self) -> None:
        """Its events, JSON in netstrings, in the words of `DeskPhone`."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                length = int((await self._reader.readuntil(b":"))[:-1])
                body = await self._reader.readexactly(length + 1)
                self._take(json.loads(body[:-1]))

    def _take(self, event: dict[str, Any]) -> None:
        kind = event.get("type", "")
        if kind in ("REGISTER_OK", "REGISTER_FAIL"):
            code = 200 if kind == "REGISTER_OK" else int((event.get("param") or "0").partition(" ")[0])
            self._tell("registration", code=code, reason=event.get("param", ""))
        elif kind == "CALL_REMOTE_SDP" and event.get("direction") == "incoming" and event.get("id") != self._rang:
            self._rang = event.get("id")  # A change of the call brings a description, too.
            self._tell("incoming")
        elif kind in _STATES:
            self._tell("state", state=_STATES[kind])
            if kind == "CALL_ESTABLISHED":
                self._ear = asyncio.create_task(self._hear())
            elif kind == "CALL_CLOSED":
                self._forget()

    def _forget(self) -> None:
        """What was heard in a call that is over must not be taken for the next one's sound."""
        if self._ear is not None:
            self._ear.cancel()
        for recording in Path(self._folder.name).glob("dump-*.wav"):
            recording.unlink(missing_ok=True)

    def _tell(self, name: str, at: float | None = None, **details: Any) -> None:
        self._events.put_nowait(PhoneEvent(name, at or time.monotonic(), details))

    async def _hear(self) -> None:
        """Follow the recording of what the far end says: its first sound, and its tone."""
        recording, told = _Recording(Path(self._folder.name)), False
        while True:
            await asyncio.sleep(_LOOK)
            listener = recording.listen(time.monotonic())
            if listener is None or listener.first_sound is None:
                continue
            if not told:
                told = True
                self._tell("sound", listener.first_sound)
            hz = listener.tone()
            if hz is not None:
                return self._tell("tone", hz=hz)

    def _do(self, command: str, params: str = "") -> None:
        text = json.dumps({"command": command, "params": params}).encode()
        self._writer.write(b"%d:%s," % (len(text), text))

    async def expect(self, name: str, timeout: float = 30.0, **details: Any) -> PhoneEvent:
        """The next event of that name and with those details; PhoneError with what was seen instead."""
        passed: list[str] = []
        try:
            async with asyncio.timeout(timeout):
                while True:
                    event = await self._events.get()
                    if event.name == name and details.items() <= event.details.items():
                        return event
                    passed.append(f"{event.name} {event.details}")
        except TimeoutError:
            raise PhoneError(f"the phone saw no {name} {details or ''} within {timeout:g} s, but: {passed}") from None

    async def register(self, user: str, password: str, domain: str, registrar: str, timeout: float = 30.0) -> None:
        """Register at `registrar` ("host:port") and wait for its 200; raises PhoneError otherwise."""
        self._do(
            "uanew",
            f"<sip:{user}@{domain};transport=udp>;auth_user={user};auth_pass={password};answermode=auto;regint=300;"
            f'outbound="sip:{registrar};transport=udp";audio_codecs=PCMU/8000;audio_source=ausine,{self._hz};ptime=20',
        )
        event = await self.expect("registration", timeout)
        if event.details["code"] != 200:
            raise PhoneError(f"the registrar answered {event.details['reason']}")

    def speak(self, hz: int) -> None:
        """Say this tone into every call; before `register`."""
        self._hz = hz

    def on_incoming(self, code: int) -> None:
        """It answers every call with 200, at once."""
        assert code == 200

    def dial(self, uri: str) -> None:
        self._do("dial", uri)

    def hangup(self) -> None:
        self._do("hangup")

    async def close(self, patience: float = 5.0) -> None:
        """Hang up, unregister and end the process; it is killed when it takes more than `patience` seconds."""
        if self._process.returncode is None:
            with contextlib.suppress(TimeoutError, ConnectionError):
                if self._tasks:
                    self._do("quit")
                    await asyncio.wait_for(self._process.wait(), patience)
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        for task in [*self._tasks, *([self._ear] if self._ear is not None else [])]:
            task.cancel()
        if self._tasks:
            self._writer.close()
        self._folder.cleanup()
