"""SUBSCRIBE outside calls, and the NOTIFYs that it brings (RFC 6665 section 4.2, RFC 5839)."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.sip.config import CoreConfig
from gateway.sip.flow import Flow
from gateway.sip.invite.events import Accepted, Refused
from gateway.sip.message.message import Request, Response
from gateway.sip.subscription.document import Document
from gateway.sip.subscription.incoming import IncomingSubscription
from gateway.sip.subscription.policy import SubscriptionPolicy
from tests.rows import by_row
from tests.sip.agents import PuppetDialog, Stage, answer, is_idle

PIDF = "application/pidf+xml"
EVENT = ("Event", "presence")


def says(text: str) -> Document:
    return Document(PIDF, lambda version: f"{text} {version}".encode())


class Watched(Stage):
    """Our agent serves presence; the puppet subscribes."""

    def __init__(self, policy: SubscriptionPolicy | None = None) -> None:
        super().__init__(CoreConfig(subscriptions=policy or SubscriptionPolicy()))
        self.asked: list[IncomingSubscription] = []
        self.over: list[bool] = []
        self.document = says("open")
        self.accepts = True
        self.agent.core.serve_packages({"presence": PIDF, "dialog": "application/dialog-info+xml"}, self._subscribed)

    def _subscribed(self, subscription: IncomingSubscription) -> None:
        self.asked.append(subscription)
        subscription.when_over(lambda: self.over.append(True))
        if self.accepts:
            subscription.accept(self.document)

    def subscribe(self, *headers: tuple[str, str], call_id: str = "s1") -> PuppetDialog:
        """A new subscription; its dialog is that of the 200."""
        made = PuppetDialog(self, call_id)
        request = made.make("SUBSCRIBE", headers=headers or (EVENT, ("Expires", "600")))
        self.send(request)
        for message in self.puppet.received:
            if isinstance(message, Response) and message.status == 200 and message.call_id == call_id:
                made.remote = message.to
        return made

    def statuses(self) -> list[int]:
        """Taken out of what came; NOTIFYs stay."""
        responses = [one for one in self.puppet.received if isinstance(one, Response)]
        self.puppet.received = [one for one in self.puppet.received if not isinstance(one, Response)]
        return [one.status for one in responses]

    def notified(self, status: int | None = 200, **how: Any) -> list[tuple[str, str, str]]:
        """(Event, Subscription-State, body) of the NOTIFYs that came, which the puppet answers."""
        told = []
        seen = set()
        for message in self.puppet.take():
            name = (message.call_id, message.cseq.number)
            if isinstance(message, Request) and message.method == "NOTIFY" and name not in seen:
                seen.add(name)  # others are the same once more
                event, state = message.headers.get("Event"), message.headers.get("Subscription-State")
                told.append((event or "", state or "", message.body.decode()))
                if status is not None:
                    self.send(answer(message, status, **how))
        return told

    @property
    def left(self) -> int:
        return len(self.agent.core.subscriptions)


def test_a_subscription_is_accepted_and_told_at_once() -> None:
    """200 with the time it may have, then the state of now, numbered; then every change."""
    stage = Watched()
    stage.subscribe((EVENT[0], "presence;id=7"), ("Expires", "9999"))
    [accepted] = [one for one in stage.puppet.received if isinstance(one, Response)]
    assert (accepted.status, accepted.expires) == (200, 3600)
    assert accepted.contact is not None
    assert str(stage.asked[0].target) == "sip:alice@192.0.2.1:5060"
    assert stage.asked[0].identity == "tester"
    assert stage.notified() == [("presence;id=7", "active;expires=3600", "open 0")]
    stage.run(2)
    stage.asked[0].tell(says("busy"))
    stage.run()
    assert stage.notified() == [("presence;id=7", "active;expires=3598", "busy 1")]


def test_changes_are_told_in_their_time_and_only_the_last() -> None:
    """Ten thousand changes within the interval are one NOTIFY."""
    stage = Watched(SubscriptionPolicy(interval=5))
    stage.subscribe()
    stage.notified()
    for number in range(10_000):
        stage.asked[0].tell(says(f"change {number}"))
    stage.run(1)
    assert stage.notified() == []
    stage.run(5)
    assert [body for _, _, body in stage.notified()] == ["change 9999 1"]
    stage.run(60)
    assert stage.notified() == []


def test_a_notify_waits_for_the_answer_to_the_one_before() -> None:
    """One at a time (RFC 6665 section 4.2.2)."""
    stage = Watched(SubscriptionPolicy(interval=0))
    stage.subscribe()
    stage.asked[0].tell(says("busy"))
    stage.asked[0].tell(says("away"))
    stage.run()
    assert [body for _, _, body in stage.notified()] == ["open 0"]
    stage.run()
    assert [body for _, _, body in stage.notified()] == ["away 1"]


def test_its_subscriber_refreshes_it_and_ends_it() -> None:
    """Each SUBSCRIBE is answered, and a NOTIFY follows; after the last one its dialog is unknown."""
    stage = Watched()
    dialog = stage.subscribe()
    stage.notified()
    stage.run(500)
    dialog.next("SUBSCRIBE", headers=(EVENT, ("Expires", "900")))
    assert stage.statuses() == [200]
    assert [state for _, state, _ in stage.notified()] == ["active;expires=900"]
    stage.run(600)
    assert stage.over == []
    dialog.next("SUBSCRIBE", headers=(EVENT, ("Expires", "0")))
    assert stage.statuses() == [200]
    assert [state for _, state, _ in stage.notified()] == ["terminated;reason=timeout"]
    assert stage.over == [True]
    stage.asked[0].tell(says("late"))
    dialog.next("SUBSCRIBE", headers=(EVENT, ("Expires", "900")))
    assert stage.statuses() == [481]
    assert stage.notified() == []
    stage.run(40)
    assert (stage.left, is_idle(stage.agent.core)) == (0, True)


def test_what_is_not_refreshed_ends_and_says_so() -> None:
    """terminated;reason=timeout, once."""
    stage = Watched()
    stage.subscribe(EVENT, ("Expires", "60"))
    stage.notified()
    stage.run(59)
    assert stage.notified() == []
    stage.run(2)
    assert [state for _, state, _ in stage.notified()] == ["terminated;reason=timeout"]
    stage.run(120)
    assert (stage.notified(), stage.left, is_idle(stage.agent.core)) == ([], 0, True)


def test_once_is_once() -> None:
    """Expires: 0 brings one NOTIFY and no subscription (RFC 6665 section 4.4.3)."""
    stage = Watched()
    stage.subscribe(EVENT, ("Expires", "0"))
    assert stage.statuses() == [200]
    assert stage.notified() == [("presence", "terminated;reason=timeout", "open 0")]
    stage.run(40)
    assert (stage.over, stage.left, is_idle(stage.agent.core)) == ([True], 0, True)


def test_our_side_ends_it() -> None:
    """With the last news and the reason."""
    stage = Watched()
    stage.subscribe()
    stage.notified()
    stage.asked[0].end(says("closed"), "noresource")
    stage.run()
    assert stage.notified() == [("presence", "terminated;reason=noresource", "closed 1")]
    stage.asked[0].end(None, "giveup")
    stage.run()
    assert stage.notified() == []


def test_closing_tells_everybody_when_to_come_back() -> None:
    """All at once, with the body that stands."""
    stage = Watched()
    stage.subscribe(call_id="a")
    stage.subscribe(call_id="b")
    stage.notified()
    stage.agent.core.subscriptions.end("probation;retry-after=5")
    stage.run()
    assert [state for _, state, _ in stage.notified()] == ["terminated;reason=probation;retry-after=5"] * 2
    assert stage.left == 0


@by_row("status", [404, 481, 489, None])
def test_who_takes_no_notify_hears_no_more(status: int | None) -> None:
    """Refused for good, or never answered (RFC 5057 section 5.2)."""
    stage = Watched()
    dialog = stage.subscribe()
    stage.notified(status)
    stage.run(40)
    stage.puppet.take()
    assert (stage.over, stage.left) == ([True], 0)
    stage.asked[0].tell(says("busy"))
    stage.run()
    assert stage.notified() == []
    dialog.next("SUBSCRIBE", headers=(EVENT,))
    assert stage.statuses() == [481]


def test_a_notify_that_is_refused_for_now_is_not_the_end() -> None:
    """It is told again after Retry-After; what is refused three times in a row is."""
    stage = Watched(SubscriptionPolicy(interval=0))
    stage.subscribe()
    assert len(stage.notified(500, headers=(("Retry-After", "10"),))) == 1
    stage.run(9)
    assert stage.notified() == []
    stage.run(2)
    assert len(stage.notified(200)) == 1
    for word in ("a", "b", "c", "d"):
        stage.asked[0].tell(says(word))
        stage.run()
        stage.notified(500)
    assert stage.over == [True]


def test_who_knows_what_there_is_to_say_is_told_nothing() -> None:
    """RFC 5839: NOTIFYs carry their tag; a refresh with it is 204; a new subscription gets a NOTIFY without a body."""
    stage = Watched()
    dialog = stage.subscribe()
    [notify] = [one for one in stage.puppet.received if isinstance(one, Request)]
    tag = notify.sip_etag
    assert tag is not None
    stage.notified()
    stage.statuses()
    known = ("Suppress-If-Match", tag)
    dialog.next("SUBSCRIBE", headers=(EVENT, known))
    assert (stage.statuses(), stage.notified()) == ([204], [])
    dialog.next("SUBSCRIBE", headers=(EVENT, ("Suppress-If-Match", "other")))
    assert stage.statuses() == [200]
    assert len(stage.notified()) == 1
    stage.subscribe(EVENT, known, call_id="again")
    assert [(state, body) for _, state, body in stage.notified()] == [("active;expires=3600", "")]
    stage.statuses()
    dialog.next("SUBSCRIBE", headers=(EVENT, ("Suppress-If-Match", "*"), ("Expires", "0")))
    assert (stage.statuses(), stage.notified(), stage.left) == ([204], [], 1)


def test_a_change_that_waits_is_not_known_yet() -> None:
    """Whoever shows the tag of what stood before is told."""
    stage = Watched(SubscriptionPolicy(interval=30))
    dialog = stage.subscribe()
    [notify] = [one for one in stage.puppet.received if isinstance(one, Request)]
    stage.notified()
    stage.statuses()
    stage.asked[0].tell(says("busy"))
    dialog.next("SUBSCRIBE", headers=(EVENT, ("Suppress-If-Match", notify.sip_etag or "")))
    assert stage.statuses() == [200]
    assert [body for _, _, body in stage.notified()] == ["busy 1"]


@by_row(
    ("headers", "status", "field"),
    [
        ((), 489, "Allow-Events"),
        ((("Event", "weather"),), 489, "Allow-Events"),
        ((("Event", "refer"),), 403, None),
        ((("Event", "=;"),), 400, None),
        ((EVENT, EVENT), 400, None),
        ((EVENT, ("Expires", "59")), 423, "Min-Expires"),
        ((EVENT, ("Accept", "text/plain")), 406, None),
        ((EVENT, ("Require", "eventlist")), 420, "Unsupported"),
    ],
)
def test_what_cannot_be_served_is_refused(headers: tuple[tuple[str, str], ...], status: int, field: str | None) -> None:
    """The application never hears of it, and nothing is kept."""
    stage = Watched()
    stage.subscribe(*(headers or (("Expires", "600"),)))
    [response] = [one for one in stage.puppet.take() if isinstance(one, Response)]
    assert response.status == status
    assert field is None or response.headers.get(field)
    assert (stage.asked, stage.left) == ([], 0)


@by_row("field", [("Expires", "soon"), ("Suppress-If-Match", "a b"), ("Accept", ""), ("Accept", "=")])
def test_an_unreadable_wish_of_a_subscriber_counts_as_absent(field: tuple[str, str]) -> None:
    """The default time, the whole state, the document of the package."""
    stage = Watched()
    stage.subscribe(EVENT, field)
    assert stage.statuses() == [200]


def test_an_accept_that_fits_is_taken() -> None:
    """A range is enough."""
    stage = Watched()
    stage.subscribe(EVENT, ("Accept", "application/*, text/plain"))
    assert stage.statuses() == [200]


def test_limits_of_one_subscriber_and_of_all() -> None:
    """503 with Retry-After; an end makes room."""
    stage = Watched(SubscriptionPolicy(per_subscriber=2, total=3))
    who = ["ann"]
    stage.agent.verdict = lambda request, source: Accepted(who[0])
    for call_id in ("a1", "a2", "a3"):
        stage.subscribe(call_id=call_id)
    assert stage.statuses() == [200, 200, 503]
    who[0] = "ben"
    for call_id in ("b1", "b2"):
        stage.subscribe(call_id=call_id)
    assert stage.statuses() == [200, 503]
    stage.asked[0].end(None, "giveup")
    stage.run()
    stage.notified()
    stage.subscribe(call_id="b3")
    assert stage.statuses() == [200]


def test_strangers_and_the_nameless_are_refused() -> None:
    """A challenge, or 403; no dialog, no NOTIFY."""
    stage = Watched()
    stage.agent.verdict = lambda request, source: Refused(401)
    stage.subscribe(call_id="a")
    stage.agent.verdict = lambda request, source: Accepted(None)
    stage.subscribe(call_id="b")
    assert stage.statuses() == [401, 403]
    assert (stage.notified(), stage.asked, stage.left) == ([], [], 0)


def test_a_repeated_subscribe_is_answered_once_and_a_merged_one_refused() -> None:
    """The same octets again bring the same answer; the same request by another way 482."""
    stage = Watched()
    dialog = PuppetDialog(stage, "s1")
    request = dialog.make("SUBSCRIBE", headers=(EVENT,))
    stage.send(request)
    stage.send(request)
    assert set(stage.statuses()) == {200}
    stage.send(dialog.make("SUBSCRIBE", headers=(EVENT,)))
    assert stage.statuses()[-1] == 482
    assert (len(stage.asked), stage.left) == (1, 1)


def test_a_number_that_does_not_rise_is_refused() -> None:
    """CSeq going back: 500, and the subscription stands (RFC 3261 12.2.2)."""
    stage = Watched()
    dialog = stage.subscribe()
    stage.notified()
    stage.statuses()
    dialog.next("SUBSCRIBE", headers=(EVENT, ("Expires", "0")), cseq=1)
    assert stage.statuses() == [500]
    assert stage.left == 1


def test_a_subscription_of_another_life_is_unknown() -> None:
    """After a restart its refresh is answered 481, so that the phone subscribes anew."""
    stage = Watched()
    dialog = stage.subscribe()
    stage.notified()
    stage.statuses()
    restarted = Watched()
    dialog.stage = restarted
    dialog.next("SUBSCRIBE", headers=(EVENT, ("Expires", "600")))
    assert restarted.statuses() == [481]


def test_somebody_elsewhere_does_not_end_it() -> None:
    """Who has overheard its names is challenged; who proves to be another is refused."""
    stage = Watched()
    dialog = stage.subscribe()
    stage.notified()
    stage.statuses()
    stage.agent.verdict = lambda request, source: Accepted("mallory")
    dialog.cseq += 1
    request = dialog.make("SUBSCRIBE", headers=(EVENT, ("Expires", "0")))
    stage.agent.core.receive(request.write(), Flow("udp", "192.0.2.99", 5060, "here"))
    stage.run()
    assert stage.left == 1


def test_the_application_may_refuse_or_never_answer() -> None:
    """403 as it says; 503 in its place; later words do nothing."""
    stage = Watched()
    stage.accepts = False
    stage.subscribe(call_id="a")
    stage.asked[0].refuse(403)
    stage.asked[0].accept(says("open"))
    stage.run()
    assert stage.statuses() == [403]
    stage.subscribe(call_id="b")
    stage.run(31)
    stage.asked[1].accept(says("open"))
    stage.run()
    assert stage.statuses() == [503]
    assert (stage.notified(), stage.over, stage.left) == ([], [True, True], 0)


def test_a_mistake_of_the_application_leaves_nothing_behind() -> None:
    """500, and the place is free again."""
    stage = Watched()

    def fail(subscription: IncomingSubscription) -> None:
        raise RuntimeError("a mistake")

    stage.agent.core.serve_packages({"presence": PIDF}, fail)
    stage.subscribe()
    assert stage.statuses() == [500]
    assert stage.left == 0


def test_pending_is_said() -> None:
    """As long as it is not decided (RFC 6665 section 4.1.2), at most for the time that was granted."""
    stage = Watched()
    stage.accepts = False
    stage.subscribe()
    stage.asked[0].accept(Document.of("", b""), expires=120, is_pending=True)
    stage.run()
    assert stage.notified() == [("presence", "pending;expires=120", "")]
    stage.run(2)
    stage.asked[0].is_pending = False
    stage.asked[0].tell(says("open"))
    stage.run()
    assert stage.notified() == [("presence", "active;expires=118", "open 1")]


def test_what_comes_too_late_does_nothing() -> None:
    """A refusal of what was accepted, a listener of what is over, an answer to what has ended."""
    stage = Watched()
    stage.subscribe()
    [subscription] = stage.asked
    subscription.refuse(403)
    subscription.tell(says("busy"))
    assert [subscription.has_untold] == [True]
    assert "presence" in repr(subscription)
    stage.notified()
    stage.run(2)
    stage.notified()
    assert [subscription.has_untold] == [False]
    subscription.end(None, "giveup")
    stage.run()
    stage.notified()
    told: list[bool] = []
    subscription.when_over(lambda: told.append(True))
    subscription.refuse(403)
    assert (told, stage.statuses(), stage.left) == ([True], [], 0)


def test_a_mistake_while_it_is_told_ends_it_alone() -> None:
    """A document that cannot be written: the subscriber hears no more, others do."""
    stage = Watched(SubscriptionPolicy(interval=5))
    stage.subscribe(call_id="a")
    stage.subscribe(call_id="b")
    stage.notified()

    def fail(version: int) -> bytes:
        raise RuntimeError("a mistake")

    stage.asked[0].tell(Document(PIDF, fail))
    stage.asked[1].tell(says("busy"))
    stage.run(6)
    assert [body for _, _, body in stage.notified()] == ["busy 1"]
    assert (stage.left, stage.over) == (1, [True])


def test_a_connection_that_is_lost_leaves_it_until_nobody_answers() -> None:
    """The next NOTIFY looks for another way."""
    stage = Watched()
    stage.subscribe()
    stage.notified()
    stage.asked[0].on_flow_lost(Flow("tcp", "192.0.2.2", 5060))
    stage.run(2)
    stage.asked[0].tell(says("busy"))
    stage.run()
    assert len(stage.notified()) == 1


def test_what_ends_while_a_notify_is_under_way_is_unknown_at_once() -> None:
    """Its last NOTIFY is not answered yet: a refresh is 481, and the answer changes nothing."""
    stage = Watched()
    dialog = stage.subscribe()
    stage.notified()
    stage.asked[0].end(None, "giveup")
    stage.run()
    stage.statuses()
    notifies = list(stage.puppet.received)
    dialog.next("SUBSCRIBE", headers=(EVENT,))
    assert stage.statuses() == [481]
    stage.asked[0].on_mistake()
    for notify in notifies:
        assert isinstance(notify, Request)
        stage.send(answer(notify, 200))
    stage.run(40)
    assert (stage.left, is_idle(stage.agent.core)) == (0, True)


@pytest.mark.parametrize("longest", [100, 900])
def test_a_subscription_lasts_as_configured(longest: int) -> None:
    """presence.max_expires."""
    stage = Watched(SubscriptionPolicy(max_expires=longest))
    stage.subscribe(EVENT, ("Expires", "9999"))
    [(_, state, _)] = stage.notified()
    assert state == f"active;expires={longest}"
