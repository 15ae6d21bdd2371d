"""A REFER of ours: what the peer's response and NOTIFYs say of it, in any order, late, never, or malformed."""

from __future__ import annotations

from gateway.sip.config import CoreConfig
from gateway.sip.invite.outgoing import OutgoingSession
from gateway.sip.message import build
from gateway.sip.message.message import Request
from gateway.sip.message.uri import Uri
from gateway.sip.subscription.referrer import Referrer
from tests.rows import by_row
from tests.sip.agents import ANSWER, Stage, answer, call, is_idle

TARGET = Uri.parse("sip:carol@example.org")
FRAGMENT = "message/sipfrag;version=2.0"


class Asked:
    """A call of ours whose peer is asked to call somebody else."""

    def __init__(self, stage: Stage | None = None) -> None:
        self.stage = stage or Stage()
        self.session, self.log = call(self.stage.agent)
        assert isinstance(self.session, OutgoingSession)
        self.stage.run()
        [invite] = self.stage.requests("INVITE")
        self.stage.send(answer(invite, 200, body=ANSWER))
        self.stage.puppet.take()
        self.heard: list[tuple[int, bool]] = []
        self.session.refer(TARGET, lambda status, of_refer: self.heard.append((status, of_refer)))
        self.stage.run()
        [self.refer] = self.stage.requests("REFER")
        self._cseq = 0

    def referrer(self) -> Referrer:
        entries = self.stage.agent.core._dialogs._entries.values()
        [found] = [usage for entry in entries for usage in entry.usages if isinstance(usage, Referrer)]
        return found

    def respond(self, status: int) -> None:
        self.stage.send(answer(self.refer, status))

    def notify(self, body: str, state: str = "active;expires=60", event: str = "refer") -> None:
        self._cseq += 1
        request = build.request(
            "NOTIFY",
            Uri.of("alice", *self.stage.agent.address),
            from_=self.refer.to,
            to=self.refer.from_,
            call_id=self.refer.call_id,
            cseq=self._cseq,
            headers=(("Event", event), ("Subscription-State", state)),
            body=body.encode(),
            content_type=FRAGMENT if body else None,
        )
        via = f"SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bKn{self._cseq}"
        self.stage.send(request.with_headers(request.headers.prepend("Via", via)))

    @property
    def statuses(self) -> list[int]:
        return self.stage.puppet.statuses()


def test_a_refer_names_whom_to_call_and_who_asks() -> None:
    """RFC 3515 section 2.1, RFC 3892."""
    refer: Request = Asked().refer
    assert refer.refer_to is not None
    assert str(refer.refer_to.uri) == str(TARGET)
    assert refer.headers.get("Referred-By") == "<sip:alice@example.com>"


def test_what_the_peer_tells_is_heard_until_it_is_decided() -> None:
    """100 says nothing that the 202 did not; what comes after the end is answered 481."""
    asked = Asked()
    asked.respond(202)
    asked.notify("SIP/2.0 100 Trying\r\n")
    asked.notify("SIP/2.0 180 Ringing\r\n")
    asked.notify("SIP/2.0 200 OK\r\n", "terminated;reason=noresource")
    assert asked.heard == [(100, True), (180, False), (200, False)]
    assert asked.statuses == [200, 200, 200]
    asked.notify("SIP/2.0 200 OK\r\n")
    assert asked.statuses == [481]
    assert asked.heard[3:] == []
    assert not asked.session.is_over


@by_row("status", [405, 603, 408, 503])
def test_a_peer_that_will_not_is_told_apart_from_one_that_could_not(status: int) -> None:
    """Only then may we do it ourselves."""
    asked = Asked()
    asked.respond(status)
    assert asked.heard == [(status, True)]
    asked = Asked()
    asked.respond(202)
    asked.notify(f"SIP/2.0 {status} No\r\n", "terminated")
    assert asked.heard == [(100, True), (status, False)]


def test_a_notify_before_the_response_counts() -> None:
    """They may overtake each other (RFC 6665 section 4.1.2.4)."""
    asked = Asked()
    asked.notify("SIP/2.0 200 OK\r\n", "terminated")
    asked.respond(202)
    assert asked.heard == [(200, False)]


@by_row("body", ["", "SIP/2.0 20", "nonsense", "SIP/2.0 999 X\r\n", "\x00" * 1000])
def test_what_cannot_be_read_says_nothing_until_the_end(body: str) -> None:
    """And then that nobody said how it went."""
    asked = Asked()
    asked.respond(202)
    asked.notify(body)
    assert asked.heard == [(100, True)]
    asked.notify(body, "terminated")
    assert asked.heard[1:] == [(487, False)]
    assert asked.statuses == [200, 200]


def test_notifys_of_others_are_not_ours() -> None:
    """Another package, or the number of another REFER."""
    asked = Asked()
    asked.respond(202)
    asked.notify("SIP/2.0 200 OK\r\n", event="dialog")
    asked.notify("SIP/2.0 200 OK\r\n", event="refer;id=7")
    assert asked.statuses == [481, 481]
    asked.notify("SIP/2.0 200 OK\r\n", event=f"refer;id={asked.refer.cseq.number}")
    assert asked.heard == [(100, True), (200, False)]


def test_a_peer_that_never_tells_is_not_waited_for_for_ever() -> None:
    """And nothing is left of it."""
    asked = Asked(Stage(CoreConfig(referral_time=5.0)))
    asked.respond(202)
    asked.stage.run(6)
    assert asked.heard == [(100, True), (408, False)]
    asked.session.hangup()
    asked.stage.run()
    [bye] = asked.stage.requests("BYE")
    asked.stage.send(answer(bye, 200))
    asked.stage.run(40)
    assert is_idle(asked.stage.agent.core)


def test_a_peer_that_hangs_up_first_is_still_heard() -> None:
    """The subscription outlives the call (RFC 5057)."""
    asked = Asked()
    asked.respond(202)
    asked.session.hangup()
    asked.stage.run()
    [bye] = asked.stage.requests("BYE")
    asked.stage.send(answer(bye, 200))
    asked.notify("SIP/2.0 200 OK\r\n", "terminated")
    assert asked.heard[1:] == [(200, False)]
    asked.stage.run(40)
    assert is_idle(asked.stage.agent.core)


def test_a_mistake_of_ours_decides_it_and_a_call_that_is_dropped_says_nothing() -> None:
    """Whoever asked hears of the first; the end of the call is told by the call itself."""
    asked = Asked()
    referrer = asked.referrer()
    referrer.on_mistake()
    referrer.on_mistake()
    assert asked.heard == [(500, False)]
    asked = Asked()
    referrer = asked.referrer()
    referrer.drop()
    asked.respond(202)
    asked.stage.run(400)
    assert asked.heard == []
