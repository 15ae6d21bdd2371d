"""Lint's verdict on a browser's offer is Chromium's own verdict."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, sync_playwright

from sdp import SessionDescription
from sdp.lint import Severity, lint
from tests import peers
from tests.rows import by_row
from tests.sdp import corpus
from tests.sdp.lint_cases import BROWSER, CASES

pytestmark = pytest.mark.wall

SCRIPT = """async (sdp) => {
  const peer = new RTCPeerConnection();
  try {
    await peer.setRemoteDescription({type: 'offer', sdp});
    await peer.setLocalDescription(await peer.createAnswer());
    return '';
  } catch (error) {
    return String(error);
  } finally {
    peer.close();
  }
}"""
OFFERS = [(code, text.replace(old, new)) for code, text, old, new, _ in CASES if text is BROWSER]


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=peers.chromium(), args=["--no-sandbox"])
        opened = browser.new_page()
        opened.goto("about:blank")
        yield opened
        browser.close()


def refusal(page: Page, text: str) -> str:
    """What Chromium says against an offer; "" where it takes it."""
    return str(page.evaluate(SCRIPT, str(SessionDescription.parse(text))))


def has_error(text: str | bytes) -> bool:
    return any(finding.severity is Severity.ERROR for finding in lint(text))


def test_chromium_takes_the_clean_offer(page: Page) -> None:
    """What has no finding is taken."""
    assert refusal(page, BROWSER) == ""


@by_row(("code", "text"), OFFERS, ids=[f"{code} {number}" for number, (code, _) in enumerate(OFFERS)])
def test_an_error_is_what_chromium_refuses(page: Page, code: str, text: str) -> None:
    """It refuses what lint calls an error, and takes what lint only warns about."""
    said = refusal(page, text)
    assert bool(said) == has_error(text), (code, said)


def test_chromium_and_lint_agree_on_what_products_offer(page: Page) -> None:
    """Over our own descriptions of browsers and gateways."""
    agreed = 0
    for path in corpus.own():
        text = path.read_bytes().decode()
        media = SessionDescription.parse(text).media
        if "answer" in path.stem or not any("TLS/RTP/SAVPF" in m.protocol or "SCTP" in m.protocol for m in media):
            continue
        said = refusal(page, text)
        assert bool(said) == has_error(text), (path.name, said)
        agreed += 1
    assert agreed >= 14
