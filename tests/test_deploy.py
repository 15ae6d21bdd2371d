"""What keeps a gateway running: unit, image and compose file are what their own tools take for good."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config import Config, load
from tests import peers

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"


def test_the_unit_is_good(tmp_path: Path) -> None:
    """systemd's own reader has nothing to say, but for programs that are not installed here."""
    unit = tmp_path / "gateway.service"
    text = (DEPLOY / "gateway.service").read_text()
    unit.write_text(text.replace("/opt/gateway/bin/gateway", sys.executable))
    analyze = peers.program("systemd-analyze", "systemd")
    done = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, timeout=30)
    ours = [line for line in done.stderr.splitlines() if "gateway.service" in line]
    assert (done.returncode, ours) == (0, []), done.stderr


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


@pytest.mark.parametrize("path", ["Dockerfile", "kamailio/Dockerfile", "rtpengine/Dockerfile"])
def test_the_image_is_good(path: str) -> None:
    """hadolint has nothing to say."""
    lint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    assert lint is not None, "hadolint comes with the extra `test`"
    done = subprocess.run([lint, str(DEPLOY / path)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


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


@pytest.mark.parametrize("path", ["gateway", "sdp", "plane", "pyproject.toml", "README.md"])
def test_what_the_image_is_built_of_is_not_left_out(path: str) -> None:
    """.dockerignore keeps the rest of a checkout out, and no more."""
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert path not in ignored
    assert (ROOT / path).exists()


CHART = DEPLOY / "helm/sip-webrtc-gateway"


def test_the_chart_takes_every_value_that_it_names_and_no_other() -> None:
    """A misspelt value would be empty, and one that nothing takes would do nothing."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    texts = [path.read_text() for path in sorted((CHART / "templates").iterdir())]
    named = {name for text in texts for name in re.findall(r"\.Values\.([\w.]+)", text)}
    for name in named:
        found = values
        for part in name.split("."):
            assert part in found, name
            found = found[part]
    assert {name.partition(".")[0] for name in named} == set(values)


def test_the_charts_configuration_is_taken(tmp_path: Path) -> None:
    """By the gateway itself; the port of the probes is the one that it listens on."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    path = tmp_path / "gateway.yaml"
    path.write_text(yaml.safe_dump(values["config"]))
    config = load(path, {"GATEWAY_LIMITS__DRAIN_TIMEOUT": str(values["drainTimeout"])})
    assert config.web.listen.port == values["webPort"]
    assert config.limits.drain_timeout == values["drainTimeout"]


def test_the_chart_asks_what_the_gateway_answers_and_waits_for_it_to_drain() -> None:
    """Liveness is not readiness: a gateway that drains must not be killed for it."""
    text = (CHART / "templates/statefulset.yaml").read_text()
    probes = dict(re.findall(r"(\w+)Probe:\n +httpGet:\n +path: (\S+)", text))
    assert probes == {"liveness": "/healthz", "readiness": "/readyz", "startup": "/healthz"}
    assert "terminationGracePeriodSeconds: {{ add .Values.drainTimeout 30 }}" in text
    assert text.count("{{- if") + text.count("{{- with") == text.count("{{- end }}")


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
