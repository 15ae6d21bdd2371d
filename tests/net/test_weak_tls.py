"""TLS that is not to be had: certificates that have ended, and versions before 1.2 (RFC 8996), both ways."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.net import UserAgent, UserAgentConfig
from gateway.net.resolver import ResolverConfig
from gateway.net.tls import TlsFiles
from tests.net.certificates import Authority
from tests.net.peers import LOOPBACK, Application, answering, port_of
from tests.rows import by_row

NAME = "one.test"
OPTIONS = (
    b"OPTIONS sip:one.test SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1:1;branch=z9hG4bKweak\r\n"
    b"From: <sip:a@example.net>;tag=f\r\nTo: <sip:b@example.net>\r\nCall-ID: weak\r\nCSeq: 1 OPTIONS\r\n"
    b"Content-Length: 0\r\n\r\n"
)
OLD = (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1)
pytestmark = pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")


@asynccontextmanager
async def agent(files: TlsFiles) -> AsyncIterator[UserAgent]:
    hosts = ResolverConfig(hosts=((NAME, ("127.0.0.1",)),))
    made = UserAgent(
        UserAgentConfig(listen=LOOPBACK, listen_tls=LOOPBACK, tls=files, resolver=hosts), Application(answering)
    )
    await made.start()
    try:
        yield made
    finally:
        await made.close()


async def heard(port: int, context: ssl.SSLContext) -> bytes:
    """What a client is answered to an OPTIONS; nothing where it gets no connection, or one that is closed."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=NAME)
    except (ssl.SSLError, ConnectionError):
        return b""
    try:
        writer.write(OPTIONS)
        return await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    except (ssl.SSLError, ConnectionError, asyncio.IncompleteReadError):
        return b""  # TLS 1.3 tells of a certificate after the handshake
    finally:
        writer.close()


def spoken(context: ssl.SSLContext, version: ssl.TLSVersion) -> ssl.SSLContext:
    """The same, which speaks that version alone, with what OpenSSL needs for old ones."""
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    context.minimum_version = min(version, ssl.TLSVersion.TLSv1_2)
    context.maximum_version = version
    return context


async def status(caller: UserAgent, port: int) -> int:
    return (await caller.options(f"sips:{NAME}:{port}")).status


async def test_a_server_whose_certificate_has_ended_is_not_connected_to(tmp_path: Path) -> None:
    """503; one of the same name whose certificate has not is."""
    authority = Authority(tmp_path)
    async with agent(authority.files("alice.test")) as alice:
        for ended in (True, False):
            async with agent(authority.files(NAME, ended=ended)) as bob:
                assert await status(alice, port_of(bob, "tls")) == (503 if ended else 200)


async def test_a_client_whose_certificate_has_ended_is_not_let_in(tmp_path: Path) -> None:
    """Where certificates are asked for; another one of the same authority is."""
    authority = Authority(tmp_path)
    async with agent(replace(authority.files(NAME), client_certificates="required")) as bob:
        for ended in (True, False):
            context = ssl.create_default_context(cafile=str(authority.file))
            context.load_cert_chain(*authority.issue("client.test", ended=ended))
            answer = await heard(port_of(bob, "tls"), context)
            assert answer.startswith(b"SIP/2.0 200") is not ended


@by_row("version", [*OLD, ssl.TLSVersion.TLSv1_2])
async def test_a_client_of_an_old_version_is_not_let_in(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """Though it would take any cipher; that a server of its version lets it in shows that it is the version."""
    authority = Authority(tmp_path)
    context = ssl.create_default_context(cafile=str(authority.file))
    async with agent(authority.files(NAME)) as bob:
        answer = await heard(port_of(bob, "tls"), spoken(context, version))
        assert answer.startswith(b"SIP/2.0 200") is (version not in OLD)


@by_row("version", [*OLD, ssl.TLSVersion.TLSv1_2])
async def test_a_server_of_an_old_version_is_not_connected_to(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """503, and not an octet of SIP; a client of its version and our own with a newer one get through to it."""
    authority = Authority(tmp_path)
    read = list[bytes]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        read.append(request := await reader.readuntil(b"\r\n\r\n"))
        lines = [
            line for line in request.split(b"\r\n") if line.startswith((b"Via", b"From", b"To", b"Call-ID", b"CSeq"))
        ]
        writer.write(b"\r\n".join([b"SIP/2.0 200 OK", *lines, b"Content-Length: 0", b"", b""]))
        await reader.read()
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue(NAME))
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=spoken(context, version))
    port = server.sockets[0].getsockname()[1]
    try:
        old = spoken(ssl.create_default_context(cafile=str(authority.file)), version)
        assert (await heard(port, old)).startswith(b"SIP/2.0 200")
        assert read.pop() == OPTIONS
        async with agent(authority.files("alice.test")) as alice:
            assert await status(alice, port) == (503 if version in OLD else 200)
        assert len(read) == (version not in OLD)
    finally:
        server.close()
