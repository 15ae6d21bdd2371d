"""Causes in both worlds' words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import gateway.web
from gateway.call.description import audio_codecs
from gateway.call.status import Cause, cause_of_status, cause_of_word
from gateway.sip.message.build import PHRASES
from tests.rows import by_row

STATIC = Path(gateway.web.__file__).parent / "static"


@by_row(
    ("status", "cause"),
    [
        (404, Cause.NOT_FOUND),
        (480, Cause.UNAVAILABLE),
        (486, Cause.BUSY),
        (487, Cause.CANCELLED),
        (488, Cause.NOT_ACCEPTABLE),
        (603, Cause.DECLINED),
        (408, Cause.NO_ANSWER),
        (600, Cause.BUSY),
        (302, Cause.UNAVAILABLE),
        (499, Cause.UNAVAILABLE),
        (503, Cause.UNREACHABLE),
        (500, Cause.PEER_ERROR),
        (599, Cause.PEER_ERROR),
        (699, Cause.DECLINED),
        (200, Cause.NORMAL),
    ],
)
def test_a_sip_status_has_a_cause(status: int, cause: Cause) -> None:
    """The issue's seven both ways, other codes by their class."""
    assert cause_of_status(status) is cause


@by_row("status", [400, 500, 501, 502, 505, 513, 599])
def test_a_fault_of_the_other_side_is_not_said_to_be_ours(status: int) -> None:
    """Who reads it looks in the right place."""
    assert "gateway" not in cause_of_status(status).sentence


@by_row("status", [404, 480, 486, 487, 488, 603, 408])
def test_the_main_statuses_survive_the_way_there_and_back(status: int) -> None:
    """What a callee said by SIP is what a SIP caller is told."""
    assert cause_of_status(status).status == status


@by_row("cause", list(Cause))
def test_a_word_names_its_cause(cause: Cause) -> None:
    """Front ends say the word, and get the cause back."""
    assert cause_of_word(cause.word) is cause


def test_an_unknown_word_is_the_default() -> None:
    """A front end may say anything."""
    assert cause_of_word("nonsense", Cause.DECLINED) is Cause.DECLINED
    assert cause_of_word(None) is Cause.NORMAL


def test_the_codecs_of_an_answer_are_named_best_first() -> None:
    """Static types need no rtpmap, telephone-event is no codec, rejected lines say nothing."""
    lines = ["v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=-", "t=0 0", "m=audio 0 RTP/AVP 0", "m=audio 4 RTP/AVP 96 9 8 101"]
    lines += ["a=rtpmap:96 opus/48000/2", "a=rtpmap:101 telephone-event/8000", ""]
    assert audio_codecs("\r\n".join(lines)) == ("opus", "g722", "pcma")
    assert audio_codecs("nonsense") == ()


HEARD = {
    Cause.PEER_ERROR: {400, 413, 414, 422, 500, 501, 502, 505, 513},
    Cause.FORBIDDEN: {401, 402, 403, 407, 428, 429, 433, 436, 437, 438},
    Cause.NOT_FOUND: {404, 410, 416, 484, 485, 604},
    Cause.NOT_ACCEPTABLE: {405, 406, 415, 420, 421, 488, 493, 494, 580, 606},
    Cause.NO_ANSWER: {408, 504},
    Cause.UNREACHABLE: {430, 482, 483, 503},
    Cause.UNAVAILABLE: {300, 301, 302, 305, 380, 412, 417, 423, 424, 439, 469, 470, 480, 489},
    Cause.BUSY: {486, 600},
    Cause.DECLINED: {603, 607, 608},
    Cause.CANCELLED: {487},
    Cause.GLARE: {491},
    Cause.NORMAL: {481},
}
"""What each registered final response to an INVITE (IANA, SIP parameters) is to whoever called."""
REGISTERED = {status: cause for cause, statuses in HEARD.items() for status in statuses}


@by_row("status", sorted(REGISTERED))
def test_every_registered_failure_has_a_cause_that_is_right_for_it(status: int) -> None:
    """One row each, so that none is taken for another by its class alone."""
    assert cause_of_status(status) is REGISTERED[status]


@by_row("status", range(300, 700))
def test_whatever_a_callee_answers_is_a_sentence_for_people_and_a_failure_for_phones(status: int) -> None:
    """Also what nobody has registered; a caller never hears success for it, nor that it is to authenticate to us."""
    cause = cause_of_status(status)
    assert cause.sentence.endswith(".")
    assert cause.sentence[0].isupper()
    assert cause_of_word(cause.word) is cause
    if cause is not Cause.NORMAL:
        assert 400 <= cause.status < 700
        assert cause.status not in (401, 407)
    assert (cause.status >= 600) is (cause is Cause.DECLINED)


def test_every_registered_phrase_is_in_the_table() -> None:
    """What the core can say, it can hear."""
    assert {status for status in PHRASES if status >= 300} <= set(REGISTERED)


@pytest.mark.parametrize("language", ["en", "de"])
def test_the_page_has_a_sentence_for_every_cause(language: str) -> None:
    """In each of its languages, under the cause's word."""
    words = (STATIC / f"words.{language}.js").read_text(encoding="utf-8")
    said = dict(re.findall(r'^    "?([a-z-]+)"?: "([^"]*)"', words, re.MULTILINE))
    for cause in Cause:
        assert said.get(cause.word, "").endswith((".", "!")), cause.word
