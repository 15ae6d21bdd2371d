"""Causes in both worlds' words."""

from __future__ import annotations

import pytest

from gateway.call.description import audio_codecs
from gateway.call.status import Cause, cause_of_status, cause_of_word


@pytest.mark.parametrize(
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


@pytest.mark.parametrize("status", [400, 500, 501, 502, 505, 513, 599])
def test_a_fault_of_the_other_side_is_not_said_to_be_ours(status: int) -> None:
    """Who reads it looks in the right place."""
    assert "gateway" not in cause_of_status(status).sentence


@pytest.mark.parametrize("status", [404, 480, 486, 487, 488, 603, 408])
def test_the_main_statuses_survive_the_way_there_and_back(status: int) -> None:
    """What a callee said by SIP is what a SIP caller is told."""
    assert cause_of_status(status).status == status


@pytest.mark.parametrize("cause", list(Cause))
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
