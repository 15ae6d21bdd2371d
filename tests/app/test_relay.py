"""Subscriptions of phones to people behind a trunk: asked for at the PBX, passed on, ended together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gateway.call.routing import RouteError, Router, SipTarget
from gateway.call.status import Cause
from gateway.identity.mapping import IdentityMap
from gateway.identity.model import User
from gateway.legs.sip_sessions import Destination
from gateway.people.sip.relay import SubscriptionRelay
from gateway.sip.config import CoreConfig
from gateway.sip.flow import Flow
from gateway.sip.invite.events import Accepted
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request, Response
from gateway.sip.message.uri import Uri
from gateway.sip.subscription.incoming import IncomingSubscription
from gateway.sip.subscription.policy import SubscriptionPolicy
from gateway.sip.subscription.subscriber import Subscriber
from gateway.sip.transactions.admission import AdmissionLimits
from gateway.sip.transactions.config import StackConfig
from gateway.testing.sip_peer import Puppet
from tests.rows import by_row
from tests.sip.agents import ALICE, BOB, PuppetDialog, Stage, answer, is_idle

PBX = ("192.0.2.50", 5060)
OTHER = ("192.0.2.51", 5060)
WATCHER = User("1001", sip=True, may_call=("*", "0*"))
PIDF = "application/pidf+xml"
INFO = "application/dialog-info+xml"


class Rig:
    """The phone is the stage's puppet, the PBX another one; the relay stands between them on our core."""

    def __init__(self, interval: float = 0.0) -> None:
        stack = StackConfig(admission=AdmissionLimits(rate=0, trusted=(PBX[0],)))
        policy = SubscriptionPolicy(interval=interval, min_expires=1)
        self.phone = Stage(CoreConfig(stack=stack, subscriptions=policy))
        self.phone.agent.verdict = lambda request, source: Accepted("1001")
        self.core = self.phone.agent.core
        self.pbx = Puppet(self.phone.network, PBX)
        identity = IdentityMap([WATCHER], [], "gw.test")
        router = Router(identity, [], ["gw.test", ALICE[0]], {"pbx": ("pbx.test",)})
        self.relay = SubscriptionRelay(identity, router, self)
        self.relay.subscribing = self
        self.core.serve_packages({"presence": PIDF, "dialog": INFO}, self._subscribed)
        self.watcher = WATCHER
        self.places: list[Destination] = []
        self.cseq = 0
        self.statuses: list[int] = []

    def _subscribed(self, subscription: IncomingSubscription) -> None:
        self.relay.subscribed(subscription, self.watcher)

    def outside(self, target: SipTarget) -> Sequence[Destination]:
        if target.uri == "gone":
            raise RouteError(Cause.UNAVAILABLE, "gone")
        return self.places or [Destination(f"sip:{target.uri}@{PBX[0]}:{PBX[1]}", identity="trunk:pbx")]

    def subscribe(self, target: Any, package: str, events: Any, **how: Any) -> Subscriber:
        """As gateway.net.user_agent does."""
        uri = Uri.parse(target)
        request = build.request(
            "SUBSCRIBE",
            uri,
            from_=how["caller"].with_tag(self.core.token()),
            to=NameAddr(uri),
            call_id=self.core.token(),
            cseq=1,
            contact=self.core.contact(Flow("udp", *PBX), "1001"),
            headers=(("Event", package), ("Expires", how["expires"])),
            max_forwards=how["max_forwards"],
        )
        return self.core.subscribe(request, uri, events, identity=how["identity"])

    def watch(
        self, target: str = "sip:0700@pbx.test", package: str = "presence", expires: int = 600, hops: str = "70"
    ) -> Request | None:
        """The phone subscribes; what the PBX is asked."""
        self.dialog = PuppetDialog(self.phone, "w1")
        headers = (("Event", package), ("Expires", str(expires)))
        request = self.dialog.make("SUBSCRIBE", headers=headers).with_header("Max-Forwards", hops)
        self.package, self.kind = package, PIDF if package == "presence" else INFO
        self.phone.send(request.with_uri(Uri.parse(target)))
        asked = [one for one in self.pbx.take() if isinstance(one, Request)]
        self.asked = asked[0] if asked else None
        return self.asked

    def pbx_says(self, message: Request | Response) -> None:
        self.pbx.send(message, ALICE)
        self.phone.run()

    def notify(self, state: str = "active;expires=600", body: str = "open", cseq: int = 0) -> None:
        assert self.asked is not None
        self.cseq = cseq or self.cseq + 1
        notify = build.request(
            "NOTIFY",
            Uri.of("gw", *ALICE),
            from_=self.asked.to.with_tag("pbx"),
            to=self.asked.from_,
            call_id=self.asked.call_id,
            cseq=self.cseq,
            contact=NameAddr(Uri.of("pbx", *self.pbx.address)),
            headers=(("Event", self.package), ("Subscription-State", state)),
            body=body.encode(),
            content_type=self.kind if body else None,
        )
        via = f"SIP/2.0/UDP {PBX[0]}:{PBX[1]};rport;branch=z9hG4bKp{self.cseq}"
        self.pbx_says(notify.with_headers(notify.headers.prepend("Via", via)))

    def told(self, status: int = 200) -> list[tuple[str, str]]:
        """(state, body) of what the phone was told, which it answers."""
        self.phone.run()
        found = []
        for message in self.phone.puppet.take():
            if isinstance(message, Request) and message.method == "NOTIFY":
                found.append((message.headers.get("Subscription-State") or "", message.body.decode()))
                self.phone.send(answer(message, status))
            elif isinstance(message, Response):
                self.statuses.append(message.status)
        return found

    def pbx_requests(self, method: str) -> list[Request]:
        return [one for one in self.pbx.take() if isinstance(one, Request) and one.method == method]


def test_what_the_pbx_tells_the_phone_is_told() -> None:
    """Under the watcher's own name; the phone is answered when the first state is there."""
    rig = Rig()
    asked = rig.watch()
    assert asked is not None
    assert (str(asked.uri), str(asked.from_.uri)) == ("sip:0700@192.0.2.50:5060", "sip:1001@gw.test")
    assert (asked.expires, asked.max_forwards) == (600, 69)
    rig.pbx_says(answer(asked, 200, headers=(("Expires", 600),)))
    assert (rig.told(), rig.statuses) == ([], [])
    rig.notify()
    assert (rig.told(), rig.statuses) == ([("active;expires=600", "open")], [200])
    rig.notify("pending", "busy")
    assert rig.told() == [("pending;expires=600", "busy")]


def test_both_end_together() -> None:
    """The phone's end is ours at the PBX, and the PBX' end, with its reason, the phone's."""
    rig = Rig()
    asked = rig.watch()
    assert asked is not None
    rig.pbx_says(answer(asked, 200))
    rig.notify()
    [(_, _)] = rig.told()
    rig.core.subscriptions.end("probation;retry-after=5")
    assert [state for state, _ in rig.told()] == ["terminated;reason=probation;retry-after=5"]
    [last] = rig.pbx_requests("SUBSCRIBE")
    assert (last.expires, last.to_tag) == (0, "pbx")
    rig.pbx_says(answer(last, 200))
    rig.notify("terminated;reason=timeout")
    rig.phone.run(80)
    assert is_idle(rig.core)
    rig = Rig()
    asked = rig.watch()
    assert asked is not None
    rig.pbx_says(answer(asked, 200))
    rig.notify()
    rig.told()
    rig.notify("terminated;reason=noresource;retry-after=9", "closed")
    told = rig.told() + rig.told()
    assert told[-1] == ("terminated;reason=noresource;retry-after=9", "closed")
    rig.phone.run(80)
    assert is_idle(rig.core)


@by_row(("status", "told"), [(404, 404), (489, 489), (480, 480), (603, 603), (401, 403), (481, 403), (500, 403)])
def test_a_refusal_of_the_pbx_is_the_phones(status: int, told: int) -> None:
    """As far as it says something to the phone; a challenge that we cannot answer is none of its business."""
    rig = Rig()
    asked = rig.watch()
    assert asked is not None
    rig.pbx_says(answer(asked, status))
    assert (rig.told(), rig.statuses) == ([], [told])
    rig.phone.run(40)
    assert is_idle(rig.core)


def with_places() -> tuple[Rig, Puppet]:
    """The first has two flows; between both is one that nothing can be sent to."""
    rig = Rig()
    first, second = (Destination(f"sip:700@{host}:{port}", identity="trunk:pbx") for host, port in (PBX, OTHER))
    unwritable = Destination("no URI", identity="trunk:pbx")
    rig.places = [replace(first, others=(first,)), unwritable, second]
    return rig, Puppet(rig.phone.network, OTHER)


@by_row("status", [408, 430, 500, 503])
def test_the_next_flow_and_the_next_place_are_asked_where_nobody_is_reached(status: int) -> None:
    """What the last of them tells the phone is told; both end together as before."""
    rig, other = with_places()
    asked = rig.watch()
    assert asked is not None
    rig.pbx_says(answer(asked, status))
    [again] = rig.pbx_requests("SUBSCRIBE")
    assert other.take() == []
    rig.pbx_says(answer(again, status))
    [rig.asked] = [one for one in other.take() if isinstance(one, Request)]
    rig.pbx = other
    rig.pbx_says(answer(rig.asked, 200))
    assert (rig.told(), rig.statuses) == ([], [])
    rig.notify()
    assert (rig.told(), rig.statuses) == ([("active;expires=600", "open")], [200])
    rig.core.subscriptions.end("probation")
    rig.told()
    [last] = rig.pbx_requests("SUBSCRIBE")
    assert last.expires == 0


def test_a_word_of_the_first_place_is_the_word() -> None:
    """It is said of the person: nobody else is asked."""
    rig, other = with_places()
    asked = rig.watch()
    assert asked is not None
    rig.pbx_says(answer(asked, 404))
    assert (rig.told(), rig.statuses) == ([], [404])
    assert (rig.pbx.take(), other.take()) == ([], [])
    rig.phone.run(40)
    assert is_idle(rig.core)


def test_a_phone_that_was_answered_in_the_meantime_is_asked_for_nowhere_else() -> None:
    """Silence of the first place lasts longer than the phone waits: it asks again by itself."""
    rig, other = with_places()
    asked = rig.watch()
    assert asked is not None
    rig.phone.run(31)
    rig.told()
    assert rig.statuses == [503]
    rig.phone.run(60)
    assert other.take() == []
    assert {one.cseq.number for one in rig.pbx_requests("SUBSCRIBE")} <= {1}
    assert is_idle(rig.core)


def test_a_pbx_that_is_silent_or_overloaded() -> None:
    """The phone is asked to come again."""
    rig = Rig()
    asked = rig.watch()
    assert asked is not None
    rig.pbx_says(answer(asked, 503, headers=(("Retry-After", 17),)))
    [response] = [one for one in rig.phone.puppet.take() if isinstance(one, Response)]
    assert (response.status, response.retry_after) == (503, 17)
    rig = Rig()
    rig.watch()
    rig.phone.run(40)
    rig.told()
    assert rig.statuses[0] in (480, 503)
    rig.phone.run(60)
    assert is_idle(rig.core)


def test_once_is_once_at_the_pbx_too() -> None:
    """Expires: 0: one NOTIFY of the PBX, one to the phone."""
    rig = Rig()
    asked = rig.watch(expires=0)
    assert asked is not None
    assert asked.expires == 0
    rig.pbx_says(answer(asked, 200))
    rig.notify("terminated;reason=timeout", "open")
    assert rig.told() == [("terminated;reason=timeout", "open")]
    rig.phone.run(80)
    assert is_idle(rig.core)


def test_ten_thousand_notifies_cost_the_phone_a_few() -> None:
    """Of what comes faster than the interval only the last is passed on; nothing is kept of the others."""
    rig = Rig(interval=1.0)
    asked = rig.watch()
    assert asked is not None
    rig.pbx_says(answer(asked, 200))
    rig.notify()
    rig.told()
    rig.phone.run(1)
    core = rig.core
    head = (
        f"NOTIFY sip:gw@{ALICE[0]} SIP/2.0\r\nMax-Forwards: 70\r\nFrom: {asked.to.with_tag('pbx')}\r\n"
        f"To: {asked.from_}\r\nCall-ID: {asked.call_id}\r\nContact: <sip:pbx@{PBX[0]}>\r\nEvent: presence\r\n"
        f"Subscription-State: active;expires=600\r\nContent-Type: {PIDF}\r\nContent-Length: 5\r\n"
    )
    for number in range(2, 10_002):
        via = f"Via: SIP/2.0/UDP {PBX[0]}:{PBX[1]};rport;branch=z9hG4bKflood{number}"
        notify = f"{head}{via}\r\nCSeq: {number} NOTIFY\r\n\r\n{number:05}"
        core.receive(notify.encode(), Flow("udp", *PBX, "here"))
    sent = core.datagrams()
    assert len([data for data, flow in sent if flow.host == PBX[0]]) == 10_000
    assert len([data for data, flow in sent if flow.host == BOB[0]]) == 1
    rig.phone.run(0.6)
    assert {body for _, body in rig.told()} == {"00002"}
    rig.phone.run(2)
    assert {body for _, body in rig.told()} == {"10001"}
    rig.phone.run(30)
    assert rig.told() == []


def test_parts_are_never_left_out() -> None:
    """Where a part of the state could not be told in time, the whole of it is asked for (RFC 4235 section 4.3)."""
    rig = Rig(interval=10)
    asked = rig.watch(package="dialog")
    assert asked is not None
    rig.pbx_says(answer(asked, 200))
    rig.notify(body='<dialog-info state="full" version="1"/>')
    rig.told()
    rig.notify(body='<dialog-info state="partial" version="2"/>')
    rig.notify(body='<dialog-info state="partial" version="3"/>')
    rig.notify(body='<dialog-info state="partial" version="4"/>')
    [refresh] = rig.pbx_requests("SUBSCRIBE")
    rig.pbx_says(answer(refresh, 200))
    rig.notify(body='<dialog-info state="full" version="5"/>')
    rig.phone.run(11)
    assert [body for _, body in rig.told()][-1] == '<dialog-info state="full" version="5"/>'


@by_row(
    ("target", "may_call", "hops", "status"),
    [
        ("sip:0700@pbx.test", ("*",), "70", 403),
        ("sip:nobody@gw.test", ("*", "0*"), "70", 404),
        ("sip:0700@stranger.test", ("*", "0*"), "70", 404),
        ("sip:gone@pbx.test", ("*", "gone"), "70", 480),
        ("sip:0700@pbx.test", ("*", "0*"), "0", 483),
    ],
)
def test_who_may_not_call_there_may_not_look(target: str, may_call: tuple[str, ...], hops: str, status: int) -> None:
    """Nothing is asked anywhere, and hops are counted, so that a loop of gateways ends."""
    rig = Rig()
    rig.watcher = User("1001", sip=True, may_call=may_call)
    assert rig.watch(target, hops=hops) is None
    rig.told()
    assert rig.statuses == [status]
