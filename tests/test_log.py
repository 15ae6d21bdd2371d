"""No secret and no stranger's escape sequence ever reaches a log."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from gateway.errors import ConfigError
from gateway.identity.model import Credential
from gateway.log import call_context, configure, redact_text
from gateway.log.redact import _PATTERNS, MASK, clean, escape
from tests.rows import by_row

SECRET = "hunter2SeCrEt"
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u2028\u202e\u2060\U000e0041]")

Format = Literal["console", "json"]
FORMATS: tuple[Format, ...] = ("console", "json")

HIDDEN_IN_TEXT = [
    f'{{"jsonrpc":"2.0","method":"room.open","params":{{"pin":"{SECRET}"}}}}',
    f"pin : {SECRET}",
    f'Authorization: Digest username="1001", realm="r", nonce="n", uri="sip:r", response="{SECRET}", algorithm=MD5',
    f'REGISTER sip:r SIP/2.0\r\nProxy-Authorization: Digest username="x",\r\n response="{SECRET}"\r\nTo: x',
    f"authorization : Bearer {SECRET}",
    f"Cookie: session={SECRET}; other=1",
    f'Digest username="1001", response="{SECRET}"',
    f"refused: bearer {SECRET}",
    f"Basic {SECRET}==",
    f"v=0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{SECRET}|2^20|1:4\r\na=sendrecv",
    f"AES_CM_128_HMAC_SHA1_80 inline:{SECRET}",
    f"a=ice-ufrag:x\r\na=ice-pwd:{SECRET}\r\n",
    f"a=k:{SECRET}",
    f"ice_pwd={SECRET}",
    f"password={SECRET} user=1001",
    f"PassWord : '{SECRET}'",
    f"password=a]b,c;{SECRET}",
    f"{{'password': '{SECRET}', 'user': 'x'}}",
    f'{{"trunk_password": "a\\"{SECRET}"}}',
    json.dumps(json.dumps({"credential": SECRET})),
    f"GET /rpc?token={SECRET}&x=1",
    f"access_token={SECRET}",
    f"api-key: {SECRET}",
    f"ha1={SECRET}",
    f"nonce={SECRET} cnonce={SECRET}",
    f"redis://user:{SECRET}@127.0.0.1:6379/0",
    f"redis://:{SECRET}@127.0.0.1",
    f"sip:1001:{SECRET}@gateway.local",
    f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----",
    f"-----BEGIN EC PRIVATE KEY-----\n{SECRET}",
]

HIDDEN_BY_NAME = [
    *("password", "Password", "sip_password", "passwd", "secret", "token", "accessToken", "authorization"),
    *("Proxy-Authorization", "credential", "cookie", "Set-Cookie", "ha1", "HA1_md5", "ice_pwd", "ice-pwd", "crypto"),
    *("inline", "private_key", "api_key", "nonce", "cnonce", "digest_response", "pin"),
]

HOSTILE = (
    "\r\n2026-11-21 info forged line\x1b[2J\x1b]0;title\x07\x00\x08\x9b31m\u200b\u2028\u202e\u2060\U000e0041\ud800\x7f"
)


class Log:
    """A configured log, and what came out of it."""

    def __init__(self, format: Format, **options: Any) -> None:
        self._stream = io.StringIO()
        self._close = configure("debug", format, stream=self._stream, **options)

    def text(self) -> str:
        self._close()
        self._close = lambda: None
        return self._stream.getvalue()

    def lines(self) -> list[str]:
        return self.text().splitlines()


@pytest.fixture
def log() -> Iterator[Callable[..., Log]]:
    """Makes logs, and takes them down however the test ends."""
    made: list[Log] = []

    def make(format: Format = "console", **options: Any) -> Log:
        made.append(Log(format, **options))
        return made[-1]

    yield make
    for each in reversed(made):
        each.text()


@by_row("text", HIDDEN_IN_TEXT)
def test_secret_in_a_text_is_masked(text: str) -> None:
    """Whatever the notation of SIP, SDP, HTTP, JSON or a URL, the value is gone and the mask is there."""
    masked = redact_text(text)
    assert SECRET not in masked
    assert MASK in masked
    assert redact_text(masked).count(MASK) >= 1


SAME_LETTER = {
    one: re.findall(one, "".join(map(chr, range(0x3000))), re.IGNORECASE) for one in "abcdefghijklmnopqrstuvwxyz"
}


@by_row("choose", [min, max, lambda letters: letters[len(letters) // 2]])
@by_row("text", HIDDEN_IN_TEXT)
def test_secret_is_masked_in_whatever_letters_it_is_named(text: str, choose: Callable[[list[str]], str]) -> None:
    """Looking first leaves nothing that a pattern would mask: capitals, and the i, k and s that are not ASCII."""
    written = "".join(choose(SAME_LETTER.get(one.lower(), [one])) for one in text)
    masked = written
    for _, pattern, replacement in _PATTERNS:
        masked = pattern.sub(replacement, masked)
    assert redact_text(written) == masked


@by_row(
    "text",
    [
        "registered sip:1001@gateway.local from udp:192.0.2.7:5060",
        "a=rtpmap:111 opus/48000/2",
        "a=fingerprint:sha-256 AA:BB:CC",
        "password changed",
        "Digest authentication failed",
        "basic call from http://127.0.0.1:8080/",
        "sip:1001@gateway.local;transport=udp 200 OK, response sent",
        "the token expired at 12:30",
        "INVITE sip:alice@gateway.local SIP/2.0",
    ],
)
def test_plain_text_is_left_alone(text: str) -> None:
    """Redaction does not eat what helps to understand a call."""
    assert redact_text(text) == text


@by_row("format", FORMATS)
@by_row("name", HIDDEN_BY_NAME)
def test_secret_field_is_masked_by_its_name(log: Callable[..., Log], format: Format, name: str) -> None:
    """Whatever a field of such a name holds, and however deep it stands, it is not written."""
    written = log(format)
    logger = structlog.get_logger("test")
    logger.info("event", **{name: SECRET})
    logger.info("event", **{name: {"a": [SECRET]}}, nested={"a": [{name: SECRET.encode()}]})
    text = written.text()
    assert SECRET not in text
    assert text.count(MASK) == 3


@pytest.mark.parametrize("format", FORMATS)
def test_secrets_in_every_field_never_appear(log: Callable[..., Log], format: Format) -> None:
    """Event, value, key, bytes, nesting, object, exception, standard logging and its arguments: all are cleaned."""
    written = log(format)
    logger, standard = structlog.get_logger("test"), logging.getLogger("some.library")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        for text in HIDDEN_IN_TEXT:
            logger.info(text, value=text, raw=text.encode(), deep=[{"x": (text,)}], thing=ValueError(text), **{text: 1})
            standard.warning("%s and %r", text, text)
            standard.warning(text)
            warnings.warn(text, UserWarning, stacklevel=1)
            with call_context(text):
                logger.debug("in a call")
            try:
                raise ValueError(text)
            except ValueError:
                logger.exception("failed")
                standard.exception("failed")
    text = written.text()
    # The traceback quotes source lines of this file, which name the variable and not its value.
    assert SECRET not in text
    assert text.count("failed") >= 2 * len(HIDDEN_IN_TEXT)


def test_secret_objects_stay_secret(log: Callable[..., Log]) -> None:
    """Values that hide themselves, and credentials, do not give their content away."""
    written = log()
    structlog.get_logger("test").info("x", a=SecretStr(SECRET), b=Credential("u", "r", {"MD5": SECRET}))
    assert SECRET not in written.text()


@pytest.mark.parametrize("format", FORMATS)
def test_hostile_text_cannot_forge_or_paint(log: Callable[..., Log], format: Format) -> None:
    """ANSI, CR, LF, NUL and their kin in any field neither start a line nor reach the terminal."""
    written = log(format)
    logger, standard = structlog.get_logger("test"), logging.getLogger("some.library")
    logger.info(HOSTILE, value=HOSTILE, raw=HOSTILE.encode("utf-8", "replace"), deep=[{"x": HOSTILE}], **{HOSTILE: 1})
    standard.warning("%s", HOSTILE)
    with call_context(HOSTILE):
        logger.info("in a call")
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        logger.exception("failed")
    text = written.text()
    assert not CONTROL.search(text)
    text.encode("utf-8")
    for line in text.splitlines():
        assert re.match(r"\d\d:\d\d:\d\d\.\d{3} |    \| ", line) if format == "console" else json.loads(line)


@given(st.text())
def test_cleaned_text_has_no_control_character(text: str) -> None:
    """Whatever comes in, one printable line comes out."""
    cleaned = escape(text)
    assert not CONTROL.search(cleaned)
    assert "\n" not in cleaned
    cleaned.encode("utf-8")


nested = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers(), inner, max_size=4),
    max_leaves=20,
)


@given(nested)
def test_any_value_is_cleaned_into_json(value: object) -> None:
    """Whatever is logged, the cleaned value can be written as JSON."""
    assert json.dumps(clean(value, 1_000))


def test_value_that_cannot_be_shown_does_not_end_the_caller(log: Callable[..., Log]) -> None:
    """An object whose str fails is named by its type."""

    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no")

    written = log()
    structlog.get_logger("test").info("x", thing=Broken())
    logging.getLogger("some.library").warning("%d", "no number")
    assert "thing=<Broken>" in written.text()


def test_value_that_holds_itself_is_cut() -> None:
    """Recursion and width are bounded."""
    loop: list[Any] = [1]
    loop.append(loop)
    assert "[...]" in json.dumps(clean(loop, 100))
    assert clean(list(range(1_000)), 100)[-1] == "... 936 more"
    assert len(clean({str(number): number for number in range(1_000)}, 100)) == 65


@pytest.mark.parametrize("format", FORMATS)
def test_long_lines_are_cut(log: Callable[..., Log], format: Format) -> None:
    """No line is longer than the limit, and JSON stays JSON."""
    written = log(format, max_line_length=500)
    logger = structlog.get_logger("test")
    logger.info("a " * 5_000, b="b" * 5_000)
    logger.info("\x01 " * 5_000, **{f"field{number}": "x " * 200 for number in range(50)})
    with call_context("\x01" * 5_000):
        logger.info("x")
    try:
        raise ValueError("line\n" * 3_000)
    except ValueError:
        logger.exception("failed")
    lines = written.lines()
    assert len(lines) >= 4
    assert max(map(len, lines)) <= 500
    for line in lines:
        assert format == "console" or json.loads(line)["timestamp"]


def test_traceback_longer_than_a_line_is_kept(log: Callable[..., Log]) -> None:
    """The limit is for each line of a traceback, not for all of it together."""
    written = log(max_line_length=300)
    try:
        raise ValueError("\n".join(f"reason {number}" for number in range(40)))
    except ValueError:
        structlog.get_logger("test").exception("failed")
    assert "    | reason 39" in written.lines()


def test_secret_on_the_edge_of_a_cut_is_not_halved(log: Callable[..., Log]) -> None:
    """Where a value is cut, the beginning of a secret without its end is cut away too."""
    written = log(max_line_length=300)
    logger = structlog.get_logger("test")
    for length in range(200, 301):
        logger.info("x", uri="x" * length + f" sip:1001:{SECRET}@gateway.local")
    assert SECRET[:4] not in written.text()


def test_json_lines_have_the_fields(log: Callable[..., Log]) -> None:
    """Time, level, logger, event, the call's id and the fields are one object."""
    written = log("json")
    with call_context("call-1"):
        structlog.get_logger("gateway.sip").warning("refused", status=486, to="sip:1001@h")
        logging.getLogger("uvicorn.error").info("started %d", 1)
    first, second = (json.loads(line) for line in written.lines())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", first.pop("timestamp"))
    assert first == {
        "level": "warning",
        "logger": "gateway.sip",
        "event": "refused",
        "call_id": "call-1",
        "status": 486,
        "to": "sip:1001@h",
    }
    assert (second["event"], second["call_id"], second["logger"]) == ("started 1", "call-1", "uvicorn.error")


def test_console_lines_are_readable(log: Callable[..., Log]) -> None:
    """Time, level, logger, event and fields, quoted where they have to be."""
    written = log()
    structlog.get_logger("gateway.sip").info("answered", call="a b", codec="opus", ms=12)
    (line,) = written.lines()
    assert re.fullmatch(r'\d\d:\d\d:\d\d\.\d{3} info    gateway\.sip: answered call="a b" codec=opus ms=12', line)


async def test_call_id_belongs_to_its_task(log: Callable[..., Log]) -> None:
    """Two calls at once do not mix their ids."""
    written = log("json")
    both = asyncio.Barrier(2)

    async def call(name: str) -> None:
        with call_context(name):
            await both.wait()
            structlog.get_logger("test").info(name)

    await asyncio.gather(call("one"), call("two"))
    structlog.get_logger("test").info("none")
    events = [json.loads(line) for line in written.lines()]
    assert {event["event"]: event.get("call_id") for event in events} == {"one": "one", "two": "two", "none": None}


def test_level_is_kept(log: Callable[..., Log]) -> None:
    """Less important lines are not written, of structlog as of logging."""
    stream = io.StringIO()
    close = configure("warning", stream=stream)
    for logger in (structlog.get_logger("a"), logging.getLogger("b")):
        logger.info("quiet")
        logger.warning("loud")
    close()
    assert "quiet" not in stream.getvalue()
    assert stream.getvalue().count("loud") == 2


def test_library_with_its_own_handler_is_taken_over() -> None:
    """What a library writes goes through the redaction, and its handler comes back afterwards."""
    own = io.StringIO()
    library = logging.getLogger("some.library.of.its.own")
    handler = logging.StreamHandler(own)
    library.addHandler(handler)
    library.propagate = False
    root_before = list(logging.getLogger().handlers)
    stream = io.StringIO()
    close = configure("info", stream=stream)
    library.warning("password=%s", SECRET)
    close()
    assert own.getvalue() == ""
    assert f"password={MASK}" in stream.getvalue()
    assert library.handlers == [handler]
    assert not library.propagate
    assert logging.getLogger().handlers == root_before
    library.removeHandler(handler)


def test_frames_of_websockets_are_not_written(log: Callable[..., Log]) -> None:
    """At debug level libraries write frames shortened in the middle: the value of a password without its name."""
    lines = log()
    for name in ("uvicorn.error", "websockets.server"):
        logging.getLogger(name).debug('< TEXT \'{"method": "account....%s"}\' [139 bytes]', SECRET)
        logging.getLogger(name).info("kept of %s", name)
    text = lines.text()
    assert SECRET not in text
    assert text.count("kept of") == 2


def test_libraries_say_no_more_than_the_level_lets_them() -> None:
    """A gateway that is to write errors alone does not tell of its servers' starts."""
    stream = io.StringIO()
    close = configure("error", stream=stream)
    for name in ("uvicorn.error", "websockets.server"):
        logging.getLogger(name).info("started")
        logging.getLogger(name).error("failed")
    close()
    assert "started" not in stream.getvalue()
    assert stream.getvalue().count("failed") == 2


def test_file_is_appended_to(tmp_path: Path) -> None:
    """The file and its folder are made, and a second start writes on."""
    file = tmp_path / "logs" / "gateway.log"
    for event in ("first", "second"):
        close = configure("info", "json", file=file)
        structlog.get_logger("test").info(event)
        close()
    assert [json.loads(line)["event"] for line in file.read_text().splitlines()] == ["first", "second"]


@by_row(("before", "after"), [(None, 0o600), (0o600, 0o600), (0o644, 0o640), (0o640, 0o640)])
def test_file_is_not_for_everybody(tmp_path: Path, before: int | None, after: int) -> None:
    """A new one is the gateway's own; a group that collects logs may read one that is there."""
    path = tmp_path / "gateway.log"
    if before is not None:
        path.touch()
        path.chmod(before)
    mask = os.umask(0)
    try:
        configure(file=path)()
    finally:
        os.umask(mask)
    assert path.stat().st_mode & 0o777 == after


def test_file_that_cannot_be_written_names_the_key(tmp_path: Path) -> None:
    """A bad log file is a configuration error."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError) as caught:
        configure("info", file=tmp_path / "file" / "gateway.log")
    assert caught.value.key == "log.file"


def test_slow_reader_never_holds_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the writer hangs, lines are dropped and counted, and the caller goes on."""
    monkeypatch.setattr("gateway.log.setup.QUEUE_LENGTH", 10)
    gate = threading.Event()

    class Stuck(io.StringIO):
        def write(self, text: str) -> int:
            gate.wait(30)
            return super().write(text)

    stream = Stuck()
    close = configure("info", stream=stream)
    logger = structlog.get_logger("test")
    for number in range(50):
        logger.info("line", number=number)
    gate.set()
    close()
    written = stream.getvalue().count("line")
    assert 10 <= written <= 12


def test_writer_that_hangs_for_good_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing gives up after its time; the writing thread is a daemon."""
    monkeypatch.setattr("gateway.log.setup.QUEUE_LENGTH", 2)
    monkeypatch.setattr("gateway.log.setup.CLOSE_TIMEOUT", 0.05)
    gate, entered = threading.Event(), threading.Event()

    class Stuck(io.StringIO):
        def write(self, text: str) -> int:
            entered.set()
            gate.wait(30)
            return super().write(text)

    close = configure("info", stream=Stuck())
    for number in range(10):
        logging.getLogger("test").info("line %d", number)
    assert entered.wait(30)
    logging.getLogger("test").info("one more, for the place of the line that is being written")
    started = time.monotonic()
    close()
    gate.set()
    assert time.monotonic() - started < 5


def test_dropped_lines_are_counted_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once there is room again, the log says how many lines are missing."""
    monkeypatch.setattr("gateway.log.setup.QUEUE_LENGTH", 4)
    gate, drained = threading.Event(), threading.Event()

    class Stuck(io.StringIO):
        def write(self, text: str) -> int:
            gate.wait(30)
            if "last" in text:
                drained.set()
            return super().write(text)

    stream = Stuck()
    close = configure("info", stream=stream)
    logger = logging.getLogger("test")
    for number in range(20):
        logger.info("line %d", number)
    gate.set()
    deadline = time.monotonic() + 30
    while not drained.is_set():
        logger.info("last")
        drained.wait(0.01)
        assert time.monotonic() < deadline
    logger.info("after")
    close()
    dropped = [int(count) for count in re.findall(r"log lines dropped: (\d+)", stream.getvalue())]
    assert sum(dropped) >= 20 - 4 - 1
    written = sum(stream.getvalue().count(f"line {number}\n") for number in range(20))
    assert 4 <= written <= 5


def test_terminal_gets_colours_and_nothing_else_does() -> None:
    """Colours are ours alone, and only where a person looks on."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, coloured in ((Terminal(), True), (io.StringIO(), False)):
        close = configure("info", stream=stream)
        structlog.get_logger("test").error("bad \x1b[31m")
        close()
        assert (stream.getvalue().count("\x1b") == 2) is coloured


def test_deep_mapping_is_cut() -> None:
    """A mapping deeper than the bound is left out."""
    deep: dict[str, Any] = {}
    for _ in range(10):
        deep = {"x": deep}
    assert "{...}" in json.dumps(clean(deep, 100))


def test_hostile_text_is_redacted_in_linear_time() -> None:
    """A text made to send the patterns astray costs no more than a few times a plain one of its length."""
    shapes = ("a:", "password", "sip:a:", 'x="', "a=crypto:", " ", "-", "password=", "authorization\n ", "digest a=b,")
    for shape in shapes:
        text = (shape * 65_536)[:65_536]
        started = time.process_time()
        redact_text(text)
        # Quadratic behaviour would take minutes here.
        assert time.process_time() - started < 2.0, shape
