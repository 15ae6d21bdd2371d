"""The `gateway` command as people use it: a process with arguments, output, signals and a status."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import httpx
import pytest
import websockets
from typer.testing import CliRunner

from gateway import cli
from gateway.demo.phone import DeskPhone
from gateway.errors import ConfigError
from gateway.net import Answered, Ended, UserAgent, UserAgentConfig
from gateway.net.tls import TlsFiles
from gateway.sip.auth.account import Credentials
from gateway.sip.flow import Flow
from gateway.sip.invite.events import OfferAnswered
from tests import peers
from tests.net.certificates import Authority, shown_by
from tests.net.peers import OFFER, Application, Recorder
from tests.ports import free_ports
from tests.rows import by_row

ROOT = Path(__file__).parent.parent
SCRIPT = Path(sys.executable).with_name("gateway")


def environment(folder: Path, **changes: str) -> dict[str, str]:
    """Free ports and a store in memory, by GATEWAY_ variables."""
    web, sip, webrtc, rtp = free_ports(4)
    wanted = {
        "WEB__LISTEN": f"127.0.0.1:{web}",
        "SIP__LISTEN": f"udp:127.0.0.1:{sip}",
        "WEBRTC__LISTEN": f"127.0.0.1:{webrtc}",
        "RTP__PORTS": f"{rtp}-{rtp + 99}",
        "IDENTITY__STORE": "memory",
        "STATE_DIR": str(folder / "state"),
        **changes,
    }
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GATEWAY_")}
    return {**kept, **{f"GATEWAY_{key}": value for key, value in wanted.items()}, "COLUMNS": "120"}


Finished = subprocess.CompletedProcess[str]


def gateway(folder: Path, *arguments: str, environ: Mapping[str, str] | None = None) -> Finished:
    """Run the command to its end, in a folder without gateway.yaml."""
    return subprocess.run(
        [str(SCRIPT), *arguments],
        cwd=folder,
        env=dict(environ if environ is not None else environment(folder)),
        capture_output=True,
        text=True,
        timeout=30,
    )


def gateway_here(
    monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str, environ: Mapping[str, str]
) -> Finished:
    """The same in this process, for what ends before anything is begun: a process of its own imports for a second."""
    with monkeypatch.context() as patched:
        patched.chdir(folder)
        patched.setattr(os, "environ", dict(environ))
        done = CliRunner().invoke(cli.app, arguments)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)


@pytest.mark.wall
def test_help_names_every_command(tmp_path: Path) -> None:
    """And says what the program is."""
    result = gateway(tmp_path, "--help")
    assert result.returncode == 0
    assert "SIP-to-WebRTC gateway" in result.stdout
    for command in ("run", "check-config", "demo", "examples", "sdp"):
        assert re.search(rf"^\W*{command} +\w", result.stdout, re.MULTILINE), command


@by_row("command", [("run",), ("check-config",), ("demo",), ("sdp", "translate")])
def test_each_command_has_help(command: tuple[str, ...]) -> None:
    """Status 0 and its own usage line."""
    result = CliRunner().invoke(cli.app, [*command, "--help"])
    assert result.exit_code == 0
    assert " ".join(command) in result.output


@pytest.mark.wall
def test_the_module_is_the_command(tmp_path: Path) -> None:
    """`python -m gateway` does what `gateway` does."""
    result = subprocess.run(
        [sys.executable, "-m", "gateway", "check-config"],
        cwd=tmp_path,
        env={**environment(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert "The configuration is good." in result.stdout


@pytest.mark.wall
def test_the_shipped_configuration_is_good(tmp_path: Path) -> None:
    """gateway.yaml passes its own check."""
    result = gateway(tmp_path, "check-config", "--config", str(ROOT / "gateway.yaml"))
    assert result.returncode == 0, result.stderr


@pytest.mark.wall
@by_row(
    ("text", "words"),
    [
        ("sip:\n  ring_timeout: never\n", "sip.ring_timeout"),
        ("sip:\n  ring_timeuot: 3\n", "sip.ring_timeuot"),
        ("no such section: 3\n", "no such section"),
        ("web:\n  listen: 127.0.0.1:eighty\n", "web.listen"),
        ("users:\n  - id: alice\n", "users.0"),
        ("sip: [unclosed\n", "line"),
    ],
)
def test_a_bad_configuration_names_the_key_and_ends_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    """One line on standard error, no traceback, nothing on standard output."""
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    environ = {key: value for key, value in os.environ.items() if not key.startswith("GATEWAY_")}
    for command in ("check-config", "run"):
        if words == "line":
            result = gateway(tmp_path, command, "--config", str(file), environ=environ)
        else:
            result = gateway_here(monkeypatch, tmp_path, command, "--config", str(file), environ=environ)
        assert result.returncode == 2
        assert words in result.stderr
        assert "bad.yaml" in result.stderr
        assert "Traceback" not in result.stderr
        assert result.stdout == ""


@pytest.mark.wall
def test_a_configuration_that_is_not_there_is_said(tmp_path: Path) -> None:
    """Status 2 and the file's name."""
    result = gateway(tmp_path, "check-config", "-c", "nowhere.yaml")
    assert result.returncode == 2
    assert "nowhere.yaml" in result.stderr


def test_what_is_wrong_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Brackets of a value are no markup: neither swallowed, nor a crash."""
    stop = cli.fail(ConfigError("codecs.rtp", "the value [opus] is not [/a list]"))
    assert stop.exit_code == cli.USAGE_ERROR
    assert "codecs.rtp: the value [opus] is not [/a list]" in capsys.readouterr().err


@pytest.mark.wall
@by_row(
    ("key", "variable", "kind"),
    [
        ("sip.listen", "SIP__LISTEN", socket.SOCK_DGRAM),
        ("web.listen", "WEB__LISTEN", socket.SOCK_STREAM),
        ("webrtc.listen", "WEBRTC__LISTEN", socket.SOCK_DGRAM),
    ],
)
@by_row("command", ["check-config", "run"])
def test_a_taken_port_names_its_key_and_may_be_free_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, key: str, variable: str, kind: socket.SocketKind
) -> None:
    """Who holds it keeps it; we say which key to change, and a service manager tries again."""
    with socket.socket(socket.AF_INET, kind) as holder:
        holder.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            holder.listen(1)
        place = f"127.0.0.1:{holder.getsockname()[1]}"
        value = f"udp:{place}" if variable.startswith("SIP") else place
        environ = environment(tmp_path, **{variable: value})
        if command == "run":
            result = gateway(tmp_path, command, environ=environ)
        else:
            result = gateway_here(monkeypatch, tmp_path, command, environ=environ)
    assert result.returncode == cli.AWAY
    assert key in result.stderr
    assert "already in use" in result.stderr
    assert "Traceback" not in result.stderr


class Running:
    """A `gateway run` process and what it said on its way up."""

    def __init__(self, process: asyncio.subprocess.Process, environ: Mapping[str, str]) -> None:
        self.process = process
        self.environ = environ
        self.welcome = ""

    async def up(self) -> None:
        """Read its output up to the last line of the welcome."""
        assert self.process.stdout is not None
        async with asyncio.timeout(45):
            while "stops the gateway" not in self.welcome:
                line = await self.process.stdout.readline()
                assert line, f"it ended: {self.welcome} {await self.errors()}"
                self.welcome += line.decode()

    async def errors(self) -> str:
        assert self.process.stderr is not None
        return (await self.process.stderr.read()).decode()

    async def end(self, number: signal.Signals, within: float = 30.0) -> tuple[int, str, str]:
        """Send the signal; status, the rest of its output, its log."""
        self.process.send_signal(number)
        output, log = await asyncio.wait_for(self.process.communicate(), within)
        assert self.process.returncode is not None
        return self.process.returncode, output.decode(), log.decode()


@contextlib.asynccontextmanager
async def running(
    folder: Path, config: Path = ROOT / "gateway.yaml", /, command: Sequence[str] = (str(SCRIPT),), **changes: str
) -> AsyncIterator[Running]:
    """Start `gateway run` on free ports and wait until it is up; what still runs at the end is killed."""
    environ = environment(folder, **changes)
    process = await asyncio.create_subprocess_exec(
        *command,
        "run",
        "--config",
        str(config),
        cwd=folder,
        env=environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    started = Running(process, environ)
    try:
        await started.up()
        yield started
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.mark.wall
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_run_says_where_everything_is_and_ends_tidily(tmp_path: Path, number: signal.Signals) -> None:
    """Page, SIP address, both accounts with passwords; after the signal status 0, no complaint, no traceback."""
    async with running(tmp_path) as gateway:
        web, sip = gateway.environ["GATEWAY_WEB__LISTEN"], gateway.environ["GATEWAY_SIP__LISTEN"]
        assert f"http://{web}/" in gateway.welcome
        assert sip in gateway.welcome
        assert re.search(r"^ *alice +\S{8,} +sign in on the page", gateway.welcome, re.MULTILINE)
        assert re.search(r"^ *1001 +\S{8,} +register a phone", gateway.welcome, re.MULTILINE)
        assert f"http://{web}/#user=alice&token=" in gateway.welcome
        status, output, log = await gateway.end(number)
    assert status == 0
    assert output.strip().endswith("Stopped.")
    assert "Traceback" not in log


@pytest.mark.wall
async def test_a_running_gateway_reads_its_configuration_again(tmp_path: Path) -> None:
    """By its command, which says what became of it, and by SIGHUP; a broken file ends nothing."""
    config = tmp_path / "own.yaml"
    config.write_text("routes: []\n")

    async def reload(gateway_: Running) -> tuple[int, str, str]:
        done = await asyncio.to_thread(
            gateway, tmp_path, "reload", "--config", str(config), environ=dict(gateway_.environ)
        )
        return done.returncode, done.stdout, done.stderr

    async with running(tmp_path, config) as one:
        checked = await asyncio.to_thread(
            gateway, tmp_path, "check-config", "--config", str(config), environ=dict(one.environ)
        )
        assert (checked.returncode, "has the ports" in checked.stdout) == (0, True), "an upgrade asks beside it"
        assert await reload(one) == (0, "Nothing has changed; the certificates were read again.\n", "")
        config.write_text("routes: [{match: '7', to: 'service:tone'}]\nmetrics: {enabled: true}\n")
        assert (await reload(one))[:2] == (0, "routes: applied\nmetrics.enabled: takes a restart\n")
        config.write_text("routes: [{match: '7', to: 'nowhere'}]\n")
        status, _, said = await reload(one)
        assert (status, "routes.0.to" in said) == (2, True)
        for _ in range(2):
            one.process.send_signal(signal.SIGHUP)
        config.write_text("{")
        one.process.send_signal(signal.SIGHUP)
        status, _, log = await one.end(signal.SIGTERM)
    assert status == 0
    assert "the configuration was not reloaded" in log
    assert "Traceback" not in log


@pytest.mark.wall
async def test_a_gateway_ends_though_its_configuration_is_still_being_read(tmp_path: Path) -> None:
    """SIGTERM after SIGHUP."""
    async with reading_without_end(tmp_path) as gateway:
        status, output, log = await gateway.end(signal.SIGTERM)
    assert status == 0
    assert output.strip().endswith("Stopped.")
    assert "the configuration was not reloaded: the gateway ends" in log
    assert "Traceback" not in log


@pytest.mark.wall
@pytest.mark.parametrize("asked", [(signal.SIGINT,), (signal.SIGTERM, signal.SIGTERM)])
async def test_whoever_asks_again_ends_a_gateway_though_its_configuration_is_still_being_read(
    tmp_path: Path, asked: tuple[signal.Signals, ...]
) -> None:
    """A second Ctrl-C, a third SIGTERM: at once, with 130."""
    async with reading_without_end(tmp_path) as gateway:
        for one in asked:
            gateway.process.send_signal(one)
            await asyncio.sleep(0.2)  # two of a kind that come at once are one
        status, _, log = await gateway.end(asked[0])
    assert status == 130
    assert "Traceback" not in log


STUCK = """
import asyncio, contextlib, threading
from gateway import cli
from gateway.app import GatewayApp

async def stop(self):
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.to_thread(threading.Event().wait)

GatewayApp.stop = stop
cli.app()
"""


@pytest.mark.wall
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_whoever_asks_a_third_time_ends_a_gateway_that_cannot_stop(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Whatever it waits for, a thread that never comes back among it: at once, with 130."""
    async with running(tmp_path, command=(sys.executable, "-c", STUCK)) as gateway:
        for _ in range(2 if number == signal.SIGINT else 3):
            gateway.process.send_signal(number)
            await asyncio.sleep(0.2)  # two of a kind that come at once are one
        assert gateway.process.returncode is None
        status, _, _ = await gateway.end(number)
    assert status == 130


@pytest.mark.wall
@pytest.mark.parametrize("named", [True, False])
async def test_a_reload_of_a_file_that_does_not_answer_ends_with_a_word(tmp_path: Path, named: bool) -> None:
    """Whether the command reads it as well or the gateway alone; the gateway goes on, and ends when it is told to."""
    config = tmp_path / "own.yaml"
    config.write_text("routes: []\n")
    async with running(tmp_path, config) as one:
        config.unlink()
        os.mkfifo(config)
        arguments = ["reload", *(["--config", str(config)] if named else [])]
        for _ in range(2):
            done = await asyncio.to_thread(gateway, tmp_path, *arguments, environ=dict(one.environ))
            assert (done.returncode, done.stdout) == (2, "")
            assert ("own.yaml" if named else "its file") + " does not answer" in done.stderr
            assert "Traceback" not in done.stderr
        status, _, log = await one.end(signal.SIGTERM)
    assert status == 0
    assert ("the configuration was not reloaded" in log) != named
    assert "Traceback" not in log


@contextlib.asynccontextmanager
async def reading_without_end(folder: Path) -> AsyncIterator[Running]:
    """A gateway whose reload reads a pipe that nobody writes to the end, as a file on a server that is gone."""
    config = folder / "own.yaml"
    config.write_text("routes: []\n")
    async with running(folder, config) as gateway:
        config.unlink()
        os.mkfifo(config)
        gateway.process.send_signal(signal.SIGHUP)
        writer = await begun_to_read(config)
        try:
            yield gateway
        finally:
            os.close(writer)


async def begun_to_read(pipe: Path) -> int:
    """The other end of a pipe, once somebody reads it."""
    async with asyncio.timeout(30):
        while True:
            try:
                return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                await asyncio.sleep(0.02)


@pytest.mark.wall
async def test_sighup_reads_renewed_certificates(tmp_path: Path) -> None:
    """Those of SIP and of the page; what cannot be used is told in the log, and changes nothing."""
    authority = Authority(tmp_path)
    cert, key = authority.issue("127.0.0.1")
    [sip] = free_ports(1)
    files = {
        f"{side}__TLS__{name}": str(file) for side in ("SIP", "WEB") for name, file in (("CERT", cert), ("KEY", key))
    }
    async with running(tmp_path, SIP__LISTEN=f'["tls:127.0.0.1:{sip}"]', **files) as gateway:
        ports = (sip, int(gateway.environ["GATEWAY_WEB__LISTEN"].rpartition(":")[2]))
        before = {await shown_by(port) for port in ports}
        assert len(before) == 1
        authority.issue("127.0.0.1")
        gateway.process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(60):
            while before & {await shown_by(port) for port in ports}:  # noqa: ASYNC110  # only a handshake tells
                await asyncio.sleep(0.02)
        renewed = {await shown_by(port) for port in ports}
        cert.write_text("nonsense")
        gateway.process.send_signal(signal.SIGHUP)
        status, _, log = await gateway.end(signal.SIGTERM)
    assert len(renewed) == 1
    assert status == 0
    assert "certificates were not renewed" in log
    assert "Traceback" not in log


@pytest.mark.wall
async def test_certificates_whose_files_do_not_answer_are_named_and_hold_nobody_up(tmp_path: Path) -> None:
    """`gateway reload` waits for all of them, and who asks how the gateway is for none."""
    cert, key = Authority(tmp_path).issue("127.0.0.1")
    [sip] = free_ports(1)
    files = {
        f"{side}__TLS__{name}": str(file) for side in ("SIP", "WEB") for name, file in (("CERT", cert), ("KEY", key))
    }
    async with running(tmp_path, SIP__LISTEN=f'["tls:127.0.0.1:{sip}"]', **files) as one:
        cert.unlink()
        os.mkfifo(cert)
        reloading = asyncio.create_task(asyncio.to_thread(gateway, tmp_path, "reload", environ=dict(one.environ)))
        port = int(one.environ["GATEWAY_WEB__LISTEN"].rpartition(":")[2])
        while not reloading.done():
            async with asyncio.timeout(4):
                await shown_by(port)
            await asyncio.sleep(0.2)
        done = reloading.result()
        status, _, log = await one.end(signal.SIGTERM)
    assert (done.returncode, done.stdout.count("do not answer")) == (1, 2), done
    assert "read again" not in done.stdout
    assert status == 0
    assert log.count("certificates were not renewed") == 2


@pytest.mark.wall
async def test_calls_over_tls_go_on_while_certificates_are_renewed(tmp_path: Path) -> None:
    """SIGHUP: both calls stay on the connection that they have, what is asked on it from either side is answered."""
    authority = Authority(tmp_path)
    cert, key = authority.issue("127.0.0.1")
    [sip] = free_ports(1)
    changes = {
        "SIP__LISTEN": f'["tls:127.0.0.1:{sip}"]',
        "SIP__TLS__CERT": str(cert),
        "SIP__TLS__KEY": str(key),
        "USERS__1001__PASSWORD": "a-secret-of-1001",
        "LIMITS__DRAIN_TIMEOUT": "0.2",
    }
    phone = UserAgent(UserAgentConfig(tls=TlsFiles(ca=authority.file)), Application())
    await phone.start()
    lost: asyncio.Queue[Flow] = asyncio.Queue()
    phone.when_lost(lost.put_nowait)

    async def call() -> Recorder:
        called, caller = f"sip:600@127.0.0.1:{sip};transport=tls", "<sip:1001@gateway.local>"
        account = Credentials("1001", "a-secret-of-1001")
        recorder = Recorder(phone.invite(called, caller=caller, body=OFFER, credentials=account))
        await recorder.wait(Answered)
        return recorder

    try:
        async with running(tmp_path, **changes) as gateway:
            before = await shown_by(sip)
            first, second = await call(), await call()
            authority.issue("127.0.0.1")
            gateway.process.send_signal(signal.SIGHUP)
            async with asyncio.timeout(30):
                while await shown_by(sip) == before:  # noqa: ASYNC110  # only a handshake tells
                    await asyncio.sleep(0.02)
            first.session.offer(OFFER.replace(b"o=- 1 1", b"o=- 1 2"))
            changed = await first.wait(OfferAnswered)
            first.session.hangup()
            await first.wait(Ended)
            await gateway.end(signal.SIGTERM)
            ended = await second.wait(Ended)
            await asyncio.wait_for(lost.get(), 30)
            assert lost.empty(), "there was more than one connection"
    finally:
        await phone.close()
    assert isinstance(changed, OfferAnswered)
    assert (changed.status, bool(changed.body)) == (200, True)
    assert isinstance(ended, Ended)
    assert ended.by == "remote"


@pytest.mark.wall
async def test_passwords_that_were_configured_are_not_shown(tmp_path: Path) -> None:
    """Neither on the screen nor in the log."""
    async with running(
        tmp_path, USERS__ALICE__PASSWORD="Chosen-By-Me-1", USERS__1001__PASSWORD="Chosen-By-Me-2"
    ) as gateway:
        assert "Chosen-By-Me" not in gateway.welcome
        assert "as configured" in gateway.welcome
        _, output, log = await gateway.end(signal.SIGTERM)
    assert "Chosen-By-Me" not in output + log


@pytest.mark.wall
@pytest.mark.parametrize(("drain_timeout", "again"), [("0.2", False), ("60", True)])
async def test_sigterm_hangs_up_what_has_not_ended_in_time(tmp_path: Path, drain_timeout: str, again: bool) -> None:
    """After `limits.drain_timeout` or at the second signal the phone gets a BYE, and the process ends with 0."""
    peers.pjsua2()
    changes = {"USERS__1001__PASSWORD": "a-secret-of-1001", "LIMITS__DRAIN_TIMEOUT": drain_timeout}
    async with running(tmp_path, **changes) as gateway:
        registrar = gateway.environ["GATEWAY_SIP__LISTEN"].removeprefix("udp:")
        phone = await DeskPhone.start()
        try:
            await phone.register("1001", "a-secret-of-1001", "gateway.local", registrar)
            phone.dial("sip:601@gateway.local")
            await phone.expect("tone")
            if again:
                assert gateway.process.stdout is not None
                gateway.process.send_signal(signal.SIGTERM)
                async with asyncio.timeout(30):
                    while b"Waiting 60 s" not in await gateway.process.stdout.readline():
                        pass
                status, output, log = await gateway.end(signal.SIGTERM)
            else:
                status, output, log = await gateway.end(signal.SIGTERM)
            ended = await phone.expect("state", state="ended", timeout=30)
        finally:
            await phone.close(patience=0.5)
    assert ended.details["code"] == 200
    assert status == 0
    assert "Ending 1 call" in output
    assert "a-secret-of-1001" not in output + log
    assert "Traceback" not in log


@pytest.mark.wall
async def test_sigterm_lets_a_call_end_by_itself_and_refuses_new_ones(tmp_path: Path) -> None:
    """OPTIONS and calls get 503 with Retry-After, /readyz too, a page is told; /healthz and the call go on."""
    peers.pjsua2()
    async with running(tmp_path, USERS__1001__PASSWORD="a-secret-of-1001") as gateway:
        sip, web = gateway.environ["GATEWAY_SIP__LISTEN"].removeprefix("udp:"), gateway.environ["GATEWAY_WEB__LISTEN"]
        phone = await DeskPhone.start()
        try:
            await phone.register("1001", "a-secret-of-1001", "gateway.local", sip)
            phone.dial("sip:601@gateway.local")
            await phone.expect("tone")
            async with (
                websockets.connect(f"ws://{web}/rpc") as page,
                httpx.AsyncClient(base_url=f"http://{web}") as http,
            ):
                await page.send('{"jsonrpc": "2.0", "id": 1, "method": "announce", "params": {"peer_id": "guest"}}')
                await page.recv()
                gateway.process.send_signal(signal.SIGTERM)
                told = json.loads(await asyncio.wait_for(page.recv(), 30))
                ready, alive = await http.get("/readyz"), await http.get("/healthz")
                asked = await asyncio.to_thread(options, sip)
                phone.dial("sip:600@gateway.local")
                refused = await phone.expect("state", state="ended")
            assert told == {"jsonrpc": "2.0", "method": "server.draining", "params": {"seconds": 60.0}}
            assert (ready.status_code, alive.status_code) == (503, 200)
            assert alive.json()["status"] == "draining"
            assert asked.startswith("SIP/2.0 503 ")
            assert "\r\nRetry-After: 60\r\n" in asked
            assert refused.details["code"] == 503
            ended = asyncio.create_task(gateway.process.wait())
            assert not ended.done()
            phone.hangup()
            output, log = await asyncio.wait_for(gateway.process.communicate(), 30)
        finally:
            await phone.close(patience=0.5)
    assert await ended == 0
    assert "Waiting 60 s at most for 1 calls to end" in output.decode()
    assert "Traceback" not in log.decode()


def options(place: str) -> str:
    """The answer to an OPTIONS request of nobody in particular."""
    host, _, port = place.rpartition(":")
    request = (
        f"OPTIONS sip:{place} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{{port}};branch=z9hG4bKd;rport\r\n"
        "From: <sip:probe@127.0.0.1>;tag=1\r\nTo: <sip:probe@127.0.0.1>\r\nCall-ID: drain@127.0.0.1\r\n"
        f"CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nUser-Agent: {'x' * 400}\r\nContent-Length: 0\r\n\r\n"
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        probe.settimeout(30)
        probe.sendto(request.format(port=probe.getsockname()[1]).encode(), (host, int(port)))
        return probe.recv(4096).decode()


@pytest.mark.wall
def test_two_gateways_on_one_address_cannot_start(tmp_path: Path) -> None:
    """The second says which key to change, and the first is not disturbed."""

    async def scenario() -> Finished:
        async with running(tmp_path) as first:
            second = await asyncio.to_thread(gateway, tmp_path, "run", environ=first.environ)
            status, _, _ = await first.end(signal.SIGTERM)
            assert status == 0
            return second

    second = asyncio.run(scenario())
    assert second.returncode == cli.AWAY
    assert "sip.listen" in second.stderr
