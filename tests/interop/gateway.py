"""A whole gateway on loopback with real peers around it, and its log held against the rules for logs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import structlog
from aiortc import RTCPeerConnection, RTCRtpSender

from gateway import Gateway as PublicGateway
from gateway.app import GatewayApp
from gateway.config import Config, load
from gateway.demo.aiortc_browser import AiortcBrowser
from gateway.demo.chromium import BrowserError
from gateway.demo.phone import DeskPhone
from gateway.log import configure
from tests import peers
from tests.ports import free_ports

PHONE_HZ = 784
BROWSER_HZ = 523
TONE_HZ = 440
"""What 601 plays."""
NEAR = 15
"""Hz that a tone may seem to be off."""

PASSWORDS = {user: f"{user}s-own-Secret-0815" for user in ("alice", "bob", "1001", "1002", "1003")}
_USERS = json.dumps(
    [
        {"id": "alice", "display_name": "Alice", "web": True, "may_call": ["*", "0*"]},
        {"id": "bob", "display_name": "Bob", "web": True, "may_call": ["*", "0*"]},
        {"id": "1001", "display_name": "Desk phone", "sip": True, "may_call": ["*", "0*"]},
        {"id": "1002", "display_name": "Second phone", "sip": True},
        {"id": "1003", "display_name": "A phone that wants INFO", "sip": True, "dtmf": "info"},
    ]
)
_CHATTY = ("aiortc", "aioice", "websockets", "asyncio", "httpx", "httpcore")
"""Libraries of the peers in this process; at debug level they write a line for each packet."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def environment_on_free_ports(folder: Path, **changes: str) -> dict[str, str]:
    """The variables of a configuration on free ports with two web users and two phones; `changes` without GATEWAY_."""
    web, sip, webrtc, rtp = free_ports(4)
    there = {user["id"] for user in json.loads(changes.get("USERS", _USERS))}
    environ = {
        "WEB__LISTEN": f"127.0.0.1:{web}",
        "SIP__LISTEN": f'["udp:127.0.0.1:{sip}"]',
        "WEBRTC__LISTEN": f"127.0.0.1:{webrtc}",
        "RTP__PORTS": f"{rtp}-{rtp + 99}",
        "IDENTITY__STORE": "memory",
        "STATE_DIR": str(folder),
        "USERS": _USERS,
        **{f"USERS__{user}__PASSWORD": password for user, password in PASSWORDS.items() if user in there},
        **changes,
    }
    return {f"GATEWAY_{key}": value for key, value in environ.items()}


def config_on_free_ports(folder: Path, **changes: str) -> Config:
    """That configuration."""
    return load(None, environment_on_free_ports(folder, **changes))


class Journal:
    """The gateway's log of one test module, in full detail, in a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._close = configure("debug", "console", file)
        for name in _CHATTY:
            logging.getLogger(name).setLevel(logging.WARNING)

    async def text(self) -> str:
        """Everything that was logged so far."""
        marker = uuid.uuid4().hex
        structlog.get_logger("tests").info(marker)
        async with asyncio.timeout(30):
            # The log is written by a thread that tells nobody when it has done so.
            while marker not in (text := self._file.read_text(encoding="utf-8")):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        return text

    def close(self) -> None:
        self._close()
        for name in _CHATTY:
            logging.getLogger(name).setLevel(logging.NOTSET)


def check_log(text: str) -> None:
    """No traceback, no control byte, no password in `text`."""
    place = text.find("Traceback")
    assert place < 0, f"a traceback was logged: {text[max(0, place - 500) : place + 4000]}"
    found = _CONTROL.search(text)
    assert found is None, f"a control byte was logged: {text[max(0, found.start() - 200) : found.end()]!r}"
    for password in PASSWORDS.values():
        assert password not in text, "a password was logged"


class RpcBrowser(AiortcBrowser):
    """The aiortc stand-in with what tests want besides: codecs of choice, declining, and all it was told."""

    def __init__(self, hz: float = BROWSER_HZ, codecs: tuple[str, ...] = ()) -> None:
        super().__init__(hz)
        self._codecs = codecs
        self.told: list[tuple[str, dict[str, Any]]] = []
        """(method, params) of every notification, in order."""
        self._news = asyncio.Event()

    async def sign_in(self, gateway: PublicGateway, user: str = "alice") -> None:
        """Open the page of a gateway that this program started, as that user."""
        await self.open(f"{gateway.page_url}#{urlencode({'user': user, 'token': gateway.password(user)})}")

    def _new_connection(self) -> RTCPeerConnection:
        connection = super()._new_connection()
        if self._codecs:
            known = RTCRtpSender.getCapabilities("audio").codecs
            chosen = [codec for name in self._codecs for codec in known if codec.mimeType.lower() == f"audio/{name}"]
            connection.getTransceivers()[0].setCodecPreferences(chosen)
        return connection

    @property
    def is_connected(self) -> bool:
        """Whether the gateway has not closed the page's socket."""
        return self._socket is not None and self._socket.close_code is None

    async def _heard(self, method: str, params: dict[str, Any]) -> None:
        self.told.append((method, params))
        self._news.set()
        await super()._heard(method, params)

    async def news(self) -> None:
        """Wait for the next notification."""
        self._news.clear()
        await self._news.wait()

    async def notified(self, method: str, timeout: float = 30.0, **match: Any) -> dict[str, Any]:
        """The first notification of that method with those members, once it is there; TimeoutError otherwise."""
        async with asyncio.timeout(timeout):
            while True:
                for name, params in self.told:
                    if name == method and match.items() <= params.items():
                        return params
                self._news.clear()
                await self._news.wait()

    @property
    def last_cause(self) -> str | None:
        """The word for why the last call ended."""
        ends = [params for method, params in self.told if method == "call_state" and params.get("state") == "ended"]
        return str(ends[-1].get("cause")) if ends else None

    async def ask(self, method: str, **params: Any) -> Any:
        """One JSON-RPC request; BrowserError with the error's message."""
        return await self._ask(method, **params)

    async def refused(self, number: str) -> str | None:
        """Dial what nobody will answer; the sentence of the error, or the cause with which the call ended."""
        self.told.clear()
        try:
            await self.dial(number)
        except BrowserError as error:
            await self._finish()
            return str(error)
        await self.status("ready")
        return self.last_cause

    async def decline(self) -> None:
        """Refuse the ringing call."""
        await self.ask("disconnect", peer_id=self._peer, reason="declined")
        await self._finish()

    def listen_anew(self) -> None:
        """Forget what was heard, so that the next tone is one of now."""
        self._ear.forget()
        self._sound.clear()


class Gateway:
    """A running GatewayApp; phones and browsers it hands out are closed with it."""

    def __init__(self, app: GatewayApp, journal: Journal, stack: AsyncExitStack) -> None:
        self.app = app
        self.journal = journal
        self._stack = stack

    @property
    def config(self) -> Config:
        return self.app.config

    @property
    def sip(self) -> tuple[str, int]:
        """Where phones register."""
        host, _, port = self.app.sip_hostport.rpartition(":")
        return host, int(port)

    @property
    def web(self) -> str:
        """The page's URL without its last slash."""
        return self.app.page_url.rstrip("/")

    def uri(self, user: str) -> str:
        """The SIP URI of a user or number here."""
        return f"sip:{user}@{self.config.domain}"

    async def spare_phone(self) -> DeskPhone:
        """A desk phone without an account."""
        peers.pjsua2()
        phone = await DeskPhone.start()
        self._stack.push_async_callback(phone.close)
        return phone

    async def phone(self, user: str = "1001", hz: int = PHONE_HZ) -> DeskPhone:
        """A registered desk phone that says a tone into every call."""
        phone = await self.spare_phone()
        phone.speak(hz)
        await phone.register(user, PASSWORDS[user], self.config.domain, self.app.sip_hostport)
        return phone

    async def browser(self, user: str = "alice", hz: float = BROWSER_HZ, codecs: tuple[str, ...] = ()) -> RpcBrowser:
        """An aiortc browser, signed in."""
        browser = await self._stack.enter_async_context(RpcBrowser(hz, codecs))
        await browser.open(self.app.signed_in_url(user))
        return browser

    async def idle(self, timeout: float = 30.0) -> None:
        """Wait until no call is left; TimeoutError otherwise."""
        async with asyncio.timeout(timeout):
            await asyncio.gather(*(call.finished() for call in self.app.calls))


@contextlib.asynccontextmanager
async def gateway_with(config: Config, log_file: Path, secrets: Iterable[str] = ()) -> AsyncIterator[Gateway]:
    """Start a gateway on `config`; at the end stop all, and hold the log against the rules."""
    journal = Journal(log_file)
    try:
        async with _started(config, journal) as gateway:
            yield gateway
        text = await journal.text()
        check_log(text)
        assert not [secret for secret in secrets if secret in text]
    finally:
        journal.close()


def gateway_beside(other: Gateway, config: Config) -> contextlib.AbstractAsyncContextManager[Gateway]:
    """Start one more gateway on `config`, in the log of the first."""
    return _started(config, other.journal)


@contextlib.asynccontextmanager
async def _started(config: Config, journal: Journal) -> AsyncIterator[Gateway]:
    async with AsyncExitStack() as stack:
        app = GatewayApp(config)
        stack.push_async_callback(app.stop)
        await app.start()
        yield Gateway(app, journal, stack)


async def hear_each_other(browser: RpcBrowser, phone: DeskPhone, timeout: float = 30.0, hz: float = PHONE_HZ) -> None:
    """Fresh tones, each found at the other end by its frequency, after what was still on its way to the phone."""
    browser.listen_anew()
    async with asyncio.timeout(timeout):
        heard = 0.0
        while abs(heard - BROWSER_HZ) > NEAR:
            await phone.listen()
            heard = float((await phone.expect("tone", timeout)).details["hz"])
    await browser.tone(hz, timeout)
