"""Certificates that were renewed are shown without a reload; files that cannot be used are named and change nothing."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from structlog.testing import capture_logs
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from gateway.app import GatewayApp
from gateway.net.renewals import Renewals
from gateway.net.tls import Tls, TlsFiles
from tests.interop.gateway import config_on_free_ports
from tests.net.certificates import Authority, shown_by
from tests.ports import free_ports
from tests.rows import by_row

OPTIONS = (
    b"OPTIONS sip:gateway.local SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1:1;branch=z9hG4bK%d;rport\r\n"
    b"From: <sip:a@b.test>;tag=1\r\nTo: <sip:gateway.local>\r\nCall-ID: %d\r\nCSeq: 1 OPTIONS\r\n"
    b"Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)

ASKED = """
import os, sys
from pathlib import Path
from gateway.errors import ConfigError
from gateway.net.tls import Tls, TlsFiles
os.open(sys.argv[1], os.O_RDWR)
try:
    Tls(TlsFiles(cert=Path(sys.argv[2]), key=Path(sys.argv[3])), "web.tls").load()
except ConfigError as error:
    print(error.key)
"""
SIP = Subprotocol("sip")


class Live:
    """Files as certbot keeps them: each a link to the newest of many."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self._folder = folder
        self._count = 0
        self.cert, self.key = folder / "fullchain.pem", folder / "privkey.pem"

    def renew(self, days: int = 90) -> None:
        """The links lead to files of another pair, one after the other."""
        self._count += 1
        for path, link in zip(self.authority.issue("127.0.0.1", days=days), (self.cert, self.key), strict=True):
            kept = path.rename(self._folder / f"{link.stem}{self._count}.pem")
            (self._folder / "new").symlink_to(kept)
            (self._folder / "new").rename(link)

    @property
    def trusted(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.authority.file))


async def conditions(app: GatewayApp, live: Live) -> list[str]:
    """What /healthz says of certificates."""
    async with httpx.AsyncClient(verify=live.trusted) as http:
        said: list[str] = (await http.get(f"{app.page_url}healthz")).json()["conditions"]
    return [sentence for sentence in said if "certificate" in sentence]


async def test_renewed_certificates_are_shown_and_who_is_connected_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the page, by SIP over TLS and over WebSocket, without a reload; /healthz says so or what is wrong."""
    monkeypatch.setattr("gateway.app.root._RENEWAL_SECONDS", 0.05)
    live, (tls, wss) = Live(tmp_path), free_ports(2)
    live.renew(days=3)
    pair = {"CERT": str(live.cert), "KEY": str(live.key)}
    files = {f"{room}__TLS__{name}": path for room in ("WEB", "SIP") for name, path in pair.items()}
    listen = json.dumps([f"tls:127.0.0.1:{tls}", f"wss:127.0.0.1:{wss}"])
    app = GatewayApp(config_on_free_ports(tmp_path, SIP__LISTEN=listen, **files))
    await app.start()
    try:
        assert len(await conditions(app, live)) == 1
        ports = (app.config.web.listen.port, tls, wss)
        before = {await shown_by(port) for port in ports}
        assert len(before) == 1
        reader, writer = await asyncio.open_connection("127.0.0.1", tls, ssl=live.trusted)
        async with connect(f"wss://127.0.0.1:{wss}/", subprotocols=[SIP], ssl=live.trusted) as page:
            live.renew()
            for port in ports:
                async with asyncio.timeout(30):
                    while await shown_by(port) in before:  # noqa: ASYNC110
                        await asyncio.sleep(0.02)
            assert len({await shown_by(port) for port in ports}) == 1
            async with asyncio.timeout(30):
                while await conditions(app, live):  # noqa: ASYNC110  # it is looked at by itself
                    await asyncio.sleep(0.02)
            live.key.write_text("nonsense")
            async with asyncio.timeout(30):
                while len(await conditions(app, live)) < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            async with asyncio.timeout(30):
                writer.write(OPTIONS % (1, 1))
                assert await reader.readuntil(b"\r\n") == b"SIP/2.0 200 OK\r\n"
                await (await page.ping())
        writer.close()
    finally:
        await app.stop()


class Files:
    """A certificate of a gateway in a file, its key in another, and who looks after them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder)
        self.cert, self.key = self.authority.issue("127.0.0.1")
        self.further = self.authority.issue("further.test")
        self.tls = Tls(TlsFiles(cert=self.cert, key=self.key, certificates=(self.further,)), "web.tls")
        self.tls.load()
        self.renewals = Renewals(self.tls)

    async def looked(self) -> tuple[int, int]:
        """How many were taken up, and how many sentences there are for the operator then."""
        return await self.renewals.look(0.0), len(self.renewals.conditions())

    async def shown(self, name: str = "127.0.0.1") -> bytes | None:
        """What a client that asks for `name` is shown."""
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=self.tls.server)
        async with server:
            return await shown_by(server.sockets[0].getsockname()[1], name)

    def issued(self, name: str = "127.0.0.1") -> tuple[bytes, bytes]:
        """Certificate and key of another pair, not in their files."""
        kept = self.cert.read_bytes(), self.key.read_bytes()
        made = tuple(path.read_bytes() for path in self.authority.issue(name))
        self.cert.write_bytes(kept[0])
        self.key.write_bytes(kept[1])
        return made[0], made[1]


async def test_a_pair_that_does_not_fit_yet_is_waited_for(tmp_path: Path) -> None:
    """The key was renewed first, or the certificate: the pair of before is shown until the other one is there too."""
    files = Files(tmp_path)
    for first, second in ((files.key, files.cert), (files.cert, files.key)):
        before, contents = await files.shown(), dict(zip((files.cert, files.key), files.issued(), strict=True))
        first.write_bytes(contents[first])
        assert await files.looked() == (0, 1)
        assert await files.shown() == before
        second.write_bytes(contents[second])
        assert await files.looked() == (1, 0)
        assert ssl.DER_cert_to_PEM_cert(await files.shown() or b"").encode() == contents[files.cert]
        assert await files.looked() == (0, 0)


def gone(files: Files) -> Callable[[], object]:
    """The very file comes back."""
    away = files.cert.rename(files.folder / "away")
    return lambda: away.rename(files.cert)


def nonsense(files: Files) -> Callable[[], object]:
    """The key is none, and is written anew with what was in it."""
    good = files.key.read_bytes()
    files.key.write_text("nonsense")
    return lambda: files.key.write_bytes(good)


def further(files: Files) -> Callable[[], object]:
    """A further certificate has no key."""
    away = files.further[1].rename(files.folder / "away")
    return lambda: away.rename(files.further[1])


@by_row("breaking", [gone, nonsense, further])
async def test_files_that_cannot_be_used_are_said_until_they_can(
    tmp_path: Path, breaking: Callable[[Files], Callable[[], object]]
) -> None:
    """Once in the log, in words for the operator as long as it is so; what is in use stays."""
    files = Files(tmp_path)
    before = await files.shown()
    mend = breaking(files)
    with capture_logs() as logs:
        assert [await files.looked() for _ in range(3)] == [(0, 1)] * 3
    assert [line["log_level"] for line in logs] == ["error"]
    assert "web.tls" in files.renewals.conditions()[0]
    assert await files.shown() == before
    mend()
    assert (await files.looked())[1] == 0
    assert await files.looked() == (0, 0)
    assert await files.shown() == before


async def test_files_that_do_not_answer_hold_up_nothing_and_one_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are named until they do; what is in use stays."""
    monkeypatch.setattr("gateway.reading.PATIENCE", 0.1)
    files = Files(tmp_path)
    before, threads = await files.shown(), threading.active_count()
    good = files.cert.read_bytes()
    files.cert.unlink()
    os.mkfifo(files.cert)
    answers = threading.Timer(20, lambda: os.close(os.open(files.cert, os.O_RDWR)))  # else nothing ended the test
    answers.start()
    began = time.monotonic()
    assert [await files.looked() for _ in range(3)] == [(0, 1)] * 3
    assert "do not answer" in files.renewals.conditions()[0]
    assert time.monotonic() - began < 10
    assert threading.active_count() == threads + 2
    answers.cancel()
    assert await files.shown() == before
    pipe = os.open(files.cert, os.O_WRONLY)
    files.cert.unlink()
    files.cert.write_bytes(good)
    os.close(pipe)
    monkeypatch.setattr("gateway.reading.PATIENCE", 30.0)
    assert await files.looked() == (1, 0)
    assert await files.looked() == (0, 0)


async def test_one_that_is_known_by_its_place_alone_is_renewed_too(tmp_path: Path) -> None:
    """As long as the one before and from the same second, as images and package stores have them; twice in a row."""
    files = Files(tmp_path)
    for _ in range(2):
        status, (cert, key) = files.cert.stat(), files.issued()
        for path, text in ((files.cert, cert), (files.key, key)):
            new = files.folder / "new"
            new.write_bytes(text.ljust(len(path.read_bytes()), b"\n"))
            os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
            new.rename(path)
        assert await files.looked() == (1, 0)
        assert ssl.DER_cert_to_PEM_cert(await files.shown() or b"").encode() == cert


async def test_a_further_certificate_is_renewed_by_itself(tmp_path: Path) -> None:
    """Who asks for its name is shown the new one, who asks for another the one that stayed."""
    files = Files(tmp_path)
    first, before = await files.shown(), await files.shown("further.test")
    assert before != first
    files.authority.issue("further.test")
    assert await files.looked() == (1, 0)
    assert await files.shown("further.test") not in (before, None)
    assert await files.shown() == first


@pytest.mark.wall
def test_a_key_with_a_password_is_refused_and_nobody_is_asked(tmp_path: Path) -> None:
    """At a terminal as well, where OpenSSL would ask, and the gateway wait for the answer."""
    cert, key = Authority(tmp_path).issue("127.0.0.1")
    made = serialization.load_pem_private_key(key.read_bytes(), None)
    pem, plain = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    key.write_bytes(made.private_bytes(pem, plain, serialization.BestAvailableEncryption(b"secret")))
    leader, follower = os.openpty()
    try:
        # Who leads a session and opens a terminal has it from then on.
        done = subprocess.run(
            [sys.executable, "-c", ASKED, os.ttyname(follower), cert, key],
            start_new_session=True,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    finally:
        os.close(leader)
        os.close(follower)
    assert done.stdout == "web.tls\n"
