"""The Kamailio of docs/pbx/kamailio.md and that of lesson 10, word for word, between their phones and a stranger."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.net.user_agent import UserAgent
from gateway.sip.auth.account import Credentials
from gateway.sip.invite import events
from tests.interop.kamailio import kamailio, led_astray, line_of
from tests.interop.stranger import stranger
from tests.net.peers import ANSWER, OFFER, Application, Recorder, answering, started
from tests.ports import free_ports

ROOT = Path(__file__).parents[2]
GUIDE, LESSON = ROOT / "docs/pbx/kamailio.md", ROOT / "examples/10_pbx_trunk/kamailio.cfg"
PLACES = {GUIDE: "192.0.2.10:5060", LESSON: "PBX"}
"""What each file calls its own address."""
DOMAINS = {GUIDE: "127.0.0.1", LESSON: "pbx"}

pytestmark = [pytest.mark.peer, pytest.mark.parametrize("file", [GUIDE, LESSON], ids=["guide", "lesson"])]


def configuration(file: Path, port: int, gateway: str) -> str:
    """What the file says, with addresses of the test."""
    text: str
    [text] = re.findall(r"^#!KAMAILIO\n.*?(?=^```|\Z)", file.read_text(), re.DOTALL | re.MULTILINE)
    own = "fork=no\nlog_stderror=yes\ndebug=1\n"
    return text.replace(own, "").replace(PLACES[file], f"127.0.0.1:{port}").replace("GATEWAY", gateway)


def credentials(file: Path, user: str) -> Credentials:
    names = {"1001": "gateway"} if file == LESSON else {}
    password = "secret-of-the-trunk" if user in names else f"secret-of-{user}"
    return Credentials(names.get(user, user), password)


@contextlib.asynccontextmanager
async def phones(file: Path, port: int) -> AsyncIterator[tuple[UserAgent, UserAgent, Application]]:
    """Two of the accounts: one that calls, and 201, which answers."""
    called = Application(answering)
    calling, answers = await started(Application()), await started(called)
    try:
        await answers.register(
            f"sip:127.0.0.1:{port}", aor=f"sip:201@{DOMAINS[file]}", credentials=credentials(file, "201")
        )
        yield calling, answers, called
    finally:
        await calling.close()
        await answers.close()


@pytest.mark.parametrize("ends", ["caller", "called"])
async def test_a_call_goes_on_and_ends_by_its_own_route(tmp_path: Path, file: Path, ends: str) -> None:
    """ACK, a re-INVITE of each side and the BYE come by the Record-Route that was written for it."""
    [port] = free_ports(1)
    pbx = kamailio(tmp_path, configuration(file, port, "127.0.0.1:9"), "127.0.0.1", port)
    async with pbx, phones(file, port) as (calling, _, called):
        session = calling.invite(
            f"sip:201@127.0.0.1:{port}",
            caller=f"<sip:1001@{DOMAINS[file]}>",
            body=OFFER,
            credentials=credentials(file, "1001"),
        )
        heard = Recorder(session)
        await heard.wait(events.Answered)
        other = await called.calls.get()
        await other.wait(events.Confirmed)
        for one, hears in ((heard, other), (other, heard)):
            number = one.session.offer(ANSWER + b"a=sendonly\r\n")
            offered = await hears.wait(events.Offered)
            assert isinstance(offered, events.Offered)
            hears.session.answer_offer(offered.exchange, OFFER)
            answered = await one.wait(events.OfferAnswered)
            assert isinstance(answered, events.OfferAnswered)
            assert (answered.exchange, answered.status) == (number, 200)
        (heard if ends == "caller" else other).session.hangup()
        for each in (heard, other):
            await each.wait(events.Ended)


async def test_no_route_of_a_strangers_leads_through_the_pbx(tmp_path: Path, file: Path) -> None:
    """Nor one with a mark that it has made up, nor a response to nothing."""
    port, same = free_ports(2)
    proxy, address = ("127.0.0.1", port), f"127.0.0.1:{port}"
    at_home, away = stranger("127.0.0.67", same), stranger("127.0.0.68", same)
    async with at_home as gateway, stranger() as sender, away as elsewhere:
        there, home = (":".join(map(str, one.place)) for one in (elsewhere, gateway))
        async with kamailio(tmp_path, configuration(file, port, home), *proxy):
            requests = led_astray(sender, home, address, there)
            for mark in ("", ";of", ";of=", ";of=0", f";of={64 * '0'}"):
                requests.append(
                    sender.request("INFO", f"sip:x@{there}", to_tag="t", headers=(f"Route: <sip:{address};lr{mark}>",))
                )
            for request in requests:
                sender.send(request, proxy)
            via = f"Via: SIP/2.0/UDP {address};branch=z9hG4bKp\r\nVia: SIP/2.0/UDP {there};branch=z9hG4bKe\r\n"
            sender.send(
                f"SIP/2.0 200 OK\r\n{via}From: <sip:a@h>;tag=a\r\nTo: <sip:b@h>;tag=b\r\nCall-ID: none\r\n"
                f"CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n".encode(),
                proxy,
            )
            # What came before this was read before it; what a proxy sends twice, it has sent once by then.
            assert await sender.status(sender.request("OPTIONS", f"sip:{address}"), proxy) == 200
            assert [line_of(data) for data, _ in (*elsewhere.received, *gateway.received)] == []
