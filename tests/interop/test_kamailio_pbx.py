"""The Kamailio of docs/pbx/kamailio.md and that of lesson 10, word for word, between their phones and a stranger."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import runpy
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
DOMAINS = {GUIDE: "127.0.0.1", LESSON: "pbx"}

pytestmark = [pytest.mark.wall, pytest.mark.parametrize("file", [GUIDE, LESSON], ids=["guide", "lesson"])]


@contextlib.asynccontextmanager
async def started_as_written(file: Path, folder: Path, port: int, gateway: str) -> AsyncIterator[None]:
    """The guide's Kamailio, after the command that makes its secret, or the one that the lesson's program starts."""
    if file == LESSON:
        lesson = runpy.run_path(str(LESSON.with_name("pbx.py")))
        async with lesson["pbx"](folder, "127.0.0.1", port, gateway):
            yield
        return
    [command] = re.findall(r"^```sh\n([^`]*secret\.cfg\))\n```", GUIDE.read_text(), re.MULTILINE)
    made = await asyncio.create_subprocess_shell(command, cwd=folder)
    assert await made.wait() == 0
    [text] = re.findall(r"^#!KAMAILIO\n.*?(?=^```)", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
    async with kamailio(folder, text.replace("192.0.2.10:5060", f"127.0.0.1:{port}"), "127.0.0.1", port):
        yield


def marked(call_id: str, secret: str) -> str:
    """The parameter of the Route that leads through a Kamailio with that secret."""
    return f";of={hashlib.sha256((call_id + secret).encode()).hexdigest()}"


def printed(file: Path) -> set[str]:
    """Whatever who has read the file could take for the secret."""
    text = file.read_text() + (file.with_name("pbx.py").read_text() if file == LESSON else "")
    return {"", "SECRET", *re.findall(r'"([^"\n]*)"', text), *re.findall(r"[\w.-]+", text)}


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
    async with started_as_written(file, tmp_path, port, "127.0.0.1:9"), phones(file, port) as (calling, _, called):
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
        async with started_as_written(file, tmp_path, port, home):
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


async def test_who_has_read_the_file_cannot_make_a_mark(tmp_path: Path, file: Path) -> None:
    """Each has a secret of its own: nothing that is printed leads through, and the secret itself would."""
    [port] = free_ports(1)
    proxy = ("127.0.0.1", port)
    secrets: set[str] = set()
    async with stranger("127.0.0.68") as elsewhere, stranger() as sender:
        there = ":".join(map(str, elsewhere.place))

        def led(call_id: str, secret: str) -> bytes:
            route = f"Route: <sip:127.0.0.1:{port};lr{marked(call_id, secret)}>"
            return sender.request("INFO", f"sip:x@{there}", to_tag="t", call_id=call_id, headers=(route,))

        for name in ("one", "two"):
            folder = tmp_path / name
            folder.mkdir()
            async with started_as_written(file, folder, port, "127.0.0.1:9"):
                for number, text in enumerate(sorted(printed(file) | secrets)):
                    assert await sender.status(led(f"{name}-{number}", text), proxy) == 481, text
                [secret] = re.findall('"(.*)"', (folder / "secret.cfg").read_text())
                secrets.add(secret)
                seen = len(elsewhere.received)
                sender.send(led(f"{name}-known", secret), proxy)
                await elsewhere.more_than(seen)
        assert {line_of(data) for data, _ in elsewhere.received} == {b"INFO"}
        assert all(b"-known\r\n" in data for data, _ in elsewhere.received)
