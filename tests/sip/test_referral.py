"""REFER in a dialog, and the subscription that it makes (RFC 3515, 4488, 6665)."""

from __future__ import annotations

import pytest

from gateway.sip.config import CoreConfig
from gateway.sip.message.message import Request, Response
from gateway.sip.subscription.referral import Referral, Referred
from gateway.sip.subscription.states import TABLE, NotifierAction, NotifierInput, NotifierState
from gateway.testing.sip_peer import SessionLog
from tests.rows import by_row
from tests.sip.agents import PuppetCall, Stage, answer, answered_call, is_idle

TO = ("Refer-To", "<sip:carol@example.com>")


class Referring:
    """A confirmed call of the puppet, which refers."""

    def __init__(self, config: CoreConfig | None = None) -> None:
        self.stage = Stage(config)
        self.caller, self.session, self.log = answered_call(self.stage)

    def refer(self, *headers: tuple[str, str]) -> Referral:
        """The application's handle on a REFER."""
        self.caller.next("REFER", headers=headers or (TO,))
        return self.log.of(Referred)[-1].referral

    def notifies(self, status: int | None = 200) -> list[tuple[str, str, str]]:
        """(Event, Subscription-State, status line) of the NOTIFYs that came, which the puppet answers."""
        told = []
        for message in self.stage.puppet.take():
            if isinstance(message, Request) and message.method == "NOTIFY":
                event, state = message.headers.get("Event"), message.headers.get("Subscription-State")
                told.append((event or "", state or "", message.body.decode().strip()))
                if status is not None:
                    self.stage.send(answer(message, status))
        return told

    def statuses(self) -> list[int]:
        return [one.status for one in self.stage.puppet.received if isinstance(one, Response)]


def test_a_refer_is_accepted_and_its_progress_told_until_the_end() -> None:
    """202, "100 Trying" at once, then what the application says; the last NOTIFY ends the subscription."""
    rig = Referring()
    referral = rig.refer()
    assert str(referral.target) == "sip:carol@example.com"
    referral.accept()
    referral.refuse(403)  # too late
    rig.stage.run()
    assert rig.statuses() == [202]
    assert rig.notifies() == [("refer", "active;expires=180", "SIP/2.0 100 Trying")]
    referral.progress(180)
    rig.stage.run()
    assert rig.notifies() == [("refer", "active;expires=180", "SIP/2.0 180 Ringing")]
    referral.finish(200)
    told: list[bool] = []
    referral.when_told(lambda: told.append(True))
    rig.stage.run()
    assert not told
    assert rig.notifies() == [("refer", "terminated;reason=noresource", "SIP/2.0 200 OK")]
    assert told
    referral.progress(180)
    rig.stage.run()
    assert rig.notifies() == []
    rig.session.hangup()
    rig.stage.run()
    [bye] = rig.stage.requests("BYE")
    rig.stage.send(answer(bye, 200))
    rig.stage.run(40)
    assert is_idle(rig.stage.agent.core)


def test_one_notify_at_a_time_and_only_the_latest_news() -> None:
    """What changes while a NOTIFY is not answered is told once, as it stands then (RFC 6665 section 4.2.2)."""
    rig = Referring()
    referral = rig.refer()
    referral.accept()
    referral.progress(180)
    referral.progress(183)
    rig.stage.run()
    assert [line for _, _, line in rig.notifies()] == ["SIP/2.0 100 Trying"]
    assert [line for _, _, line in rig.notifies()] == ["SIP/2.0 183 Session Progress"]
    assert rig.notifies() == []


def test_who_wants_no_subscription_gets_none() -> None:
    """Refer-Sub: false is granted and said so (RFC 4488 section 4)."""
    rig = Referring()
    referral = rig.refer(TO, ("Refer-Sub", "false"), ("Require", "norefersub"))
    referral.accept()
    rig.stage.run()
    [response] = [one for one in rig.stage.puppet.take() if isinstance(one, Response)]
    assert response.status == 202
    assert response.headers.get("Refer-Sub") == "false"
    referral.finish(200)
    rig.stage.run()
    assert rig.notifies() == []


def test_a_refused_refer_has_no_notify() -> None:
    """The refusal is all that is said, whatever the application says later."""
    rig = Referring()
    referral = rig.refer()
    referral.refuse(403)
    referral.accept()
    referral.finish(200)
    rig.stage.run()
    assert rig.statuses() == [403]
    assert rig.notifies() == []


@by_row(
    ("headers", "status"),
    [
        ((), 400),
        ((("Refer-To", "<mailto:carol@example.com>"),), 416),
        ((("Refer-To", "<sip:carol@example.com;method=BYE>"),), 603),
        ((("Refer-To", "<sip:carol@example.com?Replaces=nothing>"),), 400),
        ((("Refer-To", "<sip:carol@example.com"),), 400),
        ((TO, TO), 400),
    ],
)
def test_a_refer_that_cannot_be_done_is_refused_at_once(headers: tuple[tuple[str, str], ...], status: int) -> None:
    """The application never hears of it, and the call goes on."""
    rig = Referring()
    rig.caller.next("REFER", headers=headers)
    assert rig.statuses() == [status]
    assert not rig.log.of(Referred)
    assert rig.session.is_confirmed


def test_the_dialog_to_take_the_place_of_is_read_from_the_target() -> None:
    """An attended transfer (RFC 3891 section 2): Replaces is escaped in the URI."""
    rig = Referring()
    referral = rig.refer(("Refer-To", "<sip:carol@example.com?Replaces=x%40y%3Bto-tag%3Da%3Bfrom-tag%3Db>"))
    assert referral.replaces is not None
    assert (referral.replaces.call_id, referral.replaces.to_tag, referral.replaces.from_tag) == ("x@y", "a", "b")
    assert str(referral.target) == "sip:carol@example.com"


def test_a_second_refer_has_a_subscription_of_its_own() -> None:
    """Its NOTIFYs name the CSeq of their REFER (RFC 3515 section 2.4.6)."""
    rig = Referring()
    first, second = rig.refer(), rig.refer()
    first.accept()
    second.accept()
    rig.stage.run()
    assert [event for event, _, _ in rig.notifies()] == ["refer", f"refer;id={rig.caller.cseq}"]


def test_news_go_on_after_the_call_is_over() -> None:
    """A dialog lives until its last usage has left it (RFC 5057): who referred hangs up and still hears the outcome."""
    rig = Referring()
    referral = rig.refer()
    referral.accept()
    rig.caller.next("BYE")
    rig.stage.run()
    rig.notifies()
    referral.finish(486)
    rig.stage.run()
    assert rig.notifies() == [("refer", "terminated;reason=noresource", "SIP/2.0 486 Busy Here")]
    rig.caller.next("BYE")
    rig.stage.run(40)
    assert rig.statuses() == [481]
    assert is_idle(rig.stage.agent.core)


@pytest.mark.parametrize("status", [481, None])
def test_who_does_not_take_a_notify_hears_no_more(status: int | None) -> None:
    """A refused or unanswered NOTIFY ends the subscription (RFC 6665 section 4.2.2), not the call."""
    rig = Referring()
    referral = rig.refer()
    referral.accept()
    rig.stage.run()
    rig.notifies(status)
    rig.stage.run(40)
    rig.stage.puppet.take()
    told: list[bool] = []
    referral.when_told(lambda: told.append(True))
    assert told
    referral.finish(200)
    rig.stage.run()
    assert rig.notifies() == []
    assert rig.session.is_confirmed


@pytest.mark.parametrize("status", [481, None])
def test_who_refers_hangs_up_and_is_gone_leaves_nothing(status: int | None) -> None:
    """The NOTIFY is refused, or tried in vain for 64*T1: the dialog that it was the last of is over then."""
    rig = Referring()
    referral = rig.refer()
    referral.accept()
    rig.stage.run()
    rig.notifies()
    rig.caller.next("BYE")
    rig.stage.puppet.take()
    referral.progress(180)
    rig.stage.run()
    assert len(rig.notifies(status)) == 1
    rig.stage.run(33)
    rig.stage.puppet.take()
    referral.finish(200)
    rig.stage.run(70)
    assert rig.notifies() == []
    assert is_idle(rig.stage.agent.core)
    assert rig.stage.agent.core.deadline() is None


def test_a_subscription_ends_in_its_time() -> None:
    """When nothing becomes of it the last NOTIFY says so."""
    rig = Referring(CoreConfig(referral_time=60))
    rig.refer().accept()
    rig.stage.run()
    rig.notifies()
    rig.stage.run(59.9)
    assert rig.notifies() == [("refer", "terminated;reason=timeout", "SIP/2.0 100 Trying")]


def test_an_unanswered_refer_is_answered_for_its_application() -> None:
    """500 before the peer's own time is over."""
    rig = Referring()
    referral = rig.refer()
    rig.stage.run(31)
    referral.accept()
    assert rig.statuses() == [500]


@by_row(
    ("event", "expires", "answered", "state"),
    [
        ("refer", "30", 200, "active;expires=30"),
        ("refer", "3600", 200, "active;expires=180"),
        ("refer", "0", 200, "terminated;reason=timeout"),
        ("refer;id=7", "30", 481, None),
        ("presence", "30", 481, None),
    ],
)
def test_its_subscriber_may_refresh_or_end_it(event: str, expires: str, answered: int, state: str | None) -> None:
    """A SUBSCRIBE in the dialog is answered by a NOTIFY; for what is not subscribed to there is none."""
    rig = Referring()
    rig.refer().accept()
    rig.stage.run()
    rig.notifies()
    rig.caller.next("SUBSCRIBE", headers=(("Event", event), ("Expires", expires)))
    rig.stage.run()
    assert rig.statuses() == [answered]
    assert [each for _, each, _ in rig.notifies()] == ([] if state is None else [state])


def test_refer_is_for_answered_calls_only() -> None:
    """Before the answer there is nobody to be passed on."""
    stage = Stage()
    stage.agent.on_call = lambda session, log: session.ring()  # type: ignore[attr-defined]
    caller = PuppetCall(stage)
    [ringing] = [one for one in stage.puppet.take() if isinstance(one, Response) and one.status == 180]
    caller.next("REFER", headers=(TO,), remote=ringing.to)
    assert stage.puppet.statuses() == [491]
    [log] = stage.agent.calls
    assert isinstance(log, SessionLog)
    assert not log.of(Referred)


@pytest.mark.parametrize(("event", "status"), [("refer", 403), ("presence", 489)])
def test_no_package_is_served_outside_a_dialog(event: str, status: int) -> None:
    """The package of REFER is subscribed to by REFER alone (RFC 3515 section 2.4.4)."""
    stage = Stage()
    other = PuppetCall(stage, call_id="c9")
    stage.puppet.take()
    other.next("SUBSCRIBE", headers=(("Event", event),), call_id="c10")
    assert stage.puppet.statuses() == [status]


def test_the_table_leads_every_state_to_its_end() -> None:
    """From every state that is not the end a NOTIFY that fails, or a refusal, leads there."""
    for state in NotifierState:
        if state is NotifierState.GONE:
            assert not [key for key in TABLE if key[0] is state]
        else:
            assert [row for key, row in TABLE.items() if key[0] is state and row[1] is not state]
    assert TABLE[NotifierState.ACTIVE, NotifierInput.FAILED][1] is NotifierState.GONE


def test_a_subscription_is_gone_exactly_where_its_dialog_is_left() -> None:
    """One that was refused has none."""
    for (_, what), (actions, after) in TABLE.items():
        left = NotifierAction.LEAVE in actions or what is NotifierInput.REFUSE
        assert left == (after is NotifierState.GONE)
    assert TABLE[NotifierState.ACTIVE, NotifierInput.UNCHANGED] == ((NotifierAction.ARM,), NotifierState.ACTIVE)
