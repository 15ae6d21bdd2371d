"""What a reader would type or paste from README and docs is there: commands, requests, settings; in plain words."""

from __future__ import annotations

import functools
import json
import re
import shlex
import textwrap
from configparser import ConfigParser, MissingSectionHeaderError
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import typer.main
import yaml

from gateway.cli import app
from gateway.config import Config
from gateway.errors import ConfigError
from gateway.web.app import create_app
from tests.web.fake import FakeGateway

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("**/*.md")),
    *sorted((ROOT / "examples").glob("**/README.md")),
]
LONGEST = 60
"""Words that a sentence may have."""
PLAIN = (
    r"utili[sz]e|leverag\w*|seamless\w*|effortless\w*|cutting-edge|state-of-the-art|best-in-class|world-class|blazing\w*|"
    r"powerful|simply|obviously|basically|in order to|please note|it should be noted|as mentioned above|a myriad|delve"
)
"""What says nothing, or says it with too many letters."""

each = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())


def fenced(document: Path, *languages: str) -> list[str]:
    """The blocks of these languages, without the indentation of a list around them."""
    pattern = rf"^( *)```(?:{'|'.join(languages)})\n(.*?)^\1```"
    return [textwrap.dedent(text) for _, text in re.findall(pattern, document.read_text(), re.MULTILINE | re.DOTALL)]


def commands(document: Path) -> list[list[str]]:
    """The words of each command of its shell blocks; lines that end in a backslash go on."""
    lines = "\n".join(fenced(document, "sh", "bash")).replace("\\\n", " ").splitlines()
    return [
        words for line in lines if (words := shlex.split(line.partition(" > ")[0].partition(" | ")[0], comments=True))
    ]


def unknown(words: list[str]) -> list[str]:
    """What the `gateway` command would refuse of these arguments: a command or an option that there is not."""
    command: Any = typer.main.get_command(app)
    rest = list(words)
    while getattr(command, "commands", None) and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        if name not in command.commands:
            return [name]
        command = command.commands[name]
    options = {option for one in command.params for option in (*one.opts, *one.secondary_opts)} | {"--help", "-h"}
    return [word for word in rest if word.startswith("--") and word.partition("=")[0] not in options]


@each
def test_every_command_is_one_that_there_is(document: Path) -> None:
    """`gateway …` with its options, `make TARGET`, and files of the repository."""
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for words in commands(document):
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        program = words[0].rpartition("/")[2] if words else ""
        if program == "gateway":
            assert unknown(words[1:]) == [], words
        elif program == "make":
            assert [word for word in words[1:] if "=" not in word and word not in targets] == []
        elif program.startswith("python") and len(words) > 1 and words[1].endswith(".py") and "/" in words[1]:
            assert (ROOT / words[1]).is_file(), words[1]


@functools.cache
def paths() -> list[str]:
    """Patterns of all that the HTTP interface answers."""
    described = create_app(FakeGateway()).openapi()["paths"]
    return [re.sub(r"\{[^}]*\}", "[^/]+", path) for path in described] + ["/rpc", "/metrics", "/", "/openapi.json"]


@each
def test_every_request_is_one_that_is_answered(document: Path) -> None:
    """Paths of `curl` lines are paths of the HTTP interface."""
    for words in commands(document):
        for url in [word for word in words if words[0] == "curl" and word.startswith(("http://", "https://"))]:
            path = re.sub(r"^https?://[^/]+|\?.*$", "", url)
            assert any(re.fullmatch(pattern, path) for pattern in paths()), url


@each
def test_every_configuration_is_taken(document: Path) -> None:
    """Each piece of YAML has keys that there are, with values that they take."""
    for block in fenced(document, "yaml"):
        given = yaml.safe_load(block)
        if set(given) <= set(Config.model_fields):
            try:
                Config(**given)
            except ConfigError as error:
                pytest.fail(f"{error}\n{block}")
        else:
            assert set(given) & {"services", "scrape_configs", "groups"}, f"whose configuration is this?\n{block}"


@each
def test_what_is_pasted_into_other_systems_is_well_formed(document: Path) -> None:
    """XML of FreeSWITCH, INI of Asterisk (whose sections may come again), JSON: each object, or each line."""
    for block in fenced(document, "xml"):
        ElementTree.fromstring(f"<all>{block}</all>")
    for block in fenced(document, "ini"):
        ConfigParser(strict=False, inline_comment_prefixes=";", interpolation=None).read_string(block)
    for block in fenced(document, "json"):
        for part in [block] if re.match(r"\{[^}]*\n", block) else block.splitlines():
            json.loads(part)


def sentences(document: Path) -> list[str]:
    """Its prose, without code, tables, headings and what stands between backquotes."""
    text = re.sub(r"^ *```.*?^ *```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^(?:\||#|<).*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"`[^`]*`", "code", text)
    blocks = re.split(r"\n\s*\n|\n\s*(?:[-*]|\d+\.) ", text)
    return [one for block in blocks for one in re.split(r"(?<=[.:;?!])\s+", " ".join(block.split())) if one]


@each
def test_prose_is_short_and_plain(document: Path) -> None:
    """No sentence that has to be read twice, and no word that only fills."""
    assert [one for one in sentences(document) if len(one.split()) > LONGEST] == []
    assert [one for one in sentences(document) if re.search(rf"\b(?:{PLAIN})\b", one, re.IGNORECASE)] == []


def test_what_is_wrong_is_seen(tmp_path: Path) -> None:
    """Each check of this file refuses what it is for."""
    assert unknown(["check-config", "--no-such-option", "--config", "x"]) == ["--no-such-option"]
    assert unknown(["sdp", "no-such-command"]) == ["no-such-command"]
    assert unknown(["sdp", "lint", "x.sdp"]) == []
    long = tmp_path / "long.md"
    long.write_text("word " * 70 + ".\n\nIt simply works.\n\n```yaml\nno_such_key: 1\n```\n")
    with pytest.raises(AssertionError):
        test_prose_is_short_and_plain(long)
    with pytest.raises(AssertionError):
        test_every_configuration_is_taken(long)
    for language, text, error in (
        ("xml", "<a><b></a>", ElementTree.ParseError),
        ("ini", "key = value", MissingSectionHeaderError),
        ("json", "{'a': 1}", ValueError),
    ):
        long.write_text(f"```{language}\n{text}\n```\n")
        with pytest.raises(error):
            test_what_is_pasted_into_other_systems_is_well_formed(long)
