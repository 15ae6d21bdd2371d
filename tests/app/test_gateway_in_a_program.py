"""`Gateway` in a program: its mistakes are one sentence, and its log is as the configuration says."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from gateway import ConfigError, Gateway
from tests.ports import free_ports
from tests.rows import by_row

SECRET = "kJ7-qZ4_wT9x"
WRONG: tuple[tuple[dict[Any, Any], str, str], ...] = (
    ({"domian": "a.test"}, "domian", "unknown key, did you mean domain?"),
    ({"sip": {"lisen": []}}, "sip.lisen", "unknown key, did you mean sip.listen?"),
    ({"sip": {"ring_timeout": "soon"}}, "sip.ring_timeout", "must be a number, not 'soon'"),
    ({"users": [{"web": True}]}, "users.0.id", "is missing"),
    ({"users": 5}, "users", "must be a list"),
    ({"routes": [{"match": "1", "to": "user:bob"}]}, "routes.0.to", "there is no user 'bob' in users"),
    ({"users": [{"id": "a", "web": True, "password": {"file": "/none"}}]}, "users.0.password", "/none cannot be read"),
    ({1: 2}, "1", "unknown key"),
)


@by_row(("values", "key", "words"), WRONG)
def test_a_bad_key_is_one_sentence(values: dict[str, Any], key: str, words: str) -> None:
    """Of the error that the documentation promises, with the key in it, and no trace of the library that reads it."""
    with pytest.raises(ConfigError) as caught:
        Gateway(values)
    assert caught.value.key == key
    assert str(caught.value).startswith(f"{key}: {words}")
    assert "\n" not in str(caught.value)
    assert caught.value.__suppress_context__


def values(folder: Path, **sections: Any) -> dict[str, Any]:
    """A gateway on free ports of loopback."""
    web, sip, webrtc, rtp = free_ports(4)
    return {
        "web": {"listen": f"127.0.0.1:{web}"},
        "sip": {"listen": [f"udp:127.0.0.1:{sip}"]},
        "webrtc": {"listen": f"127.0.0.1:{webrtc}"},
        "rtp": {"ports": f"{rtp}-{rtp + 9}"},
        "identity": {"store": "memory"},
        "state_dir": str(folder),
        "media": {"plane": "python"},
        **sections,
    }


def say() -> None:
    """What a gateway logs of a stranger's words, by its own way and by that of libraries."""
    structlog.get_logger("gateway.test").warning("a stranger said", words=f"password={SECRET}", token=SECRET)
    structlog.get_logger("gateway.test").debug("a detail")


@contextlib.contextmanager
def program(*handlers: logging.Handler) -> Iterator[None]:
    """A program that has set up no other log than these: those of pytest come when a test begins."""
    root = logging.getLogger()
    before, root.handlers = root.handlers, list(handlers)
    try:
        yield
        assert root.handlers == list(handlers)
        assert not structlog.is_configured()
    finally:
        root.handlers = before


@pytest.mark.wall
async def test_the_log_of_the_configuration_holds_in_a_program(tmp_path: Path) -> None:
    """File, form and level; secrets are masked; afterwards the program's log is as it was."""
    file = tmp_path / "gateway.log"
    log = {"file": str(file), "format": "json", "level": "debug"}
    with program():
        async with Gateway(values(tmp_path, log=log)):
            say()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    said = {line["event"]: line for line in lines}
    assert said["a stranger said"]["token"] == "[redacted]"
    assert said["a detail"]["level"] == "debug"
    assert SECRET not in file.read_text()


@pytest.mark.wall
async def test_without_a_log_of_anybody_lines_go_to_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Masked, as `gateway run` does."""
    with program():
        async with Gateway(values(tmp_path)):
            say()
    written = capsys.readouterr()
    assert "a stranger said" in written.err
    assert "a detail" not in written.err
    assert SECRET not in written.out + written.err


@pytest.mark.wall
async def test_the_programs_own_log_is_used_where_the_configuration_says_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its handlers stay, and are given our lines without secrets."""
    own = io.StringIO()
    handler = logging.StreamHandler(own)
    with program(handler):
        async with Gateway(values(tmp_path / "one")), Gateway(values(tmp_path / "other", log={"level": "debug"})):
            assert logging.getLogger().handlers == [handler]
            say()
    assert "a stranger said" in own.getvalue()
    assert SECRET not in own.getvalue() + "".join(capsys.readouterr())


@pytest.mark.wall
async def test_a_log_that_cannot_be_written_is_a_mistake(tmp_path: Path) -> None:
    """Named before anything is opened."""
    (tmp_path / "taken").mkdir()
    with program(), pytest.raises(ConfigError, match=r"^log\.file: "):
        async with Gateway(values(tmp_path, log={"file": str(tmp_path / "taken")})):
            pass
