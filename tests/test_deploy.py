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


def test_the_image_is_good() -> None:
    """hadolint has nothing to say."""
    lint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    assert lint is not None, "hadolint comes with the extra `test`"
    done = subprocess.run([lint, str(DEPLOY / "Dockerfile")], capture_output=True, text=True, timeout=60)
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
