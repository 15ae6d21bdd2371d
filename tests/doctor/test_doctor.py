"""`gateway doctor` against real things: a port that is taken, a STUN server, trunks that answer or do not."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import struct
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import redis.asyncio
from rich.console import Console

from gateway import probe
from gateway.commands.doctor import examined
from gateway.doctor import certificates, machine, media, network, rtpengine, stores
from gateway.doctor.findings import Finding, Verdict, good
from gateway.media.embedded.plane.native import wire
from gateway.media.embedded.plane.native.plane import NativePlane
from gateway.media.embedded.plane.native.process import SOCKET
from gateway.media.embedded.plane.values import FlowConfig
from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.store.identity_memory import MemoryStore
from gateway.store.identity_sqlite import SqliteStore
from tests.doctor.around import config, said, stun_server, trunk
from tests.identity.conftest import redis_server
from tests.interop.gateway import config_on_free_ports, gateway_with
from tests.media.plane_rig import Told, figures, leave
from tests.media.plane_scene import made_plane
from tests.media.rtpengine_support import shared
from tests.net.certificates import Authority
from tests.net.name_server import NameServer
from tests.net.peers import Application
from tests.ports import free_port, free_ports
from tests.rows import by_row


def test_a_port_in_use_is_a_fault_and_our_own_gateway_is_none(tmp_path: Path) -> None:
    """The key is named, and what to do."""
    found = config_on_free_ports(tmp_path)
    assert said(machine.ports(found, None), "ports").verdict is Verdict.GOOD
    listen = found.sip.listen[0]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind((listen.host, listen.port))
        taken = said(machine.ports(found, None), "sip.listen.0")
        assert (taken.verdict, "in use" in taken.found) == (Verdict.WRONG, True)
        assert "ss -lnp" in taken.advice
        assert said(machine.ports(found, "ok"), "ports").verdict is Verdict.GOOD
        drains = said(machine.ports(found, "draining"), "ports")
        assert (drains.verdict, "draining" in drains.found) == (Verdict.NOTICE, True)


def test_an_address_that_is_not_ours_is_no_other_programs(tmp_path: Path) -> None:
    """Nobody is to be ended for it."""
    elsewhere = config_on_free_ports(tmp_path, SIP__LISTEN="udp:203.0.113.9:5060")
    fault = said(machine.ports(elsewhere, None), "sip.listen.0")
    assert (fault.verdict, "not an address of this machine" in fault.found) == (Verdict.WRONG, True)
    assert "ip address" in fault.advice


async def test_beside_a_gateway_that_runs_everything_is_looked_at(tmp_path: Path) -> None:
    """Its ports are its own; nothing is wrong; it says how it is. A trunk that is a gateway answers."""
    mine = config_on_free_ports(tmp_path, IDENTITY__STORE="memory")
    async with gateway_with(mine, tmp_path / "gateway.log") as gateway:
        (office,) = config(trunks=[trunk("sip:{}:{}".format(*gateway.sip))]).trunks
        findings = await examined(mine.model_copy(update={"trunks": (office,)}), Console(quiet=True))
    assert 'says that it is "ok"' in said(findings, "ports").found
    assert 'answers "200 OK"' in said(findings, "trunk office").found
    assert [one for one in findings if one.verdict is Verdict.WRONG] == []


@by_row(("told", "verdict"), [([], Verdict.NOTICE), (["203.0.113.7"], Verdict.GOOD), (["203.0.113.8"], Verdict.WRONG)])
async def test_what_a_stun_server_sees_is_held_against_what_peers_are_told(told: list[str], verdict: Verdict) -> None:
    """Behind NAT the public address is to be advertised; the first answer may be lost."""
    async with stun_server(("203.0.113.7", 4711)) as server:
        found = said(await network.nat(config(webrtc={"stun_server": server, "advertised": told})), "NAT")
    assert found.verdict is verdict
    assert ("[203.0.113.7]" in found.advice) == (verdict is not Verdict.GOOD)


async def test_a_stun_server_that_says_nonsense_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up after its time."""
    monkeypatch.setattr(network, "_PATIENCE", 0.2)
    async with stun_server(None) as server:
        found = said(await network.nat(config(webrtc={"stun_server": server})), "webrtc.stun_server")
    assert found.verdict is Verdict.WRONG


@by_row(
    "answer",
    [
        b"",
        bytes(19),
        b"\x01\x01\x00\x04" + bytes(16),
        b"\x01\x01\x00\x0c" + bytes(16) + b"\x00\x20\xff\xff" + bytes(8),
        b"\x01\x01\x00\x0c" + bytes(16) + b"\x00\x20\x00\x08" + bytes(3),
        b"\x01\x01\x00\x0c" + bytes(16) + b"\x00\x20\x00\x14" + bytes(20),
    ],
)
def test_a_malformed_stun_answer_is_none(answer: bytes) -> None:
    """Cut short, lengths that lead nowhere, an IPv6 address."""
    assert probe.mapped(answer, bytes(20)) is None


def test_a_stun_answer_to_another_request_is_none() -> None:
    """Its transaction id, which a stranger does not know, is the request's."""
    request = b"\x00\x01\x00\x00\x21\x12\xa4\x42" + b"a" * 12
    other = request[:8] + b"b" * 12
    tail = b"\x00\x20\x00\x08\x00\x01\x00\x00" + bytes(4)
    assert probe.mapped(b"\x01\x01\x00\x0c" + request[4:] + tail, request) == "33.18.164.66"
    assert probe.mapped(b"\x01\x01\x00\x0c" + other[4:] + tail, request) is None


async def test_a_trunk_that_is_not_there_is_a_fault(server: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing answers; no such name; one that takes connections and says nothing is to be looked at."""
    monkeypatch.setattr(network, "_PATIENCE", 0.3)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent, socket.socket() as listening:
        silent.bind(("127.0.0.1", 0))
        listening.bind(("127.0.0.1", 0))
        listening.listen(1)
        uris = {
            f"sip:127.0.0.1:{silent.getsockname()[1]}": (Verdict.WRONG, "Nothing answers"),
            f"sip:127.0.0.1:{listening.getsockname()[1]};transport=tcp": (Verdict.NOTICE, "answers no OPTIONS"),
            "sip:nowhere.invalid": (Verdict.WRONG, "leads to no address"),
        }
        for uri, (verdict, words) in uris.items():
            found = said(await network.trunks(config(trunks=[trunk(uri)])), "trunk office")
            assert (found.verdict, words in found.found) == (verdict, True), found


@by_row(
    ("host", "verdict"),
    [
        ("127.0.0.1", Verdict.NOTICE),
        ("10.0.0.1", Verdict.NOTICE),
        ("fd00::1", Verdict.NOTICE),
        ("100.64.0.1", Verdict.NOTICE),
        ("9.9.9.9", Verdict.GOOD),
        ("phone.local", Verdict.GOOD),
    ],
)
def test_an_address_that_peers_outside_cannot_reach_is_told(host: str, verdict: Verdict) -> None:
    """Loopback, private ones, those that a provider shares among its customers."""
    listen = "::1" if ":" in host else "127.0.0.1"
    found = said(network.addresses(config(rtp={"listen": listen, "advertised": host})), "rtp.listen")
    assert found.verdict is verdict


def test_each_ip_version_of_media_has_its_own_finding() -> None:
    """What phones of each are told, side by side."""
    both = config(rtp={"listen": ["127.0.0.1", "::1"], "advertised": "2001:4860:4860::8888"})
    assert said(network.addresses(both), "rtp.listen (127.0.0.1)").verdict is Verdict.NOTICE
    assert "2001:4860:4860::8888" in said(network.addresses(both), "rtp.listen (::1)").found


async def test_a_store_that_cannot_be_used_is_a_fault(tmp_path: Path) -> None:
    """A file that is none of SQLite's; nothing is made by looking."""
    broken = config(state_dir=str(tmp_path), identity={"store": "sqlite:broken.sqlite"})
    assert said(await stores.stores(broken), "identity.store").verdict is Verdict.GOOD
    assert not (tmp_path / "broken.sqlite").exists()
    (tmp_path / "broken.sqlite").write_bytes(b"this is no database, and never was one" * 100)
    assert said(await stores.stores(broken), "identity.store").verdict is Verdict.WRONG


@pytest.mark.wall
async def test_a_store_that_is_slow_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls wait for it."""
    monkeypatch.setattr(stores, "_SLOW", 0.0)
    slow = said(await stores.stores(config(identity={"store": "memory"})), "identity.store")
    assert (slow.verdict, "calls wait that long" in slow.found) == (Verdict.NOTICE, True)


async def test_a_store_that_gives_something_else_than_was_written_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a replica does that is behind."""

    async def before(self: MemoryStore, name: str, now: float) -> str | None:
        return "what stood there before"

    monkeypatch.setattr(MemoryStore, "text", before)
    found = said(await stores.stores(config(identity={"store": "memory"})), "identity.store")
    assert (found.verdict, "is not what is read from it" in found.found) == (Verdict.WRONG, True)


@by_row(("state", "verdicts"), [(0, [Verdict.GOOD]), (5, [Verdict.NOTICE]), (-1, [])])
def test_a_clock_that_nothing_keeps_right_is_told(
    monkeypatch: pytest.MonkeyPatch, state: int, verdicts: list[Verdict]
) -> None:
    """As adjtimex(2) says; where the kernel does not tell (a sandbox), nothing is said."""
    kernel = SimpleNamespace(adjtimex=lambda asked: state)
    monkeypatch.setattr("ctypes.CDLL", lambda name, use_errno: kernel)
    assert [found.verdict for found in machine.clock()] == verdicts


def test_plain_http_for_others_and_a_certificate_that_is_none_are_told(tmp_path: Path) -> None:
    """Browsers give no microphone to the first, and nothing to the second."""
    opened = config(web={"listen": "0.0.0.0:8080"})
    assert said(certificates.certificates(opened, 0.0), "web.tls").verdict is Verdict.NOTICE
    assert list(certificates.certificates(config(), 0.0)) == []
    (tmp_path / "cert.pem").write_text("nonsense")
    tls = {"cert": str(tmp_path / "cert.pem"), "key": str(tmp_path / "cert.pem")}
    assert said(certificates.certificates(config(web={"tls": tls}), 0.0), "web.tls").verdict is Verdict.WRONG


def test_more_calls_than_files_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the number that would do."""
    monkeypatch.setattr("resource.getrlimit", lambda what: (1024, 1024))
    found = said(machine.limits(config(limits={"max_calls": 1000})), "open files")
    assert (found.verdict, "8000" in found.advice) == (Verdict.NOTICE, True)
    assert said(machine.limits(config(limits={"max_calls": 100})), "open files").verdict is Verdict.GOOD


@pytest.mark.wall
async def test_a_redis_that_takes_no_writes_is_a_fault(tmp_path: Path) -> None:
    """A replica reads well; where it is said, the password is not."""
    master, replica = free_ports(2)
    folders = [tmp_path / name for name in ("master", "replica")]
    for folder in folders:
        folder.mkdir()
    at_once = ("--repl-diskless-sync-delay", "0")
    follows = ("--replicaof", "127.0.0.1", str(master))
    with redis_server(master, folders[0], *at_once), redis_server(replica, folders[1], *follows):
        async with redis.asyncio.Redis(port=replica, decode_responses=True) as client, asyncio.timeout(30):
            while (await client.info("replication")).get("master_link_status") != "up":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        cluster = {"node": "sip:10.0.0.1:5060", "key": "the-key-of-a-cluster-in-this-test"}
        cluster["journal"] = f"redis://127.0.0.1:{replica}/0"
        signed = {"store": f"redis://:hunter2@127.0.0.1:{replica}/0"}
        both = list(await stores.stores(config(identity=signed, cluster=cluster)))
        assert "hunter2" not in f"{both}"
        for found in (said(both, "identity.store"), said(both, "cluster.journal")):
            assert (found.verdict, "not written" in found.found) == (Verdict.WRONG, True)
            assert "replica" in found.advice
        cluster["journal"] = f"redis://127.0.0.1:{master}/0"
        written = await stores.stores(config(identity={"store": cluster["journal"]}, cluster=cluster))
        assert said(written, "cluster.journal").verdict is Verdict.GOOD
        async with redis.asyncio.Redis(port=master, decode_responses=True) as client:
            names = [str(name) for name in await client.keys()]
            assert len(names) == 1
            assert 0 < await client.ttl(names[0]) <= 60


async def test_a_file_that_takes_no_writes_is_a_fault(tmp_path: Path) -> None:
    """What was written for a look that went well is gone a minute later."""
    kept = config(state_dir=str(tmp_path), identity={"store": "sqlite:kept.sqlite"})
    store = SqliteStore(tmp_path / "kept.sqlite")
    await store.open()
    try:
        assert said(await stores.stores(kept), "identity.store").verdict is Verdict.GOOD
        assert await store.text("doctor", time.time() + 61) is None
        with sqlite3.connect(tmp_path / "kept.sqlite") as other:
            other.execute("CREATE TRIGGER no BEFORE INSERT ON texts BEGIN SELECT RAISE(ABORT, 'full'); END")
        other.close()
        found = said(await stores.stores(kept), "identity.store")
        assert (found.verdict, "not written" in found.found) == (Verdict.WRONG, True)
    finally:
        await store.close()


@pytest.mark.wall
async def test_rtpengine_is_asked() -> None:
    """A real one, and one that is not there."""
    host, port = shared().address
    there = said(await rtpengine.rtpengines(config(media={"engine": f"rtpengine:{host}:{port}"})), "media.engine")
    assert (there.verdict, "answers after" in there.found) == (Verdict.GOOD, True)
    nobody = config(media={"engine": f"rtpengine:127.0.0.1:{free_port()}"})
    gone = said(await rtpengine.rtpengines(nobody), "media.engine")
    assert (gone.verdict, "does not answer" in gone.found) == (Verdict.WRONG, True)
    assert "--listen-ng" in gone.advice
    assert list(await rtpengine.rtpengines(config())) == []


@by_row(
    ("engine", "node", "journal", "is_alone"),
    [
        ("127.0.0.1", "sip:192.0.2.1:5060", "redis://192.0.2.9/0", True),
        ("localhost", "sip:192.0.2.1:5060", "redis://192.0.2.9/0", True),
        ("127.0.0.1", "sip:127.0.0.1:5060", "redis://192.0.2.9/0", False),
        ("127.0.0.1", "sip:192.0.2.1:5060", None, False),
        ("192.0.2.2", "sip:192.0.2.1:5060", "redis://192.0.2.9/0", False),
    ],
)
async def test_an_rtpengine_that_no_other_gateway_has_is_named(
    engine: str, node: str, journal: str | None, is_alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the others are to go on with the calls of this one, and are on other machines."""

    async def asked(address: tuple[str, int]) -> Finding:
        return good("media.engine", "there")

    monkeypatch.setattr(rtpengine, "_asked", asked)
    told = {"node": node, "key": "k" * 32, "journal": journal}
    found = list(await rtpengine.rtpengines(config(media={"engine": f"rtpengine:{engine}:2223"}, cluster=told)))
    assert [each.verdict for each in found] == [Verdict.GOOD, *[Verdict.NOTICE] * is_alone]


@pytest.mark.wall
async def test_a_plane_that_others_start_is_asked(tmp_path: Path) -> None:
    """One that is not there; one that has a gateway, and keeps it; one that waits for the next."""
    by_others = config(media={"plane_start": False}, state_dir=str(tmp_path / "state"))
    (gone,) = await media.plane(by_others)
    where = tmp_path / "state" / SOCKET
    assert (gone.verdict, gone.found) == (
        Verdict.WRONG,
        f"No packet plane listens on {where}, and media.plane_start is false.",
    )
    assert "systemctl start gateway-plane" in gone.advice
    assert not (tmp_path / "state").exists()
    plane = made_plane("auto", tmp_path / "there")
    by_others = config(media={"plane_start": False}, state_dir=str(tmp_path / "there" / "plane"))
    await plane.start(Told())
    try:
        for _ in range(2):
            (found,) = await media.plane(by_others)
            assert found.verdict is Verdict.GOOD, found.found
        await plane.open_pair(5, "127.0.0.1", 0)
        plane.open_flow(6, 5, FlowConfig())
        await figures(plane, 6)
        await leave(cast(NativePlane, plane))
        for _ in range(2):
            (found,) = await media.plane(by_others)
            assert found.verdict is Verdict.GOOD, found.found
        await plane.start(Told())
    finally:
        await plane.close()


@by_row(
    ("answer", "found"),
    [
        (None, "The packet plane does not answer."),
        (b"", "The packet plane closed the connection."),
        (wire.frame(wire.Up.HELLO, struct.pack("!H", wire.VERSION + 7) + bytes(wire.NONCE)), "speaks version"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "What listens in the state folder is no packet plane."),
    ],
)
async def test_what_is_no_plane_for_us_is_a_fault(
    answer: bytes | None, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of another version, one that hangs, another program."""
    monkeypatch.setattr("gateway.media.embedded.plane.native.process.PROOF_TIME", 0.3)

    left = asyncio.Event()

    async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        if answer is None:
            await reader.read()
        writer.write(answer or b"")
        writer.close()
        await writer.wait_closed()
        left.set()

    server = await asyncio.start_unix_server(answered, tmp_path / SOCKET)
    async with server:
        (finding,) = await media.plane(config(media={"plane_start": False}, state_dir=str(tmp_path)))
        await left.wait()
    assert (finding.verdict, found in finding.found) == (Verdict.WRONG, True), finding.found


def test_certificates_of_sip_are_looked_at(tmp_path: Path) -> None:
    """A key of another one; a name that is not the domain's, unless a further certificate has it; one that ends."""
    authority = Authority(tmp_path)
    cert, key = authority.issue("gateway.test")
    other, other_key = authority.issue("other.test")
    # The authority of these tests signs for a day.
    long_before = time.time() - 60 * 86_400

    def found(now: float = long_before, domain: str = "gateway.test", **tls: Any) -> list[Finding]:
        files = {name: value if isinstance(value, list) else str(value) for name, value in tls.items()}
        return list(certificates.certificates(config(domain=domain, sip={"tls": files}), now))

    [ends] = found(time.time(), cert=cert, key=key)
    assert (ends.verdict, ends.subject, "gateway reload" in ends.advice) == (Verdict.WRONG, "sip.tls", True)
    [match] = found(cert=cert, key=other_key)
    assert (match.verdict, "cannot be used" in match.found) == (Verdict.WRONG, True)
    [authorities] = found(cert=cert, key=key, ca=tmp_path / "none.pem")
    assert (authorities.verdict, authorities.subject) == (Verdict.WRONG, "sip.tls.ca")
    assert "authorities" in authorities.advice
    [lasts] = found(cert=cert, key=key)
    assert lasts.verdict is Verdict.GOOD
    [name] = found(cert=other, key=other_key)
    assert (name.verdict, "of other.test, not of gateway.test" in name.found) == (Verdict.NOTICE, True)
    further = [{"cert": str(cert), "key": str(key)}]
    first, second = found(cert=other, key=other_key, certificates=further)
    assert (first.verdict, second.subject) == (Verdict.GOOD, "sip.tls.certificates")
    address, address_key = authority.issue("192.0.2.7")
    [numbered] = found(domain="192.0.2.7", cert=address, key=address_key)
    assert numbered.verdict is Verdict.GOOD


@by_row(
    ("named", "trusted", "verdict", "words"),
    [
        ("127.0.0.1", True, Verdict.GOOD, 'answers "200 OK"'),
        ("127.0.0.1", False, Verdict.WRONG, "do not agree on TLS"),
        ("pbx.test", True, Verdict.WRONG, "do not agree on TLS"),
    ],
)
async def test_a_trunk_by_tls_is_who_it_should_be(
    tmp_path: Path, named: str, trusted: bool, verdict: Verdict, words: str
) -> None:
    """It shows a certificate of an authority that we trust, of its own name, and answers."""
    authority = Authority(tmp_path)
    [port] = free_ports(1)
    (tmp_path / "strange").mkdir()
    trusts = authority.file if trusted else Authority(tmp_path / "strange").file
    tls = authority.files(named)
    peer = UserAgent(UserAgentConfig(listen=(), listen_tls=(("127.0.0.1", port),), tls=tls), Application())
    await peer.start()
    try:
        wanted = config(trunks=[trunk(f"sip:127.0.0.1:{port};transport=tls")], sip={"tls": {"ca": str(trusts)}})
        found = said(await network.trunks(wanted), "trunk office")
        assert (found.verdict, words in found.found) == (verdict, True), found
        assert ("sip.tls.ca" in found.advice) == (verdict is Verdict.WRONG)
    finally:
        await peer.close()
