"""A real Chromium takes every offer and answer that the translator makes, over the whole corpus."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from sdp import (
    CodecPolicy,
    DataChannelPlan,
    Plan,
    SdpNegotiationError,
    SdpSyntaxError,
    SessionDescription,
    answer,
    negotiate,
    read_codecs,
    translate,
)
from sdp.extensions import TRANSPORT_CC
from tests import peers
from tests.rows import by_row
from tests.sdp.plans import PHONE_AUDIO, POLICY, browser_plan, corpus, described, phone_plan

pytestmark = [pytest.mark.wall, pytest.mark.timeout(300)]

ARGUMENTS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
]
SCRIPT = """
window.peers = {};
window.offer = async (name, kinds) => {
  const peer = window.peers[name] = new RTCPeerConnection();
  for (const kind of kinds) kind === 'data' ? peer.createDataChannel('d') : peer.addTransceiver(kind);
  await peer.setLocalDescription();
  return peer.localDescription.sdp;
};
window.takeAnswer = async (name, sdp) => {
  try { await window.peers[name].setRemoteDescription({type: 'answer', sdp}); return ''; }
  catch (error) { return String(error); }
};
window.takeOffer = async (name, sdp) => {
  const peer = window.peers[name] = window.peers[name] || new RTCPeerConnection();
  try {
    await peer.setRemoteDescription({type: 'offer', sdp});
    await peer.setLocalDescription();
    return ['', peer.localDescription.sdp];
  } catch (error) { return [String(error), '']; }
};
window.closePeer = (name) => { window.peers[name].close(); delete window.peers[name]; };
"""


KNOWN = {"opus", "g722", "pcmu", "pcma", "vp8", "vp9", "av1"}
"""Codecs that every Chromium has."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=peers.chromium(), args=ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A page for each test: one page may make only some hundreds of connections."""
    made = chromium.new_page()
    made.goto("about:blank")
    made.add_script_tag(content=SCRIPT)
    yield made
    made.close()


PLANS = {
    "transcoding": browser_plan(),
    "everything": browser_plan(
        codecs=CodecPolicy(),
        data_channel=DataChannelPlan(),
        extensions=(
            "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            "urn:ietf:params:rtp-hdrext:sdes:mid",
            TRANSPORT_CC,
        ),
    ),
    "counting": browser_plan(codecs=CodecPolicy(passes_feedback=False), own_extensions=(TRANSPORT_CC,)),
}


@by_row("plan", PLANS.values(), ids=PLANS.keys())
def test_chromium_takes_every_offer(page: Page, plan: Plan) -> None:
    """Each description of the corpus, offered to the browser; its answer is one that we can negotiate."""
    taken = 0
    for name, description in corpus():
        try:
            offer = translate(description, plan)
        except (SdpNegotiationError, SdpSyntaxError):
            continue
        error, text = page.evaluate("([name, sdp]) => takeOffer(name, sdp)", [name, str(offer)])
        assert not error, f"{name}: {error}\n{offer}"
        agreement = negotiate(offer, SessionDescription.parse(text), local="offerer")
        known = any(codec.key[0] in KNOWN for media in offer.media if media.port for codec in read_codecs(media))
        assert agreement.accepted or not known, name
        page.evaluate("name => closePeer(name)", name)
        taken += 1
    assert taken > 20


@by_row("plan", PLANS.values(), ids=PLANS.keys())
def test_chromium_takes_every_answer(page: Page, plan: Plan) -> None:
    """Each description of the corpus as the other side's answer to an offer of Chromium itself."""
    taken = 0
    for name, description in corpus():
        offer = parsed(page.evaluate("name => offer(name, ['audio', 'video', 'data', 'audio'])", name))
        try:
            made = translate(description, plan, offer=offer)
        except (SdpNegotiationError, SdpSyntaxError):
            page.evaluate("name => closePeer(name)", name)
            continue
        error = page.evaluate("([name, sdp]) => takeAnswer(name, sdp)", [name, str(made)])
        assert not error, f"{name}: {error}\n{made}"
        assert negotiate(offer, made, local="answerer").accepted
        page.evaluate("name => closePeer(name)", name)
        taken += 1
    assert taken > 20


@by_row("plan", PLANS.values(), ids=PLANS.keys())
@by_row("kinds", [["audio"], ["audio", "video"], ["video", "audio", "data"], ["audio", "audio"]])
def test_chromium_takes_early_answers(page: Page, plan: Plan, kinds: list[str]) -> None:
    """Made from its offer alone."""
    offer = parsed(page.evaluate("kinds => offer('early', kinds)", kinds))
    assert page.evaluate("sdp => takeAnswer('early', sdp)", str(answer(offer, plan))) == ""
    page.evaluate("closePeer('early')")


def test_chromium_takes_hold_resume_and_a_changed_codec(page: Page) -> None:
    """Re-offers in both directions keep mids, order, payload types and the DTLS role."""
    plan = browser_plan(codecs=POLICY)
    phone = described(PHONE_AUDIO)
    offer = parsed(page.evaluate("offer('life', ['audio', 'video'])"))
    current = translate(phone, plan, offer=offer)
    assert page.evaluate("sdp => takeAnswer('life', sdp)", str(current)) == ""
    roles = {negotiate(offer, current, local="answerer").media[0].dtls_role}
    for change in ("|a=sendonly", "|a=inactive", "", "|a=recvonly"):
        again = translate(described(PHONE_AUDIO + change), replace(plan, previous=current))
        error, text = page.evaluate("sdp => takeOffer('life', sdp)", str(again))
        assert not error, f"{error}\n{again}"
        roles.add(negotiate(again, parsed(text), local="offerer").media[0].dtls_role)
        offered: Any = page.evaluate(
            "async () => { await peers.life.setLocalDescription(await peers.life.createOffer());"
            " return peers.life.localDescription.sdp; }"
        )
        current = translate(described("m=audio 4000 RTP/AVP 0"), replace(plan, previous=again), offer=parsed(offered))
        assert page.evaluate("sdp => takeAnswer('life', sdp)", str(current)) == ""
        roles.add(negotiate(parsed(offered), current, local="answerer").media[0].dtls_role)
        assert [media.value("mid") for media in current.media] == [media.value("mid") for media in offer.media]
    page.evaluate("closePeer('life')")
    assert roles == {"passive"}


def test_chromiums_own_offer_reaches_a_phone(page: Page) -> None:
    """Whatever today's Chromium offers fits a datagram and leaks nothing."""
    offer = parsed(page.evaluate("offer('mine', ['audio', 'video', 'data'])"))
    page.evaluate("closePeer('mine')")
    made = translate(offer, phone_plan())
    assert len(bytes(made)) <= 1200
    assert [media.kind for media in made.media] == ["audio", "video"]
    for secret in ("ice-", "fingerprint", "extmap", "ssrc", "msid", ".local", "rtcp-fb", "apt="):
        assert secret not in str(made)


def parsed(text: str) -> SessionDescription:
    return SessionDescription.parse(text)
