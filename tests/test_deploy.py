"""What keeps a gateway running: unit, image and compose file are what their own tools take for good."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.app import GatewayApp
from gateway.cli import AWAY, USAGE_ERROR
from gateway.config import Config, load
from gateway.media.embedded.plane.native.plane import NativePlane
from gateway.media.embedded.plane.native.process import SECRET, SECRET_OCTETS, PlaneProcess
from gateway.media.embedded.plane.values import FlowConfig
from tests import peers
from tests.interop.gateway import config_on_free_ports
from tests.media.plane_rig import Told, figures, leave, until
from tests.net.certificates import Authority
from tests.rows import by_row

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm/sip-webrtc-gateway"


@pytest.mark.wall
@pytest.mark.parametrize("name", ["gateway.service", "gateway-plane.service"])
def test_the_unit_is_good(tmp_path: Path, name: str) -> None:
    """systemd's own reader has nothing to say, but for programs that are not installed here."""
    unit = tmp_path / name
    text = (DEPLOY / name).read_text()
    unit.write_text(re.sub("/opt/gateway/bin/[a-z-]+", sys.executable, text))
    analyze = peers.program("systemd-analyze", "systemd")
    done = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, timeout=30)
    ours = [line for line in done.stderr.splitlines() if name in line]
    assert (done.returncode, ours) == (0, []), done.stderr


@pytest.mark.wall
@pytest.mark.parametrize("name", ["gateway.service", "gateway-plane.service"])
def test_the_unit_has_few_rights(name: str) -> None:
    """What systemd itself counts of what a service may do, of 10.0: 2.0 at most."""
    analyze = peers.program("systemd-analyze", "systemd")
    command = [analyze, "security", "--offline=true", "--no-pager", "--threshold=20", str(DEPLOY / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr


def test_gateway_and_plane_are_one_user_and_share_the_state_folder() -> None:
    """In units, in the compose file and in the chart; each of these gateways waits for its plane."""
    units = [(DEPLOY / name).read_text() for name in ("gateway.service", "gateway-plane.service")]
    for key in ("User", "DynamicUser", "StateDirectory", "StateDirectoryMode"):
        assert len({re.search(rf"^{key}=(.*)$", unit, re.MULTILINE)[1] for unit in units}) == 1, key  # type: ignore[index]
    services = compose()["services"]
    assert services["plane"]["build"] == services["gateway"]["build"]
    assert all("state:/var/lib/gateway" in services[name]["volumes"] for name in ("plane", "gateway"))
    config = load(DEPLOY / "gateway.yaml", services["gateway"]["environment"])
    assert not config.media.plane_start
    chart = (CHART / "templates/statefulset.yaml").read_text()
    assert chart.count("mountPath: /var/lib/gateway") == 2
    assert 'GATEWAY_MEDIA__PLANE_START\n              value: "false"' in chart


def plane_commands() -> dict[str, list[str]]:
    """Arguments of the plane, by who starts it."""
    unit = re.search(r"^ExecStart=\S+ (.*)$", (DEPLOY / "gateway-plane.service").read_text(), re.MULTILINE)
    chart = re.search(r"^ +args: (\[.*\])$", (CHART / "templates/statefulset.yaml").read_text(), re.MULTILINE)
    assert unit is not None
    assert chart is not None
    service = compose()["services"]["plane"]
    assert service["entrypoint"] == ["gateway-plane"]
    return {"unit": unit[1].split(), "compose": service["command"], "chart": yaml.safe_load(chart[1])}


@pytest.mark.wall
@by_row("kind", ["unit", "compose", "chart"])
async def test_a_plane_of_its_own_is_waited_for_and_outlives_the_gateway(tmp_path: Path, kind: str) -> None:
    """Started as the deployment says: by its own secret, before or after a gateway comes; one that died is replaced."""
    program = peers.plane()
    arguments = [each.replace("/var/lib/gateway", str(tmp_path)) for each in plane_commands()[kind]]
    attaching = NativePlane(PlaneProcess(Path("nobody-starts-it"), tmp_path, starts=False))
    told = Told()
    starting = asyncio.create_task(attaching.start(told))
    planes: list[asyncio.subprocess.Process] = []

    async def plane() -> asyncio.subprocess.Process:
        nothing = asyncio.subprocess.DEVNULL
        planes.append(await asyncio.create_subprocess_exec(str(program), *arguments, stdin=nothing, stdout=nothing))
        return planes[-1]

    try:
        first = await plane()
        assert not (await asyncio.wait_for(starting, 30)).flows
        assert (tmp_path / SECRET).stat().st_mode & 0o777 == 0o600
        await attaching.open_pair(5, "127.0.0.1", 0)
        attaching.open_flow(6, 5, FlowConfig())
        await figures(attaching, 6)
        await leave(attaching)
        assert dict((await attaching.start(told)).flows) == {6: 5}
        first.kill()
        await first.wait()
        await plane()
        await until(lambda: bool(told.restarts))
        assert await attaching.snapshot([6]) == {}
        await attaching.close()
        assert await asyncio.wait_for(planes[-1].wait(), 30) == 0
    finally:
        starting.cancel()
        for each in planes:
            with contextlib.suppress(ProcessLookupError):
                each.kill()
            await each.wait()


@pytest.mark.wall
def test_a_plane_that_died_while_it_made_its_secret_starts_again(tmp_path: Path) -> None:
    """In a container the next one has the same process id, and what was left by the first has its name."""
    program = peers.plane()
    begin = 'printf half > "$1/plane.new-$$" && exec "$2" --socket "$1/p.sock" --secret "$1/plane.secret" --threads 1'
    command = ["sh", "-c", begin, "sh", str(tmp_path), str(program)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as plane:
        # Without a gateway it would end by itself after half a minute.
        asyncio.run(until(lambda: (tmp_path / "p.sock").exists() or plane.poll() is not None))
        assert plane.returncode is None, plane.communicate()[1]
        plane.terminate()
    secret = tmp_path / SECRET
    assert len(secret.read_bytes()) == SECRET_OCTETS
    assert secret.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.glob("plane.new-*")) == []


def test_a_unit_is_started_again_however_often_it_ended() -> None:
    """But for a configuration that cannot be used: a Redis that is away, or a port that is taken, is another status."""
    for name in ("gateway.service", "gateway-plane.service"):
        assert "\nStartLimitIntervalSec=0\n" in (DEPLOY / name).read_text()
    prevented = re.search(r"^RestartPreventExitStatus=(.*)$", (DEPLOY / "gateway.service").read_text(), re.MULTILINE)
    assert prevented is not None
    assert prevented[1] == str(USAGE_ERROR) != str(AWAY)


AGAIN = {
    "no": set[str](),
    "on-failure": {"status", "signal"},
    "always": {"clean", "status", "signal"},
    "unless-stopped": {"clean", "status", "signal"},
}
"""After which ends each word of `Restart=` (systemd.service(5)) and `restart:` (Compose) has a program started anew."""


def test_a_gateway_that_was_killed_and_a_plane_however_it_ended_are_started_again() -> None:
    """A plane ends clean with a gateway that stops on purpose, and the next gateway needs another."""
    units = {name: service_of(f"{name}.service")["Restart"] for name in ("gateway", "gateway-plane")}
    assert AGAIN[units["gateway"]] == {"status", "signal"}, "a gateway that was told to stop has stopped"
    assert AGAIN[units["gateway-plane"]] == {"clean", "status", "signal"}
    for name, service in compose()["services"].items():
        assert AGAIN[service.get("restart", "no")] == {"clean", "status", "signal"}, name


@pytest.mark.wall
def test_the_plane_is_not_killed_with_the_gateway_and_a_reload_is_a_hangup() -> None:
    """As docs/deployment.md says each: its process alone is ended, and `systemctl reload` is SIGHUP to it."""
    unit, text = service_of("gateway.service"), (ROOT / "docs/deployment.md").read_text()
    assert unit["KillMode"] == "process"
    said = re.findall(r"`([A-Z]\w+)=([^`$]+)`", text.partition("## As a service")[2].partition("\n## ")[0])
    assert "KillMode" in dict(said)
    assert [(key, value) for key, value in said if key in unit and unit[key] != value] == []
    with subprocess.Popen(["sleep", "60"]) as gateway:
        try:
            subprocess.run(["sh", "-c", unit["ExecReload"]], env={"MAINPID": str(gateway.pid)}, check=True, timeout=30)
            assert gateway.wait(30) == -signal.SIGHUP
        finally:
            gateway.kill()


def service_of(name: str) -> dict[str, str]:
    """What a unit says of its service; where a key is there twice, the last word holds."""
    section = (DEPLOY / name).read_text().partition("[Service]\n")[2].partition("\n[")[0]
    return dict(re.findall(r"^(\w+)=(.*)$", section, re.MULTILINE))


def test_a_stop_has_more_patience_than_calls_are_given() -> None:
    """In the unit and in the compose file."""
    unit = (DEPLOY / "gateway.service").read_text()
    patience = re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert patience is not None
    assert int(patience[1]) > Config().limits.drain_timeout
    service = compose()["services"]["gateway"]
    assert int(service["stop_grace_period"].removesuffix("s")) > float(
        service["environment"]["GATEWAY_LIMITS__DRAIN_TIMEOUT"]
    )


@pytest.mark.wall
@by_row("path", ["Dockerfile", "kamailio/Dockerfile", "rtpengine/Dockerfile"])
def test_the_image_is_good(path: str) -> None:
    """hadolint has nothing to say."""
    lint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    assert lint is not None, "hadolint comes with the extra `test`"
    done = subprocess.run([lint, str(DEPLOY / path)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.wall
def test_the_image_copies_the_workspace_of_the_plane(tmp_path: Path) -> None:
    """Cargo finds each of its packages among the folders of the stage that compiles."""
    cargo = peers.program("cargo", "cargo")
    stage = (DEPLOY / "Dockerfile").read_text().split("\nFROM")[1]
    [workdir] = re.findall(r"^WORKDIR /(.*)$", stage, re.MULTILINE)
    for source, target in re.findall(r"^COPY (\S+) (\S+)$", stage, re.MULTILINE):
        place = tmp_path / (workdir if target == "." else target.removeprefix("/"))
        shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("target"))
    command = [cargo, "metadata", "--no-deps", "--offline", "--locked", "--format-version", "1"]
    done = subprocess.run(command, cwd=tmp_path / workdir, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.wall
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_the_images_health_check_finds_the_page_wherever_it_is(tmp_path: Path, scheme: str) -> None:
    """On another port than 8080, and behind a certificate of another name; without a gateway it fails."""
    text = (DEPLOY / "Dockerfile").read_text().replace("/var/lib/gateway", str(tmp_path))
    found = re.search(r"^HEALTHCHECK .*\\\n +CMD (\[.*\])$", text, re.MULTILINE)
    assert found is not None
    _, *arguments = json.loads(found[1])

    def check() -> int:
        return subprocess.run([sys.executable, *arguments], capture_output=True, timeout=60).returncode

    cert, key = Authority(tmp_path).issue("phone.test")
    files = {"WEB__TLS__CERT": str(cert), "WEB__TLS__KEY": str(key)} if scheme == "https" else {}
    app = GatewayApp(config_on_free_ports(tmp_path, **files))
    await app.start()
    try:
        assert await asyncio.to_thread(check) == 0
    finally:
        await app.stop()
    assert await asyncio.to_thread(check) != 0


def compose() -> Any:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def test_the_compose_file_names_what_is_there() -> None:
    """Its build context, its configuration, keys that the gateway knows; nothing is privileged."""
    service = compose()["services"]["gateway"]
    build = service["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).exists()
    for volume in service["volumes"]:
        source = volume.partition(":")[0]
        assert source in compose()["volumes"] or (DEPLOY / source).exists()
    load(DEPLOY / "gateway.yaml", service["environment"])
    assert "privileged" not in service
    assert service["cap_drop"] == ["ALL"]


@by_row("path", ["gateway", "sdp", "plane", "pyproject.toml", "README.md"])
def test_what_the_image_is_built_of_is_not_left_out(path: str) -> None:
    """.dockerignore keeps the rest of a checkout out, and no more."""
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert path not in ignored
    assert (ROOT / path).exists()


@pytest.mark.wall
def test_kamailio_takes_its_configuration(tmp_path: Path) -> None:
    """As its own check reads it, with its list of gateways."""
    program = peers.program("kamailio", "kamailio")
    config = tmp_path / "kamailio.cfg"
    text = (DEPLOY / "kamailio/kamailio.cfg").read_text()
    config.write_text(text.replace("/etc/kamailio/", f"{DEPLOY / 'kamailio'}/"))
    done = subprocess.run([program, "-c", "-f", str(config)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


def test_what_stands_beside_the_gateway_is_built_of_what_is_there() -> None:
    """Each build folder, each file that is put in; nobody has more rights than the gateway."""
    services = compose()["services"]
    for name in ("kamailio", "rtpengine"):
        assert (DEPLOY / services[name]["build"] / "Dockerfile").exists()
        assert services[name]["cap_drop"] == ["ALL"]
        for volume in services[name].get("volumes", ()):
            assert (DEPLOY / volume.partition(":")[0]).exists()
