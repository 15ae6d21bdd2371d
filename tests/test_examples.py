"""The examples run, prove what they claim, and lead from one to the next."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.commands.examples import examples_app

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
FOLDERS = sorted(folder for folder in EXAMPLES.iterdir() if re.match(r"\d\d_", folder.name))
SECTIONS = ["What you will learn", "Run it", "Walk-through", "Key ideas", "Next"]
SECONDS = 45
"""Far more than any example takes; the machine may be busy."""

each = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


def run(program: Path, cwd: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a program with this Python, from another folder; its output as text."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *options, str(program)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def links(text: str) -> list[str]:
    """Relative targets of the links in a Markdown text, without fragments."""
    return re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)


def test_there_are_nine_examples_numbered_without_gaps() -> None:
    """01 to 09, each with a program and a README."""
    assert [folder.name[:2] for folder in FOLDERS] == [f"{number:02}" for number in range(1, 10)]
    assert [folder.name for folder in FOLDERS if not (folder / "main.py").is_file()] == []
    assert [folder.name for folder in FOLDERS if not (folder / "README.md").is_file()] == []


@each
def test_every_example_passes_from_any_folder(folder: Path, tmp_path: Path) -> None:
    """Status 0, PASS as the last line, nothing on standard error."""
    result = run(folder / "main.py", tmp_path)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    assert result.stdout.splitlines()[-1] == "PASS"
    assert result.stderr == ""


@each
def test_a_claim_that_does_not_hold_fails_the_example(folder: Path, tmp_path: Path) -> None:
    """With its checks turned round the program says FAIL in one line and ends with status 1."""
    text = (folder / "main.py").read_text()
    assert text.count("if not condition:") == 1
    broken = tmp_path / folder.name / "main.py"
    broken.parent.mkdir()
    for helper in folder.glob("*.py"):
        (broken.parent / helper.name).write_text(helper.read_text())
    (tmp_path / "08_sip_client").mkdir(exist_ok=True)
    for helper in (EXAMPLES / "08_sip_client").glob("*.py"):
        (tmp_path / "08_sip_client" / helper.name).write_text(helper.read_text())
    broken.write_text(text.replace("if not condition:", "if condition:"))
    result = run(broken, tmp_path)
    assert result.returncode == 1
    assert re.fullmatch(r"FAIL: .+\n", result.stderr)
    assert "PASS" not in result.stdout.splitlines()


@each
def test_every_readme_has_the_same_sections(folder: Path) -> None:
    """The skeleton is the same, so that readers know where to look."""
    text = (folder / "README.md").read_text()
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    assert f"python examples/{folder.name}/main.py" in text


@each
def test_every_link_of_a_readme_leads_somewhere(folder: Path) -> None:
    """Relative links name files that exist."""
    for target in links((folder / "README.md").read_text()):
        assert (folder / target).exists(), f"{folder.name} links to {target}"


@pytest.mark.parametrize("place", range(len(FOLDERS)), ids=lambda place: FOLDERS[place].name)
def test_next_leads_to_the_following_example(place: int) -> None:
    """The last section links to the next number, and from the last one back to the list."""
    last = (FOLDERS[place] / "README.md").read_text().partition("## Next")[2]
    following = f"../{FOLDERS[place + 1].name}/README.md" if place + 1 < len(FOLDERS) else "../README.md"
    assert following in links(last)


def test_the_command_lists_and_runs_them() -> None:
    """`gateway examples run 1`, with the lesson's own status; a number that there is not is a sentence."""
    runner = CliRunner()
    listed = runner.invoke(examples_app, ["list"]).stdout.splitlines()
    assert [line[:2] for line in listed] == [folder.name[:2] for folder in FOLDERS]
    assert listed[2] == "03  A SIP dialog"
    assert runner.invoke(examples_app, ["run", "1"]).exit_code == 0
    wrong = runner.invoke(examples_app, ["run", "77"])
    assert (wrong.exit_code, "there is no lesson 77" in wrong.stderr) == (2, True)


def test_without_a_checkout_the_command_says_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel holds no lessons."""
    monkeypatch.setattr("gateway.commands.examples.FOLDER", tmp_path)
    result = CliRunner().invoke(examples_app, ["list"])
    assert (result.exit_code, "clone the repository" in result.stderr) == (2, True)


def test_the_index_lists_every_example_in_order() -> None:
    """examples/README.md links to each README, in the order of their numbers."""
    found = links((EXAMPLES / "README.md").read_text())
    assert found == [f"{folder.name}/README.md" for folder in FOLDERS]
