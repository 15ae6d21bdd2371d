"""The documentation's site builds without a warning, fetches nothing from elsewhere, and says what the code says."""

from __future__ import annotations

import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import Page, sync_playwright

from gateway.call.state import State
from gateway.web.app import create_app
from gateway.web.rpc.table import METHODS
from scripts.site import pictures
from tests import peers
from tests.public_api import PACKAGES, names
from tests.web.fake import FakeGateway

pytestmark = pytest.mark.wall

ROOT = Path(__file__).parent.parent
FETCHED = re.compile(r"""<(?:script|img|link|iframe)[^>]*?(?:src|href)=["']?(?:https?:)?//[^>]*>|url\(["']?https?:""")
"""Markup and styles by which a browser fetches a file of somebody else."""


LADDERS = (
    *("02_creating_messages", "03_sip_dialog", "05_authentication", "06_advanced_routing", "08_sip_client"),
    *("09_webrtc_integration", "10_pbx_trunk", "11_jssip_softphone", "13_conference", "14_many_gateways"),
)
"""Lessons whose idea is a picture with lines."""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def build(top: Path, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Build the site of the checkout at `top` with the very words of `make docs`."""
    if find_spec("mkdocs") is None:
        peers.missing("mkdocs", "the extra docs (pip install -e '.[docs]')")
    [words] = re.findall(r"/mkdocs (build.*)", (ROOT / "Makefile").read_text())
    command = [sys.executable, "-m", "mkdocs", *shlex.split(words), *options, "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(top)}
    return subprocess.run(command, cwd=top, env=environment, capture_output=True, text=True, timeout=150, check=False)


def warnings(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What it warned of."""
    return re.findall(r"^(?:WARNING|ERROR) +-  (.*)", done.stderr, re.MULTILINE)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does; a broken link, a missing anchor or a page that is in no menu ends it."""
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT, folder)
    assert (done.returncode, warnings(done)) == (0, []), done.stderr
    return folder


@pytest.mark.timeout(200)
def test_a_link_that_leads_nowhere_ends_the_build(tmp_path: Path) -> None:
    """In docs, README, a lesson and the changes, by file and by anchor: each is named, and the status is 1."""
    top = tmp_path / "checkout"
    top.mkdir()
    copied = {"docs", "examples", "scripts", "README.md", "CHANGELOG.md", "mkdocs.yml"}
    for path in ROOT.iterdir():
        if path.name not in copied:
            (top / path.name).symlink_to(path)
        elif path.is_dir():
            shutil.copytree(path, top / path.name)
        else:
            shutil.copy(path, top)
    planted = {
        "docs/recording.md": ("api.md#nowhere", "recording.md"),
        "README.md": ("docs/nowhere.md", "readme.md"),
        "CHANGELOG.md": ("docs/api.md#nowhere", "changelog.md"),
        "examples/01_basic_parsing/README.md": ("#nowhere", "examples/01_basic_parsing/README.md"),
    }
    for name, (target, _) in planted.items():
        with (top / name).open("a") as document:
            document.write(f"\n\n[bad]({target})\n")
    # Without what draws and what reads code, which takes its time and judges no link.
    (top / "links.yml").write_text("INHERIT: mkdocs.yml\nplugins: []\ntheme: {name: mkdocs}\n")
    done = build(top, tmp_path / "site", "--config-file", "links.yml")
    said = warnings(done)
    assert (done.returncode, len(said)) == (1, len(planted)), done.stderr
    for target, page in planted.values():
        assert [one for one in said if f"'{page}'" in one and target.rpartition("/")[2] in one], (page, said)


class Links(HTMLParser):
    """What a page leads to, and the places in it that can be led to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets: set[str] = set()
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Links of all kinds; names and ids."""
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.targets.add(value)
            elif name == "id" or (tag == "a" and name == "name"):
                self.places.add(value or "")


def astray(site: Path) -> list[str]:
    """Links of its pages that lead to no file of it, or to no place in one; markup within Markdown is read, too."""
    html = [page for page in site.glob("**/*.html") if page.name != "404.html" and site / "files" not in page.parents]
    pages = {page: Links(page.read_text()) for page in html}
    found = []
    for page, links in pages.items():
        for target in links.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            file = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            file = file / "index.html" if file.is_dir() else file
            anchor = unquote(parts.fragment)
            there = file.is_file() and (not anchor or file not in pages or anchor in pages[file].places)
            if not there and not anchor.startswith("__"):  # these are of the theme's own switches
                found.append(f"{page.relative_to(site)}: {target}")
    return found


@pytest.mark.timeout(200)
def test_every_link_of_the_pages_leads_somewhere(site: Path, tmp_path: Path) -> None:
    """As a browser reads them; and a bad one is seen."""
    assert astray(site.resolve()) == []
    (tmp_path / "index.html").write_text('<a href="none.html"></a><a href="#none"></a><a href="#some" id="some"></a>')
    assert sorted(astray(tmp_path)) == ["index.html: #none", "index.html: none.html"]


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


def under(page: str, level: str) -> dict[str, str]:
    """Parts of a page by their headings of that level."""
    parts = re.split(rf"<{level} [^>]*>", page)[1:]
    return {re.sub(r"<[^>]*>|&para;|¶", "", part.partition(f"</{level}>")[0]).strip(): part for part in parts}


PICTURE = """
 caller           phone
   |  INVITE   +----+ |
   |---------->| ok | |
   |           +----+ |   7 + 8
   |<==== sound =====>|
   v                  |
 --no-option
"""


def test_a_picture_of_text_becomes_lines_and_words() -> None:
    """Each arrow has its tip, words stay where they are, and a block with a language or without lines is left alone."""
    page = f"```\n{PICTURE}```\n"
    svg = pictures.drawn(page)
    words = re.findall(r'<text class="w"[^>]*>([^<]*)</text>', svg)
    assert words == ["caller", "phone", "INVITE", "ok", "7 + 8", "sound", "--no-option"]
    assert svg.count("url(#tip)") == 4
    assert svg.count('class="d"') == 2
    for kept in (page.replace("```\n", "```text\n", 1), "```\n--option\na | b\na | b\n```\n"):
        assert pictures.drawn(kept) == kept


@pytest.mark.timeout(200)
def test_pictures_of_the_pages_are_drawn(site: Path) -> None:
    """The house, a packet's way and the lessons' ladders, in the colour of the text."""
    names = ["architecture.html", "packet.html", *(f"examples/{name}/index.html" for name in LADDERS)]
    assert [name for name in names if '<text class="w"' not in (site / name).read_text()] == []


@pytest.mark.timeout(200)
def test_reference_pages_are_made_from_the_code(site: Path) -> None:
    """Every method, public name, state, metric, path and body is there."""
    pages = {page.stem: page.read_text() for page in (site / "reference").glob("*.html")}
    assert [name for name in METHODS if f"<code>{name}</code>" not in pages["json-rpc"]] == []
    packages = under(pages["python"], "h2")
    public = {package: names(package) for package in PACKAGES if package != "gateway.sdp"}
    missing = [(package, name) for package, each in public.items() for name in each
               if not re.search(rf">\s*{name}\s*<", packages[package])]  # fmt: skip
    assert missing == []
    assert [state.value for state in State if f">{state.value}</text>" not in pages["states"]] == []
    assert "gateway sdp lint" in pages["commands"]
    code = "".join(path.read_text() for path in (ROOT / "gateway").glob("**/*metrics*.py"))
    metrics = set(re.findall(r"<code>(gateway_\w+)</code>", pages["metrics"]))
    counted = set(re.findall(r"""["'](gateway_\w+)["']""", code))
    assert len(counted) > 20
    assert [name for name in counted if not metrics & {name, f"{name}_total"}] == []


@pytest.mark.timeout(200)
def test_the_reference_says_what_is_sent_and_answered(site: Path) -> None:
    """Each path names its bodies, and each body its fields: as `/openapi.json` has them."""
    page = (site / "reference" / "openapi.html").read_text()
    described = create_app(FakeGateway()).openapi()
    paths, bodies = under(page, "h2"), under(page, "h3")
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            told = paths[f"{method.upper()} {path}"]
            for name in re.findall(r"#/components/schemas/(\w+)", str(operation)):
                assert f'href="#{name.lower()}">{name}</a>' in told, (method, path, name)
    for name, schema in described["components"]["schemas"].items():
        missing = [field for field in schema.get("properties", {}) if f"<code>{field}</code>" not in bodies[name]]
        assert missing == [], name


def look(page: Page, served: str) -> str:
    """Read some pages and search; the colour that diagrams have."""
    asked: list[str] = []
    failed: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("response", lambda response: failed.append(response.url) if response.status >= 400 else None)
    for path in ("index.html", "calls.html", "reference/states.html"):
        page.goto(f"{served}/{path}", wait_until="networkidle")
    colour = str(page.evaluate("getComputedStyle(document.querySelector('svg.states > path')).stroke"))
    search(page)
    assert [url for url in asked if not url.startswith((served, "data:", "blob:"))] == []
    assert failed == []
    return colour


def search(page: Page) -> None:
    """Type what the page of troubleshooting has, and wait until it is found."""
    page.click("input[name=query]")
    page.locator("input[name=query]").press_sequentially("hears nothing")
    page.wait_for_selector(".md-search-result__link[href*=troubleshooting]", state="attached", timeout=60_000)


CUT = "blocks => [...document.querySelectorAll(blocks)].map(one => one.scrollWidth > one.clientWidth + 1)"
"""Whether a part of it is scrolled out of sight, for each block of code."""
WIDE = {"readme.html", "guides.html", "examples/05_authentication/index.html"}


@pytest.mark.wall
@pytest.mark.parametrize(("width", "blocks", "also"), [(1280, "pre > code", WIDE), (390, ".language-sh code", set())])
def test_no_line_is_scrolled_out_of_sight(site: Path, width: int, blocks: str, also: set[str]) -> None:
    """On a laptop; on a phone the comments behind commands go on in the next line."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=peers.chromium(), chromium_sandbox=False)
        page = browser.new_page(viewport={"width": width, "height": 800})
        for name in {"index.html", "troubleshooting.html", "deployment.html"} | also:
            page.goto((site / name).as_uri())
            cut = page.evaluate(CUT, blocks)
            assert (bool(cut), sum(cut)) == (True, 0), name
        browser.close()


@pytest.mark.timeout(200)
@pytest.mark.wall
def test_pages_are_read_by_day_and_by_night_without_another_host(site: Path, served: str) -> None:
    """In a Chromium: nothing leaves, nothing fails, diagrams are drawn in the colour of the text; search finds, and
    it does so in the folder that `make docs` says to open, too."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=peers.chromium(), chromium_sandbox=False)
        light = look(browser.new_page(color_scheme="light"), served)
        dark = look(browser.new_page(color_scheme="dark"), served)
        folder = browser.new_page()
        wrong: list[str] = []
        folder.on("pageerror", lambda error: wrong.append(str(error)))
        folder.on("request", lambda request: wrong.append(request.url) if request.url.startswith("http") else None)
        folder.goto((site / "index.html").as_uri())
        search(folder)
        browser.close()
    assert wrong == []
    assert light != dark
