"""What programs may import is written in docs/api.md, and examples and documents import nothing else."""

from __future__ import annotations

import ast
import asyncio
import doctest
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

import gateway
from gateway import Application, Gateway
from tests.docs_blocks import blocks_of
from tests.interop.gateway import RpcBrowser, config_on_free_ports
from tests.public_api import PACKAGES, names, sentence, tables, undocumented
from tests.rows import by_row

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "api.md"
PROGRAMS = sorted((ROOT / "examples").glob("*/*.py"))
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md")), *sorted((ROOT / "examples").glob("**/*.md"))]
OF_SDP = re.compile(r"sdp(\.(attributes|lint|trickle|json_form|errors))?")


def blocks(document: Path) -> list[str]:
    """The Python of a Markdown text, without the prompts and answers of a session at the terminal.

    Pieces of a lesson's program are that program's, which is looked at as a whole.
    """

    def bare(text: str) -> str:
        return "\n".join(line.strip() for line in text.splitlines())

    told = re.findall(r"^## The program\n.*?^## ", document.read_text(), re.MULTILINE | re.DOTALL)
    found = [
        block.text
        for block in blocks_of(document, document.name)
        if block.language.split()[:1] in (["python"], ["py"], ["python3"])
        and not any(bare(block.text) in bare(section) for section in told)
    ]
    return [doctest.script_from_examples(one) if one.startswith(">>>") else one for one in found]


def imported(source: str) -> list[tuple[str, str]]:
    """(module, name) of each import of this project; the name is "" where the module itself is."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(one.name, "") for one in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found += [(node.module, one.name) for one in node.names]
    if ("gateway", "") in found:
        # What is reached by way of the package's name is imported as well.
        found += [("gateway", node.attr) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)
                  and isinstance(node.value, ast.Name) and node.value.id == "gateway"]  # fmt: skip
    return [(module, name) for module, name in found if module.partition(".")[0] in ("gateway", "sdp")]


def is_public(module: str, name: str) -> bool:
    if OF_SDP.fullmatch(module):
        return True
    if module == "gateway" and f"gateway.{name}" in PACKAGES:
        return True
    return module in PACKAGES and (not name or name in names(module))


@by_row("program", PROGRAMS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_examples_import_what_is_public(program: Path) -> None:
    """A reader can do what an example does without reaching into the gateway."""
    assert [one for one in imported(program.read_text()) if not is_public(*one)] == []


@by_row("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_documents_import_what_is_public(document: Path) -> None:
    """The same for every piece of Python in README, docs and lessons."""
    wrong = [one for block in blocks(document) for one in imported(block) if not is_public(*one)]
    assert wrong == []


def test_what_is_not_public_is_seen(tmp_path: Path) -> None:
    """The finder knows packages, names and modules apart."""
    assert is_public("gateway", "Gateway")
    assert is_public("gateway", "net")
    assert is_public("sdp.attributes", "Candidate")
    assert not is_public("gateway", "app")
    assert not is_public("gateway.sip.message.parser", "parse_message")
    assert not is_public("gateway.sip", "UserAgentCore")
    assert not is_public("gateway.app", "GatewayApp")
    assert ("gateway", "app") in imported("import gateway\ngateway.app.root.GatewayApp()")
    page = tmp_path / "page.md"
    page.write_text("- x\n\n  ```py title='x'\n  from gateway.app import GatewayApp\n  ```\n")
    assert [imported(block) for block in blocks(page)] == [[("gateway.app", "GatewayApp")]]


def test_the_page_lists_every_public_name_with_what_it_is() -> None:
    """docs/api.md ends with what `python -m tests.public_api` prints, and nothing is without a sentence."""
    assert PAGE.read_text().endswith(tables())
    assert [f"{package}.{name}" for package in PACKAGES for name in names(package) if not sentence(package, name)] == []


def test_every_public_method_and_property_says_what_it_does() -> None:
    """The site's reference leaves out what has no docstring."""
    assert [f"{package}.{one}" for package in PACKAGES for one in undocumented(import_module(package))] == []


def test_a_method_without_a_docstring_is_seen() -> None:
    """A property and a static method as well; what is private need not say anything."""

    class Some:
        def says(self) -> None:
            """Something."""

        @property
        def silent(self) -> None: ...
        @staticmethod
        def still() -> None: ...
        def _own(self) -> None: ...

    module = ModuleType("a")
    vars(module).update(__all__=["Some"], Some=Some)
    assert undocumented(module) == ["Some.silent", "Some.still"]


def test_an_unknown_name_of_the_gateway_is_an_attribute_error() -> None:
    """As of any module."""
    with pytest.raises(AttributeError, match="has no attribute 'Gatewey'"):
        _ = gateway.Gatewey


@pytest.mark.wall
def test_reading_a_message_does_not_load_the_gateway() -> None:
    """`gateway.sip` is quick to import, and wants no library."""
    program = (
        "import sys, gateway.sip\n"
        "print([m for m in ('pydantic', 'fastapi', 'av', 'numpy', 'asyncio', 'gateway.app') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


async def test_the_application_of_the_page_does_what_it_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its number is answered with a tone; 0 passes the caller on, and where nobody comes the session goes on."""
    space: dict[str, Any] = {"__name__": "page"}
    exec(compile(blocks(PAGE)[0], str(PAGE), "exec"), space)
    application = space["app"]
    assert isinstance(application, Application)
    async with Gateway(config_on_free_ports(tmp_path), application=application) as running, RpcBrowser() as browser:
        await browser.sign_in(running)
        await browser.dial("700")
        await browser.status("talking")
        await browser.tone(440)
        await browser.ask("dtmf", peer_id="700", digit="0")
        async with asyncio.timeout(30):
            said = ""
            while "1001 does not come" not in said:
                await asyncio.sleep(0.02)
                said += capsys.readouterr().out
        assert running.active_calls == 1
        await browser.hang_up()
        await running.idle()


@pytest.mark.wall
def test_the_gateway_of_the_page_starts(tmp_path: Path) -> None:
    """As a reader would run it, from an empty folder."""
    program = tmp_path / "program.py"
    program.write_text(next(block for block in blocks(PAGE) if "loopback_config" in block))
    done = subprocess.run([sys.executable, str(program)], cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert re.match(r"http://127\.0\.0\.1:\d+/ 127\.0\.0\.1:\d+ \S{8,}\n", done.stdout)


async def test_the_sign_in_of_the_page_signs_in(tmp_path: Path) -> None:
    """By the header of a proxy; without it nobody is signed in."""
    [text] = [block for block in blocks(PAGE) if "@app.sign_in" in block]
    space: dict[str, Any] = {"__name__": "page"}
    exec(compile(text, str(PAGE), "exec"), space)
    async with (
        Gateway(config_on_free_ports(tmp_path), application=space["app"]) as running,
        httpx.AsyncClient() as http,
    ):
        url = f"{running.page_url}api/session/site"
        signed_in = await http.post(url, json={}, headers={"X-Authenticated-User": "alice"})
        assert (signed_in.status_code, signed_in.json()["user"]) == (200, "alice")
        assert (await http.post(url, json={})).status_code == 401
