"""`gateway demo` itself: the main job, proved by real peers."""

from __future__ import annotations

import importlib.util
import io
import re
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from gateway import Gateway
from gateway.cli import app
from gateway.demo.browser import SoftphoneBrowser
from gateway.demo.chromium import BrowserError, find_chromium
from gateway.demo.report import SETUP_GOAL_MS, DemoReport, StepResult, print_report
from gateway.demo.runner import Demo, DemoOptions
from gateway.errors import GatewayError
from gateway.testing import loopback_config
from tests import peers
from tests.docs_blocks import blocks_of

ROOT = Path(__file__).parent.parent
STEPS = [
    "browser calls phone",
    "phone calls browser",
    "browser dials 600",
    "browser dials 601",
    "phone dials 600",
    "phone dials 601",
]


@pytest.mark.wall
@pytest.mark.serial
@pytest.mark.parametrize("browser", [pytest.param("chromium", marks=pytest.mark.core), "aiortc"])
async def test_every_step_of_the_demo_passes(browser: str) -> None:
    """Both directions and both services, with tones found by frequency, set up within the goal."""
    peers.pjsua2()
    if browser == "chromium":
        peers.whole_chromium()
    report = await Demo(DemoOptions(browser=browser, rounds=1), lambda _: None).run()
    assert [(step.name, step.passed, step.words) for step in report.steps if not step.passed] == []
    assert [step.name for step in report.steps] == STEPS
    # Sound that is older than the call would be the sound of the call before.
    assert [(step.name, step.audible) for step in report.steps if step.audible is None or step.audible <= 0] == []
    assert report.setup_ms is not None
    assert report.setup_ms < SETUP_GOAL_MS


@pytest.mark.wall
async def test_without_pjsua2_baresip_is_the_desk_phone(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a Python for which pjsua2 has no wheel the same steps pass, and the report names the phone."""
    peers.baresip()
    monkeypatch.setattr("gateway.demo.runner.find_spec", lambda name: None)
    report = await Demo(DemoOptions(browser="aiortc", rounds=1), lambda _: None).run()
    assert [(step.name, step.words) for step in report.steps if not step.passed] == []
    assert ([step.name for step in report.steps], report.phone) == (STEPS, "baresip")


async def test_without_any_phone_the_demo_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to get one, in a sentence."""
    monkeypatch.setattr("gateway.demo.runner.find_spec", lambda name: None)
    monkeypatch.setattr("gateway.demo.runner.find_baresip", lambda: None)
    with pytest.raises(GatewayError, match=r"install the package baresip, or the extra `phone`"):
        await Demo(DemoOptions(browser="aiortc", rounds=1), lambda _: None).run()


def test_a_failed_step_fails_the_demo_and_is_told() -> None:
    """FAIL, and the words of the step that failed rather than of one that went well."""
    report = DemoReport("Chromium", [StepResult("a call", True, "fine"), StepResult("a call", False, "nothing heard")])
    output = io.StringIO()
    print_report(report, Console(file=output, width=120))
    text = output.getvalue()
    assert not report.passed
    assert "FAIL" in text
    assert "1 of 2" in text
    assert "nothing heard" in text


def test_a_demo_without_steps_has_not_passed() -> None:
    """Nothing proved is nothing passed."""
    assert not DemoReport("Chromium").passed


@pytest.mark.wall
def test_the_demo_without_the_chromium_it_was_asked_for_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Status 2 and the package's name, no traceback."""
    if importlib.util.find_spec("pjsua2") is None:
        peers.baresip()
    monkeypatch.setattr("gateway.demo.runner.find_chromium", lambda: None)
    result = CliRunner().invoke(app, ["demo", "--browser", "chromium", "--verbose"])
    assert result.exit_code == 2
    assert "install the package chromium" in result.output


def test_the_readme_shows_what_the_demo_prints() -> None:
    """The table of the README is that of a report with these figures, but for its frame."""
    [shown] = [block.text for block in blocks_of(ROOT / "README.md") if block.text.startswith("With Chromium ")]
    browser = re.match(r"With (Chromium \S+) and", shown)
    setup = re.search(r"median (\d+) ms", shown)
    assert browser is not None
    assert setup is not None
    report = DemoReport(browser[1])
    for row in re.findall(r"^ (\S.*?) +(\d) of (\d)(.{10})(.{9})(.{14})   (.+)$", shown, re.MULTILINE):
        name, good, rounds, *times, words = row
        ringing, answered, audible = (float(each) if each.strip() else None for each in times)
        for number in range(int(rounds)):
            step = StepResult(name, number < int(good), words, ringing, answered, audible)
            step.offer_to_media = float(setup[1]) if name == STEPS[0] else None
            report.steps.append(step)
    assert list(dict.fromkeys(step.name for step in report.steps)) == STEPS
    output = io.StringIO()
    print_report(report, Console(file=output, width=160))
    printed = [" ".join(re.sub(r"[┃│]", " ", line).split()) for line in output.getvalue().splitlines()]
    assert [line for line in printed if line and not re.search("[━─]", line)] == [
        " ".join(line.split()) for line in shown.splitlines() if line.strip()
    ]


@pytest.mark.wall
async def test_a_page_that_is_refused_says_so_at_once(tmp_path: Path) -> None:
    """Not after all the time that it has to become ready: longer here than a test may take."""
    peers.whole_chromium()
    executable = find_chromium()
    assert executable is not None
    config = loopback_config(str(tmp_path), [{"id": "alice", "web": True}])
    async with Gateway(config) as gateway, SoftphoneBrowser(executable, 440) as page:
        with pytest.raises(BrowserError, match="never became ready; it says: 'Name or password is wrong"):
            await page.open(f"{gateway.page_url}#user=alice&token=wrong", timeout=3600)
        await page.page.reload()
        await page.open(f"{gateway.page_url}#user=alice&token={gateway.password('alice')}")
