"""gateway.lesson: how lessons speak and end."""

from __future__ import annotations

from gateway.lesson import arrow, beside, check, table

import os
import subprocess
import sys

import pytest

from tests.lesson_program import EXAMPLES, PROGRAM, ROOT, SECONDS
from tests.rows import by_row

pytestmark = pytest.mark.wall

ENDS: dict[str, tuple[str, int, str, str]] = {
    "a claim that holds": ("def main(): check(1 == 1, 'one')", 0, "  ok: one\nPASS\n", ""),
    "a claim that does not": ("async def main(): check(1 == 2, 'one is two')", 1, "", "FAIL: one is two\n"),
    "in a task": (
        "async def other(): check(1 == 2, 'in a task')\n"
        "async def main(): asyncio.create_task(other()); await asyncio.sleep(9)",
        1,
        "",
        "FAIL: in a task\n",
    ),
    "an error of the gateway": ("def main(): raise GatewayError('no such thing')", 1, "", "FAIL: no such thing\n"),
    "a wait that was too long": (
        "async def main():\n    async with within(0.01, 'the phone rings'): await asyncio.sleep(9)",
        1,
        "",
        "FAIL: the phone rings: not within 0.01 s\n",
    ),
}
LATE: dict[str, tuple[str, str]] = {
    "log=True, seconds=0.2": ("await asyncio.sleep(60)", "not done after 0.2 s; --verbose shows the gateway's log"),
    "seconds=0.2": ("await asyncio.sleep(60)", "not done after 0.2 s"),
    "log=True": ("raise TimeoutError", "not done in time; --verbose shows the gateway's log"),
    "log=False": ("raise TimeoutError", "not done in time"),
}


@by_row(("main", "status", "said", "complained"), ENDS.values(), ids=ENDS)
def test_a_program_ends_as_it_went(main: str, status: int, said: str, complained: str) -> None:
    """PASS, or FAIL with one sentence on standard error and status 1."""
    command = [sys.executable, "-c", PROGRAM.format(main=main)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
    assert (done.returncode, done.stdout, done.stderr) == (status, said, complained)


@by_row(("options", "waits", "words"), [(options, *case) for options, case in LATE.items()], ids=LATE)
def test_a_program_that_is_late_says_what_it_can(options: str, waits: str, words: str) -> None:
    """Of seconds and of --verbose only where it has them."""
    program = PROGRAM.format(main=f"async def main(): {waits}").replace("log=True, seconds=30", options)
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"FAIL: {words}\n")


@pytest.mark.parametrize(("options", "shown"), [([], ""), (["--verbose"], "call.began")], ids=["plain", "verbose"])
def test_verbose_shows_the_log(options: list[str], shown: str) -> None:
    """Below errors it is not seen without."""
    program = PROGRAM.format(main="import structlog\ndef main(): structlog.get_logger().info('call.began')")
    command = [sys.executable, "-c", program, *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
    assert (done.returncode, done.stdout) == (0, "PASS\n")
    assert shown in done.stderr
    assert bool(shown) == bool(done.stderr)


def test_columns_are_as_wide_as_they_need(capsys: pytest.CaptureFixture[str]) -> None:
    """What is too long is cut, and a row may be shorter than others."""
    table(("a", "bb", "c"), ("aaa", 4), widest=2)
    beside(["v=0", "a=ice-pwd:secret"], ["v=0", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:c2VjcmV0"])
    arrow("alice", "BYE", "bob", width=9)
    arrow("alice", "200", "bob", back=True, width=9)
    assert capsys.readouterr().out.splitlines() == [
        "  | a  | bb | c",
        "  | a… | 4",
        "  | v=0         | v=0",
        "  | a=ice-pwd:… | a=crypto:…",
        "  alice |-- BYE -->| bob",
        "  alice |<-- 200 --| bob",
    ]


def test_a_claim_that_holds_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """And one that does not ends the program."""
    check(True, "it is so")
    with pytest.raises(SystemExit, match="FAIL: it is not"):
        check(False, "it is not")
    assert capsys.readouterr().out == "  ok: it is so\n"


def test_a_reader_that_has_enough_ends_it() -> None:
    """As `head -1` does: no traceback."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, str(EXAMPLES / "02_creating_messages/main.py")]
    with os.fdopen(writer, "w") as closed:
        done = subprocess.run(command, cwd=ROOT, stdout=closed, stderr=subprocess.PIPE, timeout=SECONDS)
    assert (done.returncode, done.stderr) == (1, b"")
