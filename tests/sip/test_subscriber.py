"""Our side as the subscriber: SUBSCRIBE, the NOTIFY that makes the dialog, refreshes, every end (RFC 6665 4.1)."""

from __future__ import annotations

import pytest

from gateway.sip.auth.account import Credentials
from gateway.sip.config import CoreConfig
from gateway.sip.flow import Flow
from gateway.sip.invite.events import Accepted, Refused
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request, Response
from gateway.sip.message.uri import Uri
from gateway.sip.subscription.document import Document
from gateway.sip.subscription.incoming import IncomingSubscription
from gateway.sip.subscription.policy import SubscriptionPolicy
from gateway.sip.subscription.subscriber import Notified, Subscriber, SubscriberEvent, SubscriptionOver
from gateway.sip.subscription.subscriber_states import TABLE, SubscriberAction, SubscriberInput, SubscriberState
from gateway.testing.network import Weather
from gateway.testing.sip_peer import AgentNode
from tests.rows import by_row
from tests.sip.agents import ALICE, BOB, Pair, Stage, answer, is_idle

PIDF = "application/pidf+xml"
ELSEWHERE = ("192.0.2.77", 5060)


def subscribe(
    node: AgentNode,
    log: list[SubscriberEvent],
    *,
    expires: int = 600,
    credentials: Credentials | None = None,
    package: str = "presence",
) -> Subscriber:
    target = Uri.of("bob", *BOB)
    request = build.request(
        "SUBSCRIBE",
        target,
        from_=NameAddr(Uri.of("alice", "example.com")).with_tag(node.token()),
        to=NameAddr(target),
        call_id=node.token(),
        cseq=1,
        contact=node.core.contact(Flow("udp", *BOB), "alice"),
        headers=(("Event", package), ("Expires", expires), ("Accept", PIDF)),
    )
    return node.core.subscribe(request, target, log.append, credentials=credentials, identity="trunk:pbx")


class Asking(Stage):
    """Our agent subscribes at the puppet."""

    def __init__(self, expires: int = 600, credentials: Credentials | None = None, package: str = "presence") -> None:
        super().__init__()
        self.log: list[SubscriberEvent] = []
        self.package = package
        how = {"expires": expires, "credentials": credentials, "package": package}
        self.subscriber = subscribe(self.agent, self.log, **how)  # type: ignore[arg-type]
        self.run()
        [self.asked] = self.requests("SUBSCRIBE")
        self.cseq = 0

    def notify(
        self,
        state: str = "active;expires=600",
        body: bytes = b"open",
        *,
        tag: str = "puppet",
        event: str = "",
        cseq: int | None = None,
        source: tuple[str, int] = BOB,
        contact: bool = True,
        to: NameAddr | None = None,
    ) -> int | None:
        """The status that a NOTIFY of the puppet is answered with."""
        self.cseq = cseq if cseq is not None else self.cseq + 1
        fields = [("Event", event or self.package), *([("Subscription-State", state)] if state else [])]
        notify = build.request(
            "NOTIFY",
            Uri.of("alice", *ALICE),
            from_=self.asked.to.with_tag(tag),
            to=to or self.asked.from_,
            call_id=self.asked.call_id,
            cseq=self.cseq,
            contact=NameAddr(Uri.of("puppet", *BOB)) if contact else None,
            headers=fields,
            body=body,
            content_type=PIDF if body else None,
        )
        via = f"SIP/2.0/UDP {source[0]}:{source[1]};rport;branch=z9hG4bKn{tag}{self.cseq}{source[0]}"
        notify = notify.with_headers(notify.headers.prepend("Via", via))
        self.puppet.received.clear()
        if source == BOB:
            self.send(notify)
        else:
            self.agent.core.receive(notify.write(), Flow("udp", *source, "here"))
            sent = [data for data, to_flow in self.agent.core.datagrams() if to_flow.host == source[0]]
            return int(sent[0][8:11]) if sent else None
        return next((one.status for one in self.puppet.received if isinstance(one, Response)), None)

    def accept(self, status: int = 200, **extra: object) -> None:
        self.send(answer(self.asked, status, headers=(("Expires", extra.get("expires", 600)),)))

    def next(self) -> Request:
        """The SUBSCRIBE that came."""
        [request] = self.requests("SUBSCRIBE")
        return request

    @property
    def is_idle(self) -> bool:
        return is_idle(self.agent.core) and not self.agent.core._subscribers

    @property
    def over(self) -> SubscriptionOver:
        assert isinstance(self.log[-1], SubscriptionOver)
        assert len([one for one in self.log if isinstance(one, SubscriptionOver)]) == 1
        return self.log[-1]


@pytest.mark.parametrize("first", ["2xx", "NOTIFY"])
def test_the_first_notify_makes_the_dialog(first: str) -> None:
    """Before or after the 2xx of the SUBSCRIBE (RFC 6665 section 4.1.2.4)."""
    stage = Asking()
    if first == "2xx":
        stage.accept()
    assert stage.notify() == 200
    if first == "NOTIFY":
        stage.accept()
    assert stage.log == [Notified("active", PIDF, b"open")]
    assert stage.notify("pending", b"") == 200
    assert stage.log[1:] == [Notified("pending", "", b"")]


def test_it_is_refreshed_in_time_and_ended_by_us() -> None:
    """In the dialog of the NOTIFY, with rising numbers; after the last NOTIFY nothing is left."""
    stage = Asking()
    stage.accept()
    stage.notify()
    stage.run(530)
    assert stage.requests("SUBSCRIBE") == []
    stage.run(20)
    [refresh, *_] = stage.requests("SUBSCRIBE")
    assert (refresh.to_tag, refresh.cseq.number, refresh.expires) == ("puppet", 2, 600)
    assert refresh.headers.get("Accept") == PIDF
    stage.send(answer(refresh, 200, headers=(("Expires", 300),)))
    stage.run(200)
    assert stage.requests("SUBSCRIBE") == []
    stage.run(45)
    stage.send(answer(stage.requests("SUBSCRIBE")[0], 200))
    stage.subscriber.end()
    stage.run()
    last = stage.next()
    assert last.expires == 0
    stage.send(answer(last, 200))
    assert stage.notify("terminated;reason=timeout") == 200
    assert stage.over == SubscriptionOver(200, "timeout")
    assert stage.notify() == 481
    stage.run(40)
    assert stage.is_idle


def test_a_notifier_may_shorten_it() -> None:
    """By the expires of any NOTIFY, never lengthen it; what is no number says nothing."""
    stage = Asking()
    stage.accept()
    stage.notify("active;expires=60")
    stage.notify("active;expires=9999")
    stage.notify("active;expires=soon")
    stage.run(31)
    assert stage.requests("SUBSCRIBE") != []


@by_row(
    ("state", "over"),
    [
        ("terminated", SubscriptionOver(200)),
        ("terminated;reason=Rejected", SubscriptionOver(200, "rejected")),
        ("terminated;reason=probation;retry-after=30", SubscriptionOver(200, "probation", 30)),
        ("terminated;reason=giveup;retry-after=never", SubscriptionOver(200, "giveup")),
    ],
)
@by_row("is_first", [True, False])
def test_the_notifier_ends_it(state: str, over: SubscriptionOver, is_first: bool) -> None:
    """With the last state, and why."""
    stage = Asking()
    stage.accept()
    if not is_first:
        stage.notify()
    assert stage.notify(state, b"closed") == 200
    assert stage.log[-2:] == [Notified("terminated", PIDF, b"closed"), over]
    stage.run(40)
    assert stage.is_idle


@by_row("status", [403, 404, 481, 489, 503])
def test_a_refusal_is_told(status: int) -> None:
    """Once, and a NOTIFY that comes nevertheless is unknown."""
    stage = Asking()
    stage.accept(status)
    assert stage.over.status == status
    assert stage.notify() == 481
    stage.run(40)
    assert stage.is_idle


def test_silence_is_told() -> None:
    """No answer at all, or an answer and no NOTIFY (timer N)."""
    stage = Asking()
    stage.run(33)
    assert stage.over == SubscriptionOver(408)
    stage = Asking()
    stage.accept()
    stage.run(31.8)
    assert stage.log == []
    stage.run(1)
    assert stage.over == SubscriptionOver(408)
    stage.run(40)
    assert stage.is_idle


def test_a_longer_time_is_asked_for_where_it_has_to_be() -> None:
    """423 with Min-Expires: once more with that; one that asks for years is a refusal."""
    stage = Asking(60)
    stage.send(answer(stage.asked, 423, headers=(("Min-Expires", 300),)))
    again = stage.next()
    assert (again.expires, again.cseq.number) == (300, 2)
    stage.send(answer(again, 423, headers=(("Min-Expires", 300),)))
    assert stage.over.status == 423
    stage = Asking(60)
    stage.send(answer(stage.asked, 423, headers=(("Min-Expires", 100_000_000),)))
    assert stage.over.status == 423


def test_a_challenge_is_answered_by_who_has_an_account() -> None:
    """Else it is a refusal; an endless challenge ends."""
    challenge = (("WWW-Authenticate", 'Digest realm="pbx", nonce="n1", algorithm=MD5'),)
    stage = Asking(credentials=Credentials("gw", "secret"))
    stage.send(answer(stage.asked, 401, headers=challenge))
    signed = stage.next()
    assert signed.authorization
    assert b"secret" not in signed.write()
    stage.send(answer(signed, 401, headers=challenge))
    assert stage.over.status == 401
    stage = Asking()
    stage.send(answer(stage.asked, 401, headers=challenge))
    assert stage.over.status == 401


@by_row("package", ["presence", "message-summary", "reg"])
def test_another_branch_of_a_fork_is_refused_where_the_package_allows_but_one(package: str) -> None:
    """481 for a second dialog of the same SUBSCRIBE (RFC 6665 section 5.4.9; RFC 3856 6.9, RFC 3842, RFC 3680)."""
    stage = Asking(package=package)
    stage.accept()
    assert stage.notify() == 200
    assert stage.notify(tag="other") == 481
    assert stage.notify("active;expires=500", b"busy", cseq=9) == 200
    assert [one.body for one in stage.log if isinstance(one, Notified)] == [b"open", b"busy"]
    assert stage.requests("SUBSCRIBE") == []


@by_row("is_answered", [True, False])
@by_row("ending", ["terminated;reason=timeout", 481, None])
def test_another_branch_of_a_fork_is_ended_where_the_package_allows_several(
    ending: str | int | None, is_answered: bool
) -> None:
    """200, and a SUBSCRIBE that ends it in its own dialog (RFC 4235 section 3.9); the first notifier's goes on."""
    stage = Asking(package="dialog")
    if is_answered:
        stage.accept()
    assert stage.notify() == 200
    assert stage.notify(tag="other") == 200
    leaving = stage.next()
    assert (leaving.to_tag, leaving.expires, leaving.cseq.number, leaving.event) == ("other", 0, 2, stage.asked.event)
    stage.send(answer(leaving, 481 if ending == 481 else 200, headers=(("Expires", 0),)))
    if isinstance(ending, str):
        assert stage.notify(ending, tag="other") == 200
    if not is_answered:
        stage.accept()
    stage.run(40)
    assert stage.notify(tag="other") == 481
    assert stage.notify(body=b"busy", cseq=50) == 200
    assert [one.body for one in stage.log if isinstance(one, Notified)] == [b"open", b"busy"]
    assert stage.requests("SUBSCRIBE") == []
    stage.subscriber.end()
    stage.run()
    assert stage.next().to_tag == "puppet"
    stage.run(40)
    assert stage.is_idle


def test_a_branch_that_has_ended_by_itself_is_only_answered() -> None:
    """No SUBSCRIBE for what is over; and what is no NOTIFY of the subscription makes no dialog there either."""
    stage = Asking(package="dialog")
    stage.accept()
    stage.notify()
    assert stage.notify(tag="other", event="presence") == 481
    assert stage.notify("terminated", tag="other") == 200
    assert stage.requests("SUBSCRIBE") == []
    assert stage.notify(tag="other") == 481


def test_a_branch_outlives_the_end_of_the_subscription() -> None:
    """We end ours; another that comes late is ended, too, and then nothing is left."""
    stage = Asking(package="dialog")
    stage.accept()
    stage.notify()
    stage.notify(tag="other")
    assert stage.next().to_tag == "other"
    stage.subscriber.end()
    assert stage.notify(tag="late") == 200
    assert {one.to_tag for one in stage.requests("SUBSCRIBE")} == {"puppet", "late"}
    stage.run(80)
    assert len([one for one in stage.log if isinstance(one, SubscriptionOver)]) == 1
    assert stage.is_idle


def test_the_branches_of_a_fork_are_bounded() -> None:
    """Those beyond are answered 481, which ends them as well."""
    stage = Asking(package="dialog")
    stage.accept()
    stage.notify()
    answers = [stage.notify(tag=f"branch{number}") for number in range(30)]
    assert answers == [200] * 20 + [481] * 10
    stage.subscriber.end()
    stage.run(120)
    assert stage.is_idle


def test_a_stranger_makes_no_branch() -> None:
    """From elsewhere only the notifier that proves who it is."""
    stage = Asking(package="dialog")
    stage.accept()
    stage.notify()
    stage.agent.verdict = lambda request, source: Accepted("mallory")
    assert stage.notify(tag="other", source=ELSEWHERE) == 481
    stage.agent.verdict = lambda request, source: Accepted("trunk:pbx")
    assert stage.notify(tag="other", source=ELSEWHERE) == 200


@by_row(
    ("how", "status"),
    [
        ({"event": "dialog"}, 481),
        ({"event": "presence;id=7"}, 481),
        ({"event": "="}, 400),
        ({"state": ""}, 481),
        ({"state": "="}, 400),
        ({"contact": False}, 400),
    ],
)
def test_a_notify_that_is_not_of_it_makes_no_dialog(how: dict[str, object], status: int) -> None:
    """Malformed, of another package, without a Contact: and the right one is taken afterwards."""
    stage = Asking()
    stage.accept()
    assert stage.notify(**how) == status  # type: ignore[arg-type]
    assert stage.log == []
    assert stage.notify(cseq=50) == 200


def test_in_the_dialog_it_has_to_be_in_order_and_say_its_state() -> None:
    """CSeq going back is 500, no Subscription-State 400, another package 481: none of them is told."""
    stage = Asking()
    stage.accept()
    stage.notify(cseq=10)
    assert stage.notify(cseq=9) == 500
    assert stage.notify("", cseq=11) == 400
    assert stage.notify(event="dialog", cseq=12) == 481
    assert len(stage.log) == 1
    assert stage.notify(cseq=13) == 200


def test_a_stranger_does_not_notify() -> None:
    """Who has overheard Call-ID and tag is challenged, and refused as anybody else than the notifier."""
    stage = Asking()
    stage.accept()
    stage.agent.verdict = lambda request, source: Refused(401)
    assert stage.notify(source=ELSEWHERE) == 401
    stage.agent.verdict = lambda request, source: Accepted("mallory")
    assert stage.notify(source=ELSEWHERE) == 481
    stage.agent.verdict = lambda request, source: Accepted(None)
    assert stage.notify(source=ELSEWHERE) == 481
    assert stage.log == []
    stage.agent.verdict = lambda request, source: Accepted("trunk:pbx")
    assert stage.notify(source=ELSEWHERE) == 200
    assert len(stage.log) == 1


def test_a_notify_nobody_asked_for_is_unknown() -> None:
    """481, with and without a tag, and nothing is kept of it."""
    stage = Asking()
    assert stage.notify(to=stage.asked.from_.with_tag("wrong")) == 481
    assert stage.notify(to=stage.asked.from_.with_tag(None)) == 481
    assert stage.log == []


def test_a_refresh_that_is_refused_for_good_ends_it() -> None:
    """481: the PBX has forgotten it, and whoever asked may ask again at once."""
    stage = Asking()
    stage.accept()
    stage.notify()
    stage.run(545)
    stage.send(answer(stage.requests("SUBSCRIBE")[0], 481))
    assert stage.over == SubscriptionOver(200, "deactivated")


def test_a_refresh_that_is_refused_for_now_is_made_again() -> None:
    """As long as the time lasts that was granted, then it is over."""
    stage = Asking()
    stage.accept()
    stage.notify()
    stage.run(545)
    stage.send(answer(stage.requests("SUBSCRIBE")[0], 500, headers=(("Retry-After", 20),)))
    stage.run(21)
    again = stage.requests("SUBSCRIBE")
    assert again != []
    stage.send(answer(again[0], 500))
    stage.run(40)
    assert stage.over == SubscriptionOver(408)
    stage.run(40)
    assert stage.is_idle


def test_a_refresh_for_which_a_longer_time_is_wanted_is_repeated_with_it_at_once() -> None:
    """423 with Min-Expires; one that wants no more than was asked for is a failure for now."""
    stage = Asking()
    stage.accept()
    stage.notify()
    stage.run(545)
    stage.send(answer(stage.requests("SUBSCRIBE")[0], 423, headers=(("Min-Expires", 900),)))
    again = stage.next()
    assert (again.to_tag, again.expires) == ("puppet", 900)
    stage.send(answer(again, 423, headers=(("Min-Expires", 900),)))
    assert stage.requests("SUBSCRIBE") == []
    stage.run(31)
    later = stage.requests("SUBSCRIBE")[0]
    stage.send(answer(later, 200, headers=(("Expires", 900),)))
    stage.run(800)
    assert isinstance(stage.log[-1], Notified)


def test_a_refresh_that_should_have_lasted_longer_is_not_repeated_once_it_is_over() -> None:
    """The notifier ended the subscription before it answered."""
    stage = Asking()
    stage.accept()
    stage.notify()
    stage.run(545)
    refresh = stage.requests("SUBSCRIBE")[0]
    stage.notify("terminated;reason=deactivated")
    stage.send(answer(refresh, 423, headers=(("Min-Expires", 900),)))
    assert stage.requests("SUBSCRIBE") == []
    assert stage.over == SubscriptionOver(200, "deactivated")


def test_the_whole_state_is_asked_for_once_at_a_time() -> None:
    """A refresh of ours, however often it is wanted before the answer."""
    stage = Asking()
    stage.accept()
    stage.notify()
    for _ in range(3):
        stage.subscriber.refresh()
    stage.run()
    assert stage.next().expires == 600


@pytest.mark.parametrize("moment", ["before the answer", "after the answer"])
def test_who_ends_it_early_refuses_the_notify(moment: str) -> None:
    """481 to the first NOTIFY ends it at the notifier's, too."""
    stage = Asking()
    if moment == "after the answer":
        stage.accept()
    stage.subscriber.end()
    assert stage.over == SubscriptionOver(408)
    assert stage.notify() == 481
    stage.subscriber.end()
    stage.run(80)
    assert stage.is_idle


@by_row("answered", [200, 481, None])
def test_leaving_ends_whatever_the_notifier_does(answered: int | None) -> None:
    """It says nothing more, or has forgotten it."""
    stage = Asking()
    stage.accept()
    stage.notify()
    stage.subscriber.end()
    stage.run()
    last = stage.next()
    if answered is not None:
        stage.send(answer(last, answered))
    assert stage.notify() == (481 if answered == 481 else 200)
    stage.run(80)
    assert isinstance(stage.over, SubscriptionOver)
    assert stage.is_idle


def test_many_notifies_are_as_many_answers_and_no_more() -> None:
    """Each is told, none is kept, nothing grows."""
    stage = Asking()
    stage.accept()
    stage.notify()
    stage.agent.core.datagrams()
    for number in range(2, 300):
        assert stage.notify(cseq=number) == 200
    assert len(stage.log) == 299
    stage.subscriber.end()
    stage.run()
    stage.send(answer(stage.next(), 200))
    stage.notify("terminated", cseq=99_999)
    stage.run(40)
    assert stage.is_idle


def test_a_listener_that_fails_ends_its_own_subscription() -> None:
    """The NOTIFY was answered; the next is unknown."""
    stage = Asking()

    def fail(event: SubscriberEvent) -> None:
        raise RuntimeError("a mistake")

    stage.subscriber._events = fail
    stage.accept()
    assert stage.notify() == 200
    assert stage.notify() == 481
    stage.run(40)
    assert stage.is_idle


def test_every_state_leads_to_the_end() -> None:
    """And nothing leads out of it."""
    for state in SubscriberState:
        rows = [row for key, row in TABLE.items() if key[0] is state]
        if state is SubscriberState.OVER:
            assert rows == []
        else:
            assert any(row[1] is SubscriberState.OVER for row in rows)
    assert {key[1] for key in TABLE} == set(SubscriberInput)


@by_row("seed", range(6))
def test_two_stacks_agree_over_a_bad_network(seed: int) -> None:
    """Whatever is lost or doubled: the subscriber hears the last state, and both forget it in the end."""
    policy = CoreConfig(subscriptions=SubscriptionPolicy(interval=0))
    pair = Pair(Weather(loss=0.25, duplication=0.2, jitter=0.3), seed=seed, bob=policy)
    served: list[IncomingSubscription] = []

    def subscribed(subscription: IncomingSubscription) -> None:
        served.append(subscription)
        subscription.accept(Document.of(PIDF, b"0"))

    pair.bob.core.serve_packages({"presence": PIDF}, subscribed)
    log: list[SubscriberEvent] = []
    subscriber = subscribe(pair.alice, log, expires=120)
    pair.run(40)
    for number in range(1, 6):
        served[0].tell(Document.of(PIDF, str(number).encode()))
        pair.run(7)
    bodies = [one.body for one in log if isinstance(one, Notified)]
    if not any(isinstance(one, SubscriptionOver) for one in log):
        assert bodies[-1] == b"5"
        assert bodies == sorted(bodies)
        pair.run(300)
        subscriber.end()
    pair.run(200)
    assert len([one for one in log if isinstance(one, SubscriptionOver)]) == 1
    assert is_idle(pair.alice.core)
    assert is_idle(pair.bob.core)
    assert not pair.alice.core._subscribers


def test_a_notify_that_says_no_time_lasts_as_long_as_was_asked_for() -> None:
    """It came before the 2xx, which would have said it."""
    stage = Asking(120)
    assert stage.notify("active") == 200
    stage.run(70)
    assert stage.requests("SUBSCRIBE") != []


def test_a_question_in_its_dialog_is_answered() -> None:
    """OPTIONS, by which some see whether a peer lives: a 481 would end the subscription (RFC 5057 section 5.2)."""
    stage = Asking()
    stage.accept()
    stage.notify()
    options = build.request(
        "OPTIONS",
        Uri.of("alice", *ALICE),
        from_=stage.asked.to.with_tag("puppet"),
        to=stage.asked.from_,
        call_id=stage.asked.call_id,
        cseq=77,
    )
    via = f"SIP/2.0/UDP {BOB[0]}:{BOB[1]};rport;branch=z9hG4bKoptions"
    stage.puppet.take()
    stage.send(options.with_headers(options.headers.prepend("Via", via)))
    assert stage.puppet.statuses() == [200]
    assert stage.notify(cseq=78) == 200


def test_an_answer_after_its_end_changes_nothing() -> None:
    """Also one that asks for a longer time: nothing more is sent."""
    stage = Asking(60)
    stage.subscriber.end()
    stage.send(answer(stage.asked, 423, headers=(("Min-Expires", 300),)))
    assert stage.requests("SUBSCRIBE") == []
    assert stage.over == SubscriptionOver(408)


def test_a_subscription_is_over_exactly_where_its_dialog_is_left() -> None:
    """No row ends it silently, and none goes on without a dialog."""
    for actions, after in TABLE.values():
        assert (SubscriberAction.STOP in actions) == (after is SubscriberState.OVER)


@by_row("what", [SubscriberInput.NOTIFIED, SubscriberInput.REFRESHED])
def test_news_after_our_end_is_lawful_and_passed_to_nobody(what: SubscriberInput) -> None:
    """A NOTIFY and a 2xx may cross our last SUBSCRIBE (RFC 6665 section 4.1.2.3)."""
    assert TABLE[SubscriberState.LEAVING, what] == ((), SubscriberState.LEAVING)
