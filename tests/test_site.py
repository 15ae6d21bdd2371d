"""The documentation's site builds without a warning, fetches nothing from elsewhere, and says what the code says."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from gateway.call.state import State
from gateway.web.rpc.table import METHODS
from tests import peers
from tests.public_api import names

ROOT = Path(__file__).parent.parent
FETCHED = re.compile(r"""<(?:script|img|link|iframe)[^>]*?(?:src|href)=["']?(?:https?:)?//[^>]*>|url\(["']?https?:""")
"""Markup and styles by which a browser fetches a file of somebody else."""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does; a broken link, a missing anchor or a page that is in no menu ends it."""
    if find_spec("mkdocs") is None:
        peers.missing("mkdocs", "the extra docs (pip install -e '.[docs]')")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=150, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return folder


@pytest.fixture
def served(site: Path) -> Iterator[str]:
    """The site's URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.timeout(200)
def test_every_page_is_there_and_asks_nobody_else_for_a_file(site: Path) -> None:
    """A page for each document and each lesson; no script, style, font or picture of another host."""
    documents = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").glob("**/*.md")]
    lessons = [path.parent.relative_to(ROOT) for path in (ROOT / "examples").glob("*/README.md")]
    wanted = [str(path.with_suffix(".html")).replace("README", "index") for path in documents]
    wanted += [f"{lesson}/index.html" for lesson in lessons]
    assert [page for page in wanted if not (site / page).is_file()] == []
    texts = [*site.glob("**/*.html"), *site.glob("**/*.css")]
    assert [str(path) for path in texts if FETCHED.search(path.read_text())] == []


def test_what_would_be_fetched_is_seen() -> None:
    """The pattern of the test above finds what it is for, and leaves links alone."""
    assert FETCHED.search('<script src="https://cdn.example/x.js">')
    assert FETCHED.search("<link rel=stylesheet href=//fonts.example/x.css>")
    assert FETCHED.search("@font-face{src:url(https://fonts.example/x)}")
    assert not FETCHED.search('<a href="https://www.rfc-editor.org/rfc/rfc3261">')


@pytest.mark.timeout(200)
def test_reference_pages_are_made_from_the_code(site: Path) -> None:
    """Every method, every public name and every state is there, and commands, paths and metrics are."""
    pages = {page.stem: page.read_text() for page in (site / "reference").glob("*.html")}
    assert [name for name in METHODS if f"<code>{name}</code>" not in pages["json-rpc"]] == []
    assert [name for name in names("gateway") if f">{name}<" not in pages["python"]] == []
    assert [state.value for state in State if f">{state.value}</text>" not in pages["states"]] == []
    assert "gateway sdp lint" in pages["commands"]
    assert "POST /webrtc/offer" in pages["openapi"]
    assert "<code>gateway_trunk_reachable</code>" in pages["metrics"]


def look(page: Page, served: str) -> str:
    """Read some pages and search; the colour that diagrams have."""
    asked: list[str] = []
    failed: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("response", lambda response: failed.append(response.url) if response.status >= 400 else None)
    for path in ("index.html", "calls.html", "reference/states.html"):
        page.goto(f"{served}/{path}", wait_until="networkidle")
    colour = str(page.evaluate("getComputedStyle(document.querySelector('svg.states > path')).stroke"))
    page.click("input[name=query]")
    page.locator("input[name=query]").press_sequentially("hears nothing")
    page.wait_for_selector(".md-search-result__link[href*=troubleshooting]", state="attached", timeout=60_000)
    assert [url for url in asked if not url.startswith((served, "data:", "blob:"))] == []
    assert failed == []
    return colour


@pytest.mark.timeout(200)
@pytest.mark.slow
@pytest.mark.browser
def test_pages_are_read_by_day_and_by_night_without_another_host(served: str) -> None:
    """In a Chromium: nothing leaves, nothing fails, diagrams are drawn in the colour of the text, and search finds."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=peers.chromium(), chromium_sandbox=False)
        light = look(browser.new_page(color_scheme="light"), served)
        dark = look(browser.new_page(color_scheme="dark"), served)
        browser.close()
    assert light != dark
