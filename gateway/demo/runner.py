"""The demo's script: what is started, dialled, said, heard and hung up, in order."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from gateway.app import GatewayApp
from gateway.config import Config, load
from gateway.demo.baresip import BaresipPhone, find_baresip
from gateway.demo.chromium import find_chromium
from gateway.demo.phone import DeskPhone
from gateway.demo.ports import free_ports
from gateway.demo.report import DemoReport, StepResult
from gateway.doctor.machine import NO_NETWORK
from gateway.doctor.own import has_network
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from gateway.demo.aiortc_browser import AiortcBrowser
    from gateway.demo.browser import SoftphoneBrowser

BROWSER_HZ = 523
PHONE_HZ = 784
TONE_HZ = 440
TOLERANCE_HZ = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What the command line chose."""

    browser: str = "auto"
    """auto, chromium or aiortc."""
    rounds: int = 3


def demo_config(folder: str, **changes: str) -> Config:
    """A gateway on free loopback ports, with the two ready-made accounts and nothing kept; `changes` are variables."""
    web, sip, webrtc, rtp = free_ports(4)
    environ = {
        "GATEWAY_WEB__LISTEN": f"127.0.0.1:{web}",
        "GATEWAY_SIP__LISTEN": f'["udp:127.0.0.1:{sip}"]',
        "GATEWAY_WEBRTC__LISTEN": f"127.0.0.1:{webrtc}",
        "GATEWAY_RTP__PORTS": f"{rtp}-{rtp + 99}",
        "GATEWAY_IDENTITY__STORE": "memory",
        "GATEWAY_STATE_DIR": folder,
        "GATEWAY_USERS": '[{"id": "alice", "display_name": "Alice", "web": true},'
        ' {"id": "1001", "display_name": "Desk phone", "sip": true}]',
    }
    return load(None, environ | changes)


class Demo:
    """One gateway, one phone, one browser; `run` does every step and reports."""

    def __init__(self, options: DemoOptions, progress: Callable[[str], None]) -> None:
        self._options = options
        self._progress = progress
        self._app: GatewayApp
        self._phone: DeskPhone | BaresipPhone
        self._browser: SoftphoneBrowser | AiortcBrowser

    async def run(self) -> DemoReport:
        """Start everything, do the steps, stop everything; raises GatewayError when the start fails."""
        if not has_network():
            alone = "this machine has no address but loopback, and browsers make no calls over loopback alone"
            raise GatewayError(f"{alone}. {NO_NETWORK}")
        async with AsyncExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-demo-"))
            config = demo_config(folder)
            self._app = GatewayApp(config)
            self._progress("Starting the gateway …")
            stack.push_async_callback(self._app.stop)
            await self._app.start()
            self._phone = await self._start_phone()
            stack.push_async_callback(self._phone.close)
            self._phone.speak(PHONE_HZ)
            await self._phone.register("1001", self._app.password("1001"), config.domain, self._app.sip_hostport)
            self._browser = await stack.enter_async_context(self._choose_browser())
            await self._browser.open(self._app.signed_in_url("alice"))
            report = DemoReport(self._browser.name, phone=self._phone.name)
            await self._steps(report)
        return report

    async def _start_phone(self) -> DeskPhone | BaresipPhone:
        """pjsua2, or baresip where that has no wheel."""
        kind = DeskPhone if find_spec("pjsua2") is not None else BaresipPhone
        if kind is BaresipPhone and find_baresip() is None:
            raise GatewayError(
                "there is no desk phone: install the package baresip, or the extra `phone` (pjsua2; "
                "PyPI has it for Python 3.11 and 3.12 on x86-64 Linux)"
            )
        self._progress(f"Starting the desk phone ({kind.name}) and registering it …")
        return await kind.start()

    def _choose_browser(self) -> SoftphoneBrowser | AiortcBrowser:
        executable = find_chromium() if self._options.browser != "aiortc" else None
        if executable is not None:
            from gateway.demo.browser import SoftphoneBrowser  # only where playwright is installed

            self._progress(f"Starting {executable} with a tone of {BROWSER_HZ} Hz for a microphone …")
            return SoftphoneBrowser(executable, BROWSER_HZ)
        if self._options.browser == "chromium":
            raise GatewayError(
                "there is no Chromium to drive; install the package chromium and the extra `browser` (playwright), "
                "or use --browser aiortc"
            )
        self._progress("There is no Chromium to drive here: an aiortc peer plays the browser.")
        try:
            from gateway.demo.aiortc_browser import AiortcBrowser  # only where aiortc is installed
        except ImportError:
            raise GatewayError(
                "there is neither a Chromium nor aiortc to play the browser; install the extra `browser` or `client`"
            ) from None
        return AiortcBrowser(BROWSER_HZ)

    async def _steps(self, report: DemoReport) -> None:
        for _ in range(self._options.rounds):
            await self._step(report, "browser calls phone", self._browser_to_phone)
            await self._step(report, "phone calls browser", self._phone_to_browser)
        await self._step(report, "browser dials 600", self._browser_to_echo)
        await self._step(report, "browser dials 601", self._browser_to_tone)
        await self._step(report, "phone dials 600", self._phone_to_echo)
        await self._step(report, "phone dials 601", self._phone_to_tone)

    async def _step(self, report: DemoReport, name: str, action: Callable[[StepResult], Awaitable[None]]) -> None:
        self._progress(f"{name} …")
        step = StepResult(name)
        report.steps.append(step)
        try:
            await action(step)
            step.passed = True
        except GatewayError as error:
            step.words = str(error)
            await self._tidy()

    async def _tidy(self) -> None:
        """After a step that failed, bring both ends back to rest."""
        self._phone.hangup()
        await self._browser.reset()
        for call in list(self._app.calls):
            call.stop()
            await call.finished()

    async def _browser_to_phone(self, step: StepResult) -> None:
        self._phone.on_incoming(200)
        dialled = time.monotonic()
        await self._browser.dial("1001")
        ringing = await self._phone.expect("incoming")
        answered = await self._phone.expect("state", state="answered")
        step.ringing = (ringing.at - dialled) * 1000
        await self._browser.status("talking")
        step.answered = (answered.at - dialled) * 1000
        await self._hear_each_other(step, dialled)
        step.offer_to_media = await self._since_offer(step, dialled)
        await self._browser.hang_up()
        await self._phone.expect("state", state="ended")
        await self._browser.status("ready")
        step.words += ", browser hung up"

    async def _phone_to_browser(self, step: StepResult) -> None:
        dialled = time.monotonic()
        self._phone.dial(f"sip:alice@{self._app.config.domain}")
        await self._browser.status("ringing")
        step.ringing = (time.monotonic() - dialled) * 1000
        await self._browser.accept()
        answered = await self._phone.expect("state", state="answered")
        step.answered = (answered.at - dialled) * 1000
        await self._hear_each_other(step, dialled)
        self._phone.hangup()
        await self._phone.expect("state", state="ended")
        await self._browser.status("ready")
        step.words += ", phone hung up"

    async def _hear_each_other(self, step: StepResult, dialled: float) -> None:
        sound_at_phone = await self._phone.expect("sound")
        sound_at_browser = await self._browser.first_sound()
        step.audible = (max(sound_at_phone.at, sound_at_browser) - dialled) * 1000
        heard = float((await self._phone.expect("tone")).details["hz"])
        if abs(heard - BROWSER_HZ) > TOLERANCE_HZ:
            raise GatewayError(f"the phone heard {heard:.0f} Hz instead of {BROWSER_HZ} Hz")
        other = await self._browser.tone(PHONE_HZ)
        step.words = f"{heard:.0f} Hz at the phone, {other:.0f} Hz in the browser"

    async def _since_offer(self, step: StepResult, dialled: float) -> float | None:
        offered = await self._browser.offered_at()
        return None if offered is None or step.audible is None else step.audible - (offered - dialled) * 1000

    async def _browser_to_service(self, step: StepResult, number: str, hz: float) -> None:
        dialled = time.monotonic()
        await self._browser.dial(number)
        await self._browser.status("talking")
        step.answered = (time.monotonic() - dialled) * 1000
        step.audible = (await self._browser.first_sound() - dialled) * 1000
        heard = await self._browser.tone(hz)
        step.words = f"{heard:.0f} Hz in the browser"
        await self._browser.hang_up()
        await self._browser.status("ready")

    async def _browser_to_echo(self, step: StepResult) -> None:
        await self._browser_to_service(step, "600", BROWSER_HZ)

    async def _browser_to_tone(self, step: StepResult) -> None:
        await self._browser_to_service(step, "601", TONE_HZ)

    async def _phone_to_service(self, step: StepResult, number: str, hz: float) -> None:
        dialled = time.monotonic()
        self._phone.dial(f"sip:{number}@{self._app.config.domain}")
        answered = await self._phone.expect("state", state="answered")
        step.answered = (answered.at - dialled) * 1000
        step.audible = ((await self._phone.expect("sound")).at - dialled) * 1000
        heard = float((await self._phone.expect("tone")).details["hz"])
        if abs(heard - hz) > TOLERANCE_HZ:
            raise GatewayError(f"the phone heard {heard:.0f} Hz instead of {hz} Hz")
        self._phone.hangup()
        await self._phone.expect("state", state="ended")
        step.words = f"{heard:.0f} Hz at the phone"

    async def _phone_to_echo(self, step: StepResult) -> None:
        await self._phone_to_service(step, "600", PHONE_HZ)

    async def _phone_to_tone(self, step: StepResult) -> None:
        await self._phone_to_service(step, "601", TONE_HZ)
