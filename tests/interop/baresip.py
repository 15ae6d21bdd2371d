"""Runs baresip, an independent desk phone without a window, and drives it over its control socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests import peers
from tests.ports import free_ports
from tests.processes import reap

MODULES = Path("/usr/lib/baresip/modules")

_CONFIG = """\
poll_method epoll
sip_listen 127.0.0.1:{sip}
net_interface 127.0.0.1
audio_source ausine,660
audio_player aubridge,ear
audio_alert aubridge,bell
ausrc_srate {rate}
auplay_srate {rate}
ausrc_channels {channels}
auplay_channels {channels}
ausrc_format s16
auplay_format s16
auenc_format s16
audec_format s16
audio_buffer 20-160
ringback_disabled yes
menu_bell no
module_path {modules}
{loaded}
module_tmp account.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen 127.0.0.1:{control}
"""

_VIDEO = """\
video_source vidbridge,screen
video_display vidbridge,screen
video_size 320x240
video_bitrate 500000
video_fps 15
"""
"""What it sees is what it shows."""
_MODULES = {"H264": "avcodec"}
"""Of codecs whose module is named otherwise; avcodec is in Debian's baresip-ffmpeg."""
_CONTACTS = """\
module_app contact.so
module_app presence.so
"""


class BaresipError(Exception):
    """baresip did not do in time what was expected of it."""


class Baresip:
    """One baresip: commands go out, events come in, both as JSON in netstrings."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                length = int((await self._reader.readuntil(b":"))[:-1])
                body = await self._reader.readexactly(length + 1)
                self._events.put_nowait(json.loads(body[:-1]))

    def command(self, name: str, params: str = "") -> None:
        """One command of baresip's menu: dial, hangup, sndcode, hold …"""
        text = json.dumps({"command": name, "params": params}).encode()
        self._writer.write(b"%d:%s," % (len(text), text))

    async def expect(self, kind: str, timeout: float = 30.0) -> dict[str, Any]:
        """The next event of that type ("REGISTER_OK", "CALL_ESTABLISHED", …); BaresipError with what came instead."""
        passed: list[str] = []
        try:
            async with asyncio.timeout(timeout):
                while True:
                    event = await self._events.get()
                    if event.get("type") == kind:
                        return event
                    passed.append(f"{event.get('type') or event}")
        except TimeoutError:
            raise BaresipError(f"no {kind} within {timeout:g} s, but: {', '.join(passed) or 'nothing'}") from None

    async def expect_all(self, *kinds: str, timeout: float = 30.0) -> None:
        """One event of each type, in any order; BaresipError where one does not come."""
        wanted = set(kinds)
        try:
            async with asyncio.timeout(timeout):
                while wanted:
                    wanted.discard((await self._events.get()).get("type", ""))
        except TimeoutError:
            raise BaresipError(f"no {' and no '.join(sorted(wanted))} within {timeout:g} s") from None

    async def ask(self, name: str, params: str = "") -> str:
        """What it prints for a command."""
        self.command(name, params)
        async with asyncio.timeout(30):
            while True:
                event = await self._events.get()
                if "response" in event:
                    return str(event.get("data", ""))

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)


def _prepare(folder: Path, codec: str, source: str, contact: str, video: str, sip_port: str) -> int:
    """Write the configuration; returns the port of its control socket."""
    # It opens the port above its SIP port too, for TLS: that one is free after the last alone.
    control, sip = free_ports(2)
    sip = int(sip_port or sip)
    rate, channels = (48000, 2) if source.startswith("ausine") or codec.startswith("opus") else (8000, 1)
    name = codec.partition("/")[0].lower()
    modules = ["g711" if name.startswith("pcm") else name, "ausine", "aubridge", "srtp", "dtls_srtp"]
    if video:
        modules += [_MODULES.get(video, video), "vidbridge", "snapshot"]
    loaded = "\n".join(f"module {module}.so" for module in modules)
    folder.mkdir(parents=True, exist_ok=True)
    text = _CONFIG.format(sip=sip, control=control, modules=MODULES, loaded=loaded, rate=rate, channels=channels)
    (folder / "config").write_text(text + (_CONTACTS if contact else "") + (_VIDEO if video else ""))
    for empty in ("accounts", "contacts", "current_contact"):
        (folder / empty).touch()
    if contact:
        (folder / "contacts").write_text(f'"Somebody" <{contact}>;presence=p2p\n')
        (folder / "current_contact").write_text(contact)
    return control


@contextlib.asynccontextmanager
async def baresip(
    folder: Path,
    user: str,
    password: str,
    registrar: tuple[str, int],
    domain: str,
    *,
    codec: str,
    source: str,
    transport: str = "udp",
    contact: str = "",
    encryption: str = "",
    video: str = "",
    sip_port: str = "",
) -> AsyncIterator[Baresip]:
    """Start a baresip that registers, answers every call by itself, knows one codec and speaks from `source`.

    `source` is a baresip audio source: "ausine,660" for a tone, "aubridge,ear" for whatever it hears. `contact` is the
    one entry of its book, whose presence it subscribes to and whom its command "message" writes to. `encryption` is its
    `mediaenc`: "srtp-mand" takes no plain RTP, "dtls_srtp" offers DTLS. `video` is a codec of pictures: what it
    decodes it encodes again and sends back. With a `sip_port` it listens there, and registers nowhere.
    """
    # The account comes by command, so that no event about it is missed.
    refresh = 0 if sip_port else 300
    account = (
        f"<sip:{user}@{domain};transport={transport}>;auth_user={user};auth_pass={password};answermode=auto;regint={refresh}"
        f';outbound="sip:{registrar[0]}:{registrar[1]};transport={transport}";audio_codecs={codec};audio_source={source};ptime=20'
        + (f";mediaenc={encryption}" if encryption else "")
        + (f";video_codecs={video}" if video else "")
    )
    process, phone = await _start(folder, codec, source, contact, video, sip_port)
    try:
        if sip_port:
            await phone.ask("uanew", account)  # it has no registration to wait for
        else:
            phone.command("uanew", account)
        yield phone
    finally:
        phone.command("quit")
        await phone.close()
        await reap(process)


async def _start(
    folder: Path, codec: str, source: str, contact: str, video: str, sip_port: str
) -> tuple[asyncio.subprocess.Process, Baresip]:
    """A baresip that is up."""
    executable = peers.baresip()
    control = _prepare(folder, codec, source, contact, video, sip_port)
    with (folder / "output").open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            executable, "-f", str(folder), stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        return process, await _connect(control, process, folder / "output")
    except BaseException:
        if process.returncode is None:
            process.kill()
            await process.wait()
        raise


async def _connect(port: int, process: asyncio.subprocess.Process, output: Path) -> Baresip:
    """Reach the control socket of a baresip that is coming up."""
    try:
        async with asyncio.timeout(30):
            while process.returncode is None:
                try:
                    return Baresip(*await asyncio.open_connection("127.0.0.1", port))
                except ConnectionRefusedError:
                    await asyncio.sleep(0.02)
    except TimeoutError:
        pass
    said = await asyncio.to_thread(output.read_text, errors="replace")
    raise BaresipError(f"baresip did not come up: {said[-2000:]}")
