"""A 2xx whose description our user judges before the call is its (RFC 3261 13.2.2.4)."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.sip.config import CoreConfig
from gateway.sip.invite.events import Answered, Ended
from gateway.sip.invite.outgoing import OutgoingSession
from gateway.sip.message import build
from gateway.sip.message.message import Request, Response
from gateway.testing.sip_peer import SessionLog
from tests.rows import by_row
from tests.sip.agents import ALICE, ANSWER, OFFER, Stage, answer, is_idle, stage_with_invite

OTHER = ANSWER.replace(b"5000", b"5002")
VIA = "SIP/2.0/UDP 192.0.2.2:5060;rport;branch=z9hG4bKbye"
REASON = 'SIP;cause=488;text="Not Acceptable Here"'


@dataclass
class Judged:
    """A call whose first answer waits for our user's judgement."""

    stage: Stage
    log: SessionLog
    session: OutgoingSession
    invite: Request

    @classmethod
    def begin(
        cls,
        *ringing: str,
        body: bytes = OFFER,
        preview: bytes = b"",
        headers: build.Fields = (),
        config: CoreConfig | None = None,
    ) -> Judged:
        """Have the branches of these tags ring, one `shown` with a `preview`, and one of tag `first` answer."""
        stage, log, session, invite = stage_with_invite(body=body, config=config)
        for tag in ringing:
            stage.send(answer(invite, 180, tag=tag))
        if preview:
            stage.send(answer(invite, 183, tag="shown", body=preview))
        log._react = lambda event: session.judge_answer() if isinstance(event, Answered) else None
        judged = cls(stage, log, session, invite)
        stage.puppet.react = judged.react
        stage.send(answer(invite, 200, tag="first", body=ANSWER, headers=headers))
        return judged

    def react(self, message: Request | Response) -> None:
        """Answer each BYE."""
        if isinstance(message, Request) and message.method == "BYE":
            self.stage.puppet.send(answer(message, 200), ALICE)

    def answers(self, tag: str, body: bytes = OTHER) -> None:
        self.stage.send(answer(self.invite, 200, tag=tag, body=body))

    def hangs_up(self, tag: str) -> None:
        """Send a BYE from that branch."""
        there, us = self.invite.to.with_tag(tag), self.invite.from_
        bye = build.request("BYE", us.uri, from_=there, to=us, call_id=self.invite.call_id, cseq=1)
        self.stage.send(bye.with_headers(bye.headers.prepend("Via", VIA)))

    @property
    def requests(self) -> list[tuple[str, str | None]]:
        """Method and branch of each request that the callees have got since; takes them."""
        self.stage.run()
        return [(one.method, one.to_tag) for one in self.stage.puppet.take() if isinstance(one, Request)]


def test_no_other_branch_is_ended_before_the_first_answer_is_judged() -> None:
    """A 2xx that comes meanwhile, and again, is neither acknowledged nor hung up; the first has its ACK."""
    call = Judged.begin("ringing")
    assert call.requests == [("ACK", "first")]
    for _ in range(2):
        call.answers("second")
    assert call.requests == []
    call.session.keep_answer()
    assert call.requests == [("ACK", "second"), ("BYE", "second")]
    call.hangs_up("ringing")
    assert call.stage.puppet.statuses() == [481]
    call.answers("ringing")
    assert call.requests == [("ACK", "ringing"), ("BYE", "ringing")]
    call.answers("first")
    assert call.requests == [("ACK", "first")]
    assert call.log.of(Answered) == [Answered(ANSWER, 1)]
    assert call.session.is_confirmed


@by_row("offers", [True, False])
@by_row("rings, is_early", [(True, True), (True, False), (False, True)])
def test_a_refused_answer_gives_the_call_to_the_next(rings: bool, is_early: bool, offers: bool) -> None:
    """The first branch gets its ACK and a BYE; the next has answered before the judgement, or rings until after it."""
    call = Judged.begin(*(("second",) if rings else ()), body=OFFER if offers else b"")
    if is_early:
        call.answers("second")
    assert call.session.refuse_answer(488, REASON)
    assert call.requests[:2] == [("ACK", "first"), ("BYE", "first")]
    if not is_early:
        call.answers("second")
    assert call.log.of(Answered) == [Answered(ANSWER, 1, not offers), Answered(OTHER, 1, not offers)]
    if not offers:
        call.session.answer_offer(1, OFFER)
    call.session.keep_answer()
    call.stage.run(40)
    assert call.session.remote_body == OTHER
    call.session.hangup()
    assert call.requests[-1] == ("BYE", "second")
    assert [type(one) for one in call.log.events[-2:]] == [Answered, Ended]


def test_a_description_shown_before_a_refused_answer_stands_behind_it() -> None:
    """The 2xx of its branch need not repeat it, and our user gets it once more."""
    call = Judged.begin("first", preview=OTHER)
    assert call.session.remote_body == ANSWER
    call.session.refuse_answer(488)
    assert call.session.remote_body == OTHER
    call.answers("shown", b"")
    assert call.log.events[-1] == Answered(OTHER, 1)


def test_the_session_timer_of_a_refused_answer_ends_with_it() -> None:
    """An interval of 90 s would expire after 60 s, and say so in the place of the refusal."""
    headers, config = (("Session-Expires", "90;refresher=uas"),), CoreConfig(other_answers=100.0)
    call = Judged.begin("second", headers=headers, config=config)
    call.stage.run(30)
    call.session.refuse_answer(488)
    call.stage.run(33)
    assert call.log.of(Ended) == [Ended("timeout", 488)]


def test_the_bye_of_a_refused_answer_names_the_reason() -> None:
    """Reason, RFC 3326."""
    call = Judged.begin("second")
    call.session.refuse_answer(488, REASON)
    call.stage.run()
    [bye] = call.stage.requests("BYE")
    assert bye.headers.get("Reason") == REASON


@by_row("wait, seconds", [(5.0, 5.0), (100.0, 32.0)])
def test_a_call_whose_only_answer_is_refused_waits_for_another(wait: float, seconds: float) -> None:
    """For as long as is set, and for 64*T1 at most; `Ended` carries the status of the refusal, and nothing is left."""
    call = Judged.begin("ringing", config=CoreConfig(other_answers=wait))
    assert call.session.refuse_answer(488)
    call.stage.run(seconds - 0.5)
    assert call.log.of(Ended) == []
    call.stage.run(1)
    assert call.log.events[-1] == Ended("timeout", 488)
    assert call.requests == [("ACK", "first"), ("BYE", "first")]
    call.stage.run(70)
    assert is_idle(call.stage.agent.core)


def test_where_nobody_else_may_answer_the_call_has_to_be_ended() -> None:
    """Neither before an answer nor behind the end of the call is there one to refuse, or to wait for."""
    call = Judged.begin()
    assert not call.session.refuse_answer(488)
    call.session.hangup()
    assert not call.session.refuse_answer(488)
    assert call.requests == [("ACK", "first"), ("BYE", "first")]


def test_a_hangup_before_the_judgement_ends_each_branch_that_answered() -> None:
    """No callee talks to nobody."""
    call = Judged.begin()
    call.answers("second")
    call.session.hangup()
    assert sorted(call.requests) == [("ACK", "first"), ("ACK", "second"), ("BYE", "first"), ("BYE", "second")]
    assert [type(one) for one in call.log.events] == [Answered, Ended]


def test_answers_beyond_the_bound_of_branches_are_counted_alone() -> None:
    """One INVITE makes 128 dialogs at most."""
    call = Judged.begin()
    call.session.keep_answer()
    for number in range(127):
        call.answers(f"t{number}")
    assert call.requests[-1] == ("BYE", "t126")
    call.answers("more")
    assert [one for one in call.requests if one[1] == "more"] == []
    assert call.stage.agent.core.counts["2xx of too many branches"] == 1
    assert call.session.is_confirmed
