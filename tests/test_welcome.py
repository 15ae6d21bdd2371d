"""What `gateway run` prints at its start, and where it must not print a password."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs_blocks import blocks_of
from tests.ports import free_ports

pytestmark = pytest.mark.wall

ROOT = Path(__file__).parent.parent
END = "Ctrl-C stops the gateway."


@contextlib.contextmanager
def welcome(folder: Path, *, journal: bool = False, **changes: str) -> Iterator[str]:
    """What a gateway on free ports and the ready-made gateway.yaml says; it runs as long as the block."""
    web, sip, webrtc = free_ports(3)
    wanted = {
        "WEB__LISTEN": f"127.0.0.1:{web}",
        "SIP__LISTEN": f"udp:127.0.0.1:{sip}",
        "WEBRTC__LISTEN": f"127.0.0.1:{webrtc}",
        "STATE_DIR": str(folder),
        **changes,
    }
    environ = {key: value for key, value in os.environ.items() if not key.startswith("GATEWAY_")}
    environ |= {f"GATEWAY_{key}": value for key, value in wanted.items()} | {"PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
    reading, writing = os.pipe()
    if journal:
        status = os.fstat(writing)
        environ["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino}"
    command = [sys.executable, "-m", "gateway", "run", "--config", str(ROOT / "gateway.yaml")]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=environ, stdout=writing, stderr=log)
    os.close(writing)
    with open(reading, encoding="utf-8") as output:
        try:
            said = ""
            for line in output:
                said += line
                if END in line:
                    break
            assert END in said
            yield said
        finally:
            process.terminate()
            assert process.wait(30) == 0


def made_passwords(folder: Path) -> dict[str, str]:
    """User id -> the password that the gateway made."""
    passwords: dict[str, str] = json.loads((folder / "secrets.json").read_text())["passwords"]
    return passwords


def test_both_accounts_are_shown_with_their_passwords(tmp_path: Path) -> None:
    """And the link that signs in with one click."""
    with welcome(tmp_path) as said:
        passwords = made_passwords(tmp_path)
        assert set(passwords) == {"alice", "1001"}
        for user, password in passwords.items():
            assert [line for line in said.splitlines() if line.startswith(user) and password in line], said
        assert f"#user=alice&token={passwords['alice']}" in said
        assert "Dial 600 for the echo, 601 for a tone." in said


def test_the_web_servers_own_start_and_end_are_not_told(tmp_path: Path) -> None:
    """What is printed is all that there is to know."""
    with welcome(tmp_path):
        pass
    assert (tmp_path / "log").read_text() == ""


def test_a_password_is_never_written_to_the_journal(tmp_path: Path) -> None:
    """Where systemd keeps the output, the accounts are named and so is the file that holds their passwords."""
    with welcome(tmp_path, journal=True) as said:
        for user, password in made_passwords(tmp_path).items():
            assert password not in said
            assert [line for line in said.splitlines() if line.startswith(user) and "secrets.json" in line], said
        assert "token" not in said


@pytest.mark.parametrize(
    ("routes", "words"),
    [
        (
            '[{"match": "*9", "to": "service:echo"}, {"match": "77", "to": "service:tone"}]',
            "\nDial 77 for a tone. Ctrl-C",
        ),
        ("[]", "\nCtrl-C"),
    ],
    ids=["other numbers", "none"],
)
def test_the_numbers_to_dial_are_those_of_the_routes(tmp_path: Path, routes: str, words: str) -> None:
    """A number is only promised where a route leads from it to a built-in service."""
    with welcome(tmp_path, ROUTES=routes) as said:
        assert words in said


def test_the_readme_shows_what_is_printed(tmp_path: Path) -> None:
    """Every word from the page's address on; ports and passwords are other ones."""
    [shown] = [block.text for block in blocks_of(ROOT / "README.md") if block.text.startswith("Page ")]
    pattern = re.escape(" ".join(shown.split())).replace("\\ ", " ")
    pattern = re.sub(r"\w+\\\.\\\.\\\.", r"\\S+", pattern)
    pattern = re.sub(r":(?:8080|5060)\b", r":\\d+", pattern)
    with welcome(tmp_path) as said:
        printed = " ".join(said[said.index("Page ") :].split())
        assert re.fullmatch(pattern, printed), printed
