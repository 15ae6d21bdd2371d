"""Two phones ring with early media of their own: the caller hears the first until it stops or loses, then the other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest

from gateway.net import IncomingSession
from tests.app.desk import Desk, desks
from tests.interop.gateway import NEAR, Gateway, RpcBrowser, config_on_free_ports, gateway_with
from tests.media.engine_support import parsed, until
from tests.media.rtpengine_support import shared
from tests.rows import by_row

HZ = {"1001": 400.0, "1002": 700.0, "1003": 1000.0}
GROUPS = json.dumps([{"name": "desk", "members": ["1002", "1003"]}])
ROUTES = json.dumps([{"match": "2000", "to": "group:desk"}])
USERS = json.dumps(
    [
        {"id": "alice", "web": True, "may_call": ["*"]},
        *[{"id": user, "sip": True, "may_call": ["*"]} for user in HZ],
    ]
)
Way = Literal["group", "one user"]


class EarlyDesk(Desk):
    """A phone that lets its callers hear a tone while it rings."""

    def __init__(self, user: str, hz: float) -> None:
        super().__init__(user)
        self.hz = hz

    def _rings(self, session: IncomingSession) -> None:
        self._is_called_by(session)
        self.ringing = session
        self.rtp.take(session.initial_offer.decode())
        session.ring(183, body=self.describe(session.initial_offer))
        self.rtp.play(self.hz)

    def falls_silent(self) -> None:
        assert self.rtp._sending is not None
        self.rtp._sending.cancel()

    def declines(self) -> None:
        self.ringing.reject(486)


@pytest.mark.parametrize("plane", ["python", "native"])
@by_row("ends", ["silent", "declines"])
@by_row("way", ["group", "one user"])
@by_row("caller", ["phone", "page"])
async def test_the_caller_hears_the_first_and_then_the_other(
    tmp_path: Path, caller: str, way: Way, ends: str, plane: str
) -> None:
    """By their tones; who answers in the end is heard."""
    await one_after_the_other(tmp_path, caller, way, ends, MEDIA__PLANE=plane)


@pytest.mark.wall
@by_row("ends", ["silent", "declines"])
@by_row("caller", ["phone", "page"])
async def test_the_caller_hears_them_by_rtpengine_too(tmp_path: Path, caller: str, ends: str) -> None:
    """A silence is noticed when the daemon is asked next."""
    host, port = shared().address
    await one_after_the_other(tmp_path, caller, "group", ends, MEDIA__ENGINE=f"rtpengine:{host}:{port}")


async def one_after_the_other(tmp_path: Path, caller: str, way: Way, ends: str, **media: str) -> None:
    config = config_on_free_ports(tmp_path, USERS=USERS, GROUPS=GROUPS, ROUTES=ROUTES, **media)
    phones = [EarlyDesk("1002", HZ["1002"]), EarlyDesk("1003" if way == "group" else "1002", HZ["1003"])]
    ear = Desk("1001")
    async with gateway_with(config, tmp_path / "gateway.log") as gateway, desks(gateway.app, ear, *phones):
        number = "2000" if way == "group" else "1002"
        page = await dialled(gateway, ear, number, by_page=caller == "page")

        def heard(phone: EarlyDesk) -> bool:
            if page is None:
                return ear.hears(phone.hz)
            tone = page._ear.tone()
            return tone is not None and abs(tone - phone.hz) < NEAR

        await until(lambda: any(map(heard, phones)))
        first = next(phone for phone in phones if heard(phone))
        other = next(phone for phone in phones if phone is not first)
        await until(lambda: hasattr(other, "ringing"))
        if page is None:
            ear.rtp.packets.clear()
            await until(lambda: len(ear.rtp.packets) >= 50)
            assert len({packet.ssrc for packet in parsed(ear.rtp)}) == 1
        if ends == "silent":
            first.falls_silent()
        else:
            first.declines()
        await until(lambda: heard(other))
        other.ringing.answer(other.said)
        await other.is_up()
        forget(ear, page)
        await until(lambda: heard(other))
        if page is not None:
            await page.hang_up()


async def dialled(gateway: Gateway, ear: Desk, number: str, *, by_page: bool) -> RpcBrowser | None:
    if by_page:
        page = await gateway.browser("alice", codecs=("pcmu",))
        await page.dial(number)
        return page
    ear.dial(gateway.app, number)
    return None


def forget(ear: Desk, page: RpcBrowser | None) -> None:
    ear.rtp.packets.clear()
    if page is not None:
        page.listen_anew()
