"""SIP legs over scripted sessions: statuses, forks, reasons, digits."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import pytest

from gateway.call.leg import (
    Address,
    AnswerChanged,
    Answered,
    Confirmed,
    DigitPressed,
    Diversion,
    HistoryEntry,
    HungUp,
    KeyFrameRequested,
    LegEvent,
    OfferAnswered,
    OfferCancelled,
    Offered,
    Redirected,
    Rejected,
    Renamed,
    Returned,
    Ringing,
    SignallingChanged,
)
from gateway.call.status import Cause, cause_of_status
from gateway.legs.sip_bodies import KEY_FRAME_BODY, cause_of_q850, digit_of, kind_of, reason_of, refusal
from gateway.legs.sip_callee import SipCalleeLeg
from gateway.legs.sip_caller import SipCallerLeg
from gateway.legs.sip_sessions import CalleeSettings, Destination, Shown
from gateway.media.engine import Dtmf, Kind
from gateway.sip.dialogs.dialog import Dialog
from gateway.sip.invite import events
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.fields import Headers
from gateway.sip.message.message import Message
from gateway.sip.message.uri import Uri
from tests.legs.fakes import ALICE, PHONE, SDP, FakeInviter, FakeSession, listened
from tests.rows import by_row

SAID = [cause for cause in Cause if cause.status >= 400 and cause is not Cause.ELSEWHERE]
"""What a gateway may refuse a call for."""


def caller() -> tuple[SipCallerLeg, FakeSession, list[LegEvent]]:
    session = FakeSession()
    leg = SipCallerLeg("t1", session, PHONE, "192.0.2.7")
    return leg, session, listened(leg)


async def callee(*contacts: str) -> tuple[SipCalleeLeg, list[FakeSession], list[LegEvent]]:
    inviter = FakeInviter()
    destinations = [Destination(contact) for contact in contacts or ("sip:1001@192.0.2.1",)]
    leg = SipCalleeLeg("t2", inviter, PHONE, destinations, CalleeSettings())
    heard = listened(leg)
    await leg.invite("offer", ALICE)
    return leg, inviter.sessions, heard


async def test_whoever_has_seen_nothing_of_a_call_is_known() -> None:
    """A phone that calls, until anything is sent to it; who is called, until it is asked; a browser never."""
    session = FakeSession()
    leg = SipCallerLeg("t1", session, PHONE, "192.0.2.7")
    assert leg.is_unaware
    session.noticed()
    heard: list[LegEvent] = []
    leg.listen(lambda _, event: heard.append(event))
    assert heard == [SignallingChanged(is_first=True)]
    session.is_silent = False
    assert leg.is_unaware is session.is_silent
    browser = SDP.replace(b"RTP/AVP", b"UDP/TLS/RTP/SAVPF") + b"a=ice-ufrag:u\r\na=fingerprint:sha-256 00\r\n"
    page = SipCallerLeg("t2", FakeSession(browser), PHONE, "192.0.2.7")
    assert (page.party.kind, page.is_unaware) == (Kind.WEBRTC, False)
    asked = SipCalleeLeg("t3", FakeInviter(), PHONE, [Destination("sip:1001@192.0.2.1")], CalleeSettings())
    assert asked.is_unaware
    await asked.invite("offer", ALICE)
    assert not asked.is_unaware


def established() -> Dialog:
    """That of a phone which has called us."""
    request = build.request(
        "INVITE",
        Uri.parse("sip:2@gw.test"),
        from_=NameAddr(Uri.parse("sip:1@gw.test")).with_tag("theirs"),
        to=NameAddr(Uri.parse("sip:2@gw.test")),
        call_id="c",
        cseq=1,
        contact=NameAddr(Uri.parse("sip:1@192.0.2.7")),
    )
    return Dialog.of_uas(request, "ours")


async def test_a_leg_has_left_once_its_dialog_is_over() -> None:
    """A phone that was never answered has nothing to say goodbye to; one that was answers its BYE."""
    told: list[bool] = []
    leg, session, _ = caller()
    assert not leg.when_left(lambda: told.append(True))
    session.dialog = established()
    assert leg.when_left(lambda: told.append(True))
    await leg.end(Cause.NORMAL)
    assert told == []
    session.dialog.terminate()
    assert told == [True]
    assert not leg.when_left(lambda: told.append(True))
    nobody = SipCalleeLeg("t", FakeInviter(), PHONE, [], CalleeSettings())
    assert not nobody.when_left(lambda: told.append(True))


async def test_who_was_cancelled_is_written_down_until_it_has_answered() -> None:
    """Of two phones one takes the call, the other is told and may not have heard it; a failure is an answer."""
    leg, (winner, loser), _ = await callee("sip:1@h.test", "sip:2@h.test")
    winner.kept, loser.kept = {"dialog": "winner's"}, {"waits": "loser's"}
    winner.says(events.Answered(b"answer"))
    kept = leg.values()
    assert kept is not None
    assert (kept["sessions"], kept["leaving"]) == ([winner.kept, loser.kept], [])
    await leg.keep_answer()
    kept = leg.values()
    assert kept is not None
    assert (kept["sessions"], kept["leaving"]) == ([winner.kept], [loser.kept])
    changes: list[LegEvent] = []
    leg.listen(lambda _, event: changes.append(event))
    loser.says(events.Provisional(180, "Ringing"))
    assert changes == []
    loser.says(events.Failed(487, "Request Terminated", Headers()))
    assert changes == [SignallingChanged()]
    kept = leg.values()
    assert kept is not None
    assert (kept["sessions"], kept["leaving"]) == ([winner.kept], [])


async def test_a_leg_that_rang_has_left_once_every_phone_has_answered_the_cancel() -> None:
    """One has picked up before it heard of that: it has left once it has answered our BYE."""
    told: list[bool] = []
    leg, (one, other), _ = await callee("sip:1@h.test", "sip:2@h.test")
    await leg.end(Cause.CANCELLED)
    assert leg.when_left(lambda: told.append(True))
    one.says(events.Ended("local"))
    assert told == []
    other.dialog = established()
    other.dialog.is_leaving = True
    other.says(events.Ended("local"))
    assert told == []
    other.dialog.terminate()
    assert told == [True]
    assert not leg.when_left(lambda: told.append(True))


async def test_a_description_in_a_refusal_is_no_answer() -> None:
    """A 488 may say what its sender could take (RFC 3261 section 21.4.26)."""
    leg, session, heard = caller()
    await leg.answer("answer")
    await leg.offer(7, "offer")
    session.says(events.OfferAnswered(2, 488, SDP))
    assert heard == [OfferAnswered(7, None, Cause.NOT_ACCEPTABLE)]


async def test_ringing_and_answer_are_180_183_and_200() -> None:
    """Ringing without a description is 180, with one it is 183."""
    leg, session, _ = caller()
    await leg.ring(None)
    await leg.ring("early")
    await leg.answer("answer")
    assert session.told == [("ring", 180, None), ("ring", 183, b"early"), ("answer", b"answer")]
    assert leg.initial_offer == SDP.decode()


@by_row(
    ("cause", "status"),
    [
        (Cause.NOT_FOUND, 404),
        (Cause.UNAVAILABLE, 480),
        (Cause.BUSY, 486),
        (Cause.CANCELLED, 487),
        (Cause.NOT_ACCEPTABLE, 488),
        (Cause.DECLINED, 603),
        (Cause.NO_ANSWER, 408),
        (Cause.NORMAL, 480),
    ],
)
async def test_before_the_answer_the_end_is_the_status_of_its_cause(cause: Cause, status: int) -> None:
    """The caller's phone shows what happened; a 2xx status would not be a refusal."""
    leg, session, _ = caller()
    await leg.end(cause)
    await leg.end(cause)
    assert session.told == [("reject", status, reason_of(cause))]


async def test_after_the_answer_the_end_is_a_bye_with_its_reason() -> None:
    """RFC 3326: the BYE says why."""
    leg, session, _ = caller()
    await leg.answer("answer")
    await leg.end(Cause.MEDIA_TIMEOUT)
    assert session.told[-1] == ("hangup", 'Q.850;cause=41;text="media-timeout"')


@by_row(
    ("event", "heard"),
    [
        (events.Ended("remote"), HungUp(Cause.NORMAL)),
        (events.Ended("remote", q850=17), HungUp(Cause.BUSY)),
        (events.Ended("remote", cause=486), HungUp(Cause.BUSY)),
        (events.Ended("timeout", cause=408), HungUp(Cause.NO_ANSWER)),
        (events.Ended("error"), HungUp(Cause.MEDIA_TIMEOUT)),
        (events.Ended("mistake", cause=500), HungUp(Cause.ERROR)),
        (events.Offered(2, b"hold"), Offered(2, "hold")),
        (events.OfferCancelled(2), OfferCancelled(2)),
        (events.InfoReceived("application/dtmf-relay", b"Signal=5\r\nDuration=200\r\n"), DigitPressed("5", 200)),
    ],
)
async def test_what_the_phone_does_in_the_dialog_reaches_the_call(event: events.SessionEvent, heard: LegEvent) -> None:
    """BYE, re-INVITE, the outcome of ours, and digits in INFO."""
    _, session, ear = caller()
    session.says(event)
    assert ear == [heard]


@pytest.mark.parametrize("got", [True, False])
async def test_a_digit_in_an_info_is_answered_for_when_the_call_knows_what_became_of_it(got: bool) -> None:
    """200 where the other side has it, 488 where nobody could pass it on; not a word before."""
    _, session, ear = caller()
    session.says(events.InfoReceived("application/dtmf", b"5", number=3))
    [digit] = ear
    assert isinstance(digit, DigitPressed)
    assert session.told == []
    digit.told(got)
    assert session.told == [("answer_info", 3, 200 if got else 488)]


@pytest.mark.parametrize(
    ("content_type", "body", "status"), [("application/dtmf", b"55", 400), ("application/x-y", b"5", 415)]
)
async def test_an_info_that_says_no_digit_is_refused_at_once(content_type: str, body: bytes, status: int) -> None:
    """Malformed is 400, another type 415; the call is not asked."""
    _, session, ear = caller()
    session.says(events.InfoReceived(content_type, body, number=4))
    assert session.told == [("answer_info", 4, status)]
    assert ear == []


FAST_UPDATE = (
    b"<media_control><vc_primitive><to_encoder><picture_fast_update/></to_encoder></vc_primitive></media_control>"
)


@by_row(
    ("body", "status", "heard"),
    [
        (FAST_UPDATE, 200, [KeyFrameRequested()]),
        (
            FAST_UPDATE.replace(b"<p", b"<mc:p").replace(b"/>", b">\r\n</mc:picture_fast_update>"),
            200,
            [KeyFrameRequested()],
        ),
        (b"<media_control><general_error>no</general_error></media_control>", 400, []),
        (b"\xff" * 5000, 400, []),
    ],
)
async def test_an_info_that_asks_for_a_key_frame_is_answered_and_told(
    body: bytes, status: int, heard: list[LegEvent]
) -> None:
    """RFC 5168: one command there is; anything else is a body that says nothing."""
    _, session, ear = caller()
    session.says(events.InfoReceived("application/media_control+xml", body, number=4))
    assert session.told == [("answer_info", 4, status)]
    assert ear == heard


@by_row(("allows", "sends"), [((), True), (("INVITE", "INFO"), True), (("INVITE", "BYE"), False)])
async def test_a_key_frame_is_asked_for_by_info_where_that_is_taken(allows: tuple[str, ...], sends: bool) -> None:
    """The document of RFC 5168; a phone that says it takes no INFO gets none."""
    leg, session, _ = caller()
    session.peer_allows = frozenset(allows)
    leg.ask_key_frame()
    infos = [told for told in session.told if told[0] == "info"]
    assert [told[1] for told in infos] == ["application/media_control+xml"] * sends
    assert all(told[2] == KEY_FRAME_BODY for told in infos)


@by_row(
    ("dtmf", "allows", "sends"),
    [
        (Dtmf.AUTO, (), True),
        (Dtmf.AUTO, ("INVITE", "INFO"), True),
        (Dtmf.AUTO, ("INVITE", "BYE"), False),
        (Dtmf.INFO, ("INVITE", "BYE"), True),
        (Dtmf.RFC4733, (), False),
        (Dtmf.INBAND, (), False),
    ],
)
async def test_a_digit_goes_out_as_info_to_who_takes_it_so(dtmf: Dtmf, allows: tuple[str, ...], sends: bool) -> None:
    """Where it is not in the media already, and the far end may be sent INFO."""
    session = FakeSession()
    leg = SipCallerLeg("t1", session, PHONE, None, dtmf=dtmf)
    session.peer_allows = frozenset(allows)
    told: list[bool] = []
    await leg.digit("5", 200, sent=True, told=told.append)
    assert (told, session.told) == ([True], [])
    await leg.digit("5", 200, sent=False, told=told.append)
    if not sends:
        assert (told, session.told) == ([True, False], [])
        return
    instead = ("application/dtmf", b"5")
    body = b"Signal=5\r\nDuration=200\r\n"
    assert session.told == [("info", "application/dtmf-relay", body, None, instead)]
    session.infos.pop()(200)
    session.peer_packages = frozenset({"infodtmf"})
    await leg.digit("6", 200, sent=False, told=told.append)
    assert session.told[-1][3] == "infodtmf"
    session.infos.pop()(488)
    assert told == [True, True, False]


async def test_a_digit_before_the_callee_has_answered_goes_nowhere() -> None:
    """There is no dialog to send it in."""
    leg, _, _ = await callee()
    told: list[bool] = []
    await leg.digit("5", 200, sent=False, told=told.append)
    assert told == [False]


async def test_a_reinvite_without_an_offer_gets_ours_and_its_ack_the_answer() -> None:
    """The answer in the ACK belongs to the exchange that asked (RFC 3261 section 14.1)."""
    leg, session, ear = caller()
    session.says(events.Offered(3, b""))
    await leg.answer_offer(3, "ours")
    session.says(events.OfferAnswered(3, 200, b"theirs"))
    assert session.told == [("answer_offer", 3, b"ours")]
    assert ear == [Offered(3, None), Confirmed(3, "theirs")]


async def test_holds_pass_both_ways_and_each_answer_names_its_offer() -> None:
    """The session's numbers of exchanges and the call's are told apart."""
    leg, session, ear = caller()
    await leg.offer(11, "hold")
    session.says(events.Offered(5, b"theirs"))
    await leg.answer_offer(5, "held")
    session.says(events.OfferAnswered(2, 200, b"answer"))
    await leg.offer(12, "resume")
    session.says(events.OfferAnswered(2, 491))
    await leg.answer_offer(6, None, Cause.GLARE)
    assert session.told == [
        ("offer", b"hold"),
        ("answer_offer", 5, b"held"),
        ("offer", b"resume"),
        ("refuse_offer", 6, 491),
    ]
    session.says(events.OfferAnswered(4, 200, b"moved"))
    session.says(events.OfferAnswered(6, 200, None))
    told = [Offered(5, "theirs"), OfferAnswered(11, "answer"), OfferAnswered(12, None, Cause.GLARE)]
    assert ear == [*told, AnswerChanged()], "a refresh that nobody asked for brought something new"


async def test_an_outcome_that_comes_before_the_number_of_the_offer_is_not_lost() -> None:
    """A session that is over refuses an offer in the same breath."""
    leg, session, ear = caller()

    def offer(body: bytes) -> int:
        session.says(events.OfferAnswered(9, 481))
        return 9

    session.offer = offer  # type: ignore[method-assign]
    await leg.offer(3, "hold")
    assert ear == [OfferAnswered(3, None, Cause.NORMAL)]


@by_row(("source", "version"), [("2001:db8::7", 6), ("192.0.2.7", 4), (None, 0)])
def test_a_caller_without_an_offer_is_made_one_by_the_version_that_it_came_by(source: str | None, version: int) -> None:
    """Nothing else says where its media may be."""
    assert SipCallerLeg("t1", FakeSession(b""), PHONE, source).party.family == version


async def test_an_invite_without_an_offer_gets_ours_in_the_200_and_its_answer_in_the_ack() -> None:
    """RFC 3261 section 13.3.1.4: the 2xx has the offer, the ACK the answer."""
    session = FakeSession(b"")
    leg = SipCallerLeg("t1", session, PHONE, None, Kind.SDES)
    ear = listened(leg)
    assert leg.initial_offer is None
    assert leg.party.kind is Kind.SDES
    await leg.answer("ours")
    session.says(events.Confirmed(b"theirs", 1))
    assert session.told == [("answer", b"ours")]
    assert ear == [Confirmed(0, "theirs")]


async def test_a_503_says_when_to_try_again_and_where_it_was_refused() -> None:
    """RFC 3261 section 20.33; the detail is text of ours, without what would end the quoted string."""
    leg, session, _ = caller()
    leg.refuse(Cause.OVERLOADED, 'limits.max_calls"\r\nX: y', 7)
    assert session.told == [("reject", 503, 'Q.850;cause=42;text="overloaded: limits.max_callsX: y"')]
    assert session.retry_after == "7"


async def test_every_contact_is_invited_with_the_caller_in_from() -> None:
    """All phones of a user get the same offer."""
    inviter = FakeInviter()
    destinations = [
        Destination("sip:a@192.0.2.1", received="udp:192.0.2.1:5062", identity="1001"),
        Destination("sip:b@192.0.2.2"),
    ]
    leg = SipCalleeLeg("t", inviter, PHONE, destinations, CalleeSettings())
    await leg.invite("offer", ALICE)
    assert [target for target, _ in inviter.invites] == ["sip:a@192.0.2.1", "sip:b@192.0.2.2"]
    assert inviter.invites[0][1]["received"] == "udp:192.0.2.1:5062"
    assert [arguments["identity"] for _, arguments in inviter.invites] == ["1001", None]
    assert all(str(arguments["caller"]) == '"Alice" <sip:alice@gw.test>' for _, arguments in inviter.invites)


async def test_a_callee_whom_nobody_asks_any_more_is_freed_at_once() -> None:
    """It stands in no circle, for which every call would wait while the collector looks."""
    flows = Destination("sip:a@192.0.2.1", others=(Destination("sip:a@192.0.2.2"),))
    leg = SipCalleeLeg("t", FakeInviter(), PHONE, [flows], CalleeSettings())
    gone = weakref.ref(leg)
    gc.disable()
    try:
        del leg
        assert gone() is None
    finally:
        gc.enable()


async def test_provisionals_are_ringing_with_or_without_early_media() -> None:
    """181 and 182 say nothing to the caller; 183 without a body is ringing."""
    _, (session,), heard = await callee()
    session.says(events.Provisional(181, "Forwarded"))
    session.says(events.Provisional(180, "Ringing"))
    session.says(events.Provisional(183, "Progress"))
    session.says(events.Provisional(183, "Progress", b"early"))
    assert heard == [Ringing(), Ringing(), Ringing("early")]


async def test_the_first_phone_to_answer_has_the_call() -> None:
    """The others are cancelled with "completed elsewhere", and their late events are ignored."""
    leg, (first, second), heard = await callee("sip:a@192.0.2.1", "sip:b@192.0.2.2")
    second.says(events.Answered(b"answer"))
    assert (first.told, leg.chosen) == ([], None)
    await leg.keep_answer()
    assert first.told == [("hangup", 'SIP;cause=200;text="Call completed elsewhere"')]
    first.says(events.Failed(487, "Request Terminated", Headers()))
    assert [one for one in heard if one != SignallingChanged()] == [Answered("answer")]
    assert leg.chosen is not None
    assert leg.chosen.uri == "sip:b@192.0.2.2"
    second.says(events.Ended("remote"))
    assert heard[-1] == HungUp(Cause.NORMAL)


async def test_an_answer_that_is_refused_ends_that_phone_alone() -> None:
    """The next that has answered is judged, the others ring on; what the first has said since is for nobody."""
    leg, (first, second, third), heard = await callee("sip:a@192.0.2.1", "sip:b@192.0.2.2", "sip:c@192.0.2.3")
    first.says(events.Answered(b"bad"))
    first.says(events.Ended("remote"))
    second.says(events.Answered(b"", repeated=b"worse"))
    second.says(events.Offered(7, b"offer"))
    await leg.refuse_answer(Cause.NOT_ACCEPTABLE)
    assert [what for what, *_ in first.told] == ["hangup"]
    assert [one for one in heard if one != SignallingChanged()] == [Answered("bad"), Answered(None, "worse")]
    assert (second.told, third.told) == ([], [])
    await leg.keep_answer()
    assert heard[-1] == Offered(7, "offer")
    assert [what for what, *_ in third.told] == ["hangup"]
    await leg.refuse_answer(Cause.NOT_ACCEPTABLE)
    assert second.told == []


async def test_a_phone_whose_answer_is_refused_last_refuses_the_call() -> None:
    """A 6xx of another phone does not end the phone that has answered."""
    leg, (first, second), heard = await callee("sip:a@192.0.2.1", "sip:b@192.0.2.2")
    first.says(events.Answered(b"bad"))
    second.says(events.Failed(603, "Decline", Headers()))
    assert first.told == []
    await leg.refuse_answer(Cause.NOT_ACCEPTABLE)
    assert [what for what, *_ in first.told] == ["hangup"]
    assert isinstance(heard[-1], Rejected)


async def test_a_leg_that_ends_hangs_up_on_who_has_answered() -> None:
    """The call was given up while it judged the answer."""
    leg, (first, second), _ = await callee("sip:a@192.0.2.1", "sip:b@192.0.2.2")
    first.says(events.Answered(b"answer"))
    await leg.end(Cause.CANCELLED)
    assert [[what for what, *_ in one.told] for one in (first, second)] == [["hangup"], ["hangup"]]
    await leg.keep_answer()
    assert leg.chosen is None


async def test_only_when_all_phones_refuse_is_the_call_refused() -> None:
    """One phone that is off does not end the ringing of the other."""
    _, (first, second), heard = await callee("sip:a@192.0.2.1", "sip:b@192.0.2.2")
    first.says(events.Failed(480, "Away", Headers()))
    assert heard == []
    second.says(events.Failed(486, "Busy", Headers()))
    assert heard == [Rejected(Cause.BUSY)]


async def test_a_global_refusal_ends_every_phone_at_once() -> None:
    """603 speaks for the person, not the device (RFC 3261 section 16.7)."""
    _, (first, second), heard = await callee("sip:a@192.0.2.1", "sip:b@192.0.2.2")
    first.says(events.Failed(603, "Decline", Headers()))
    assert second.told[-1][0] == "hangup"
    assert heard == [Rejected(Cause.DECLINED)]


async def test_giving_up_cancels_every_phone() -> None:
    """Each session is told, once."""
    leg, sessions, _ = await callee("sip:a@192.0.2.1", "sip:b@192.0.2.2")
    await leg.end(Cause.CANCELLED)
    await leg.end(Cause.CANCELLED)
    assert [session.told for session in sessions] == [[("hangup", reason_of(Cause.CANCELLED))]] * 2


@by_row(
    ("content_type", "body", "found"),
    [
        ("application/dtmf-relay", b"Signal=#\r\nDuration=160", ("#", 160)),
        ("application/dtmf-relay", b"Signal = a\nDuration = 99999", ("A", 5000)),
        ("application/dtmf-relay", b"Signal=55", None),
        ("application/dtmf-relay", b"Duration=100", None),
        ("application/dtmf", b" 7\r\n", ("7", 160)),
        ("application/dtmf", b"77", None),
        ("application/dtmf", b"\xff\xfe", None),
    ],
)
def test_digits_in_info_bodies(content_type: str, body: bytes, found: tuple[str, int] | None) -> None:
    """Both spellings phones use; everything else is no digit."""
    assert digit_of(content_type, body) == found


@by_row(
    ("line", "kind"),
    [
        ("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:abcd", Kind.WEBRTC),
        ("m=audio 9 UDP/TLS/RTP/SAVPF 111", Kind.DTLS),
        ("m=audio 9 RTP/SAVP 0\r\na=fingerprint:sha-256 AB", Kind.DTLS),
        ("m=audio 9 RTP/SAVP 0\r\na=fingerprint:sha-256 AB\r\na=crypto:1 X inline:Y", Kind.SDES),
        ("m=audio 9 RTP/AVP 0\r\na=crypto:1 X inline:Y", Kind.BEST_EFFORT),
        ("m=audio 9 RTP/SAVP 0", Kind.SDES),
        ("m=audio 9 RTP/SAVPF 0", Kind.SDES),
        ("m=audio 9 RTP/AVP 0", Kind.RTP),
        ("m=audio 9 RTP/AVPF 0", Kind.RTP),
        ("nonsense", Kind.RTP),
    ],
)
def test_the_kind_of_an_offer_is_its_audio_profile(line: str, kind: Kind) -> None:
    """Browsers behind SIP are recognised by what they offer."""
    assert kind_of(f"v=0\r\n{line}\r\n") is kind


@by_row(
    ("status", "fields", "said"),
    [
        *((one.status, (("Reason", reason_of(one, "limits.x: y")),), Rejected(one)) for one in SAID),
        (487, (("Reason", reason_of(Cause.ELSEWHERE)),), Rejected(Cause.CANCELLED)),
        (503, (("Retry-After", "7 (busy);duration=9"),), Rejected(Cause.OUT_OF_SERVICE, 7)),
        (503, (("Reason", reason_of(Cause.LINE_FULL)), ("Retry-After", "9")), Rejected(Cause.LINE_FULL, 9)),
        (503, (), Rejected(Cause.UNREACHABLE)),
        (486, (("Reason", reason_of(Cause.FORBIDDEN)), ("Retry-After", "3")), Rejected(Cause.BUSY, 3)),
        (500, (("Reason", "SIP;cause=600, ;;;"), ("Retry-After", "soon")), Rejected(Cause.PEER_ERROR)),
        (480, (("Reason", 'SIP;cause=480, Q.850;cause=27;text="lost"'),), Rejected(Cause.LOST)),
    ],
)
def test_another_gateway_of_ours_says_why_it_refuses(
    status: int, fields: tuple[tuple[str, str], ...], said: Rejected
) -> None:
    """In its Reason, and for how long; a word of another status, and what cannot be read, says nothing."""
    event = events.Failed(status, "No", Headers(fields))
    assert refusal(event, of_gateway=True) == said
    assert refusal(event, of_gateway=False) == Rejected(cause_of_status(status))


async def test_the_shortest_time_that_gateways_have_named_is_told() -> None:
    """With the most telling of what they say; phones and trunks name none to our callers."""
    inviter = FakeInviter()
    nodes = [Destination(f"sip:1001@{number}.test", looks_up=number < 2) for number in range(3)]
    leg = SipCalleeLeg("t2", inviter, PHONE, nodes, CalleeSettings())
    heard = listened(leg)
    await leg.invite("offer", ALICE)
    for session, seconds in zip(inviter.sessions, ("30", "20", "10"), strict=True):
        session.says(events.Failed(503, "", Headers((("Retry-After", seconds),))))
    assert heard == [Rejected(Cause.OUT_OF_SERVICE, 20)]


def test_q850_causes_mean_what_our_own_say() -> None:
    """What we send in Reason is understood when it comes back."""
    for cause in (Cause.BUSY, Cause.DECLINED, Cause.NO_ANSWER, Cause.NOT_FOUND, Cause.NOT_ACCEPTABLE):
        assert cause_of_q850(cause.q850) is cause
    assert cause_of_q850(127) is Cause.NORMAL


@by_row(
    ("status", "contacts", "targets"),
    [
        (
            302,
            "<sip:a@x>;q=0.2, <sip:b@y;transport=tcp>, <sip:c@z>;q=0.5",
            ("sip:b@y;transport=tcp", "sip:c@z", "sip:a@x"),
        ),
        (301, "<sip:a@x?Replaces=1>", ("sip:a@x",)),
        (300, ", ".join(f"<sip:{number}@x>" for number in range(20)), tuple(f"sip:{number}@x" for number in range(8))),
        (302, "<sip:a@x>;q=7", ("sip:a@x",)),
        (305, "<sip:proxy.test:5070;lr>", ("sip:1001@proxy.test:5070",)),
    ],
)
async def test_a_redirection_names_others_best_first(status: int, contacts: str, targets: tuple[str, ...]) -> None:
    """By q, a few of them; 305 the same user at the proxy that it names (RFC 3261 section 21.3)."""
    _, (session,), heard = await callee()
    session.says(events.Failed(status, "", Headers(), tuple(NameAddr.parse_list(contacts))))
    assert heard == [Redirected(targets, is_over=True)]
    session.says(events.Ended("local"))
    assert len(heard) == 1


async def test_one_phone_that_redirects_leaves_the_others_ringing() -> None:
    """The leg is over with the last of them."""
    contact = (NameAddr.parse("<sip:a@x>"),)
    _, (first, second), heard = await callee("sip:1001@192.0.2.1", "sip:1001@192.0.2.2")
    first.says(events.Failed(302, "", Headers(), contact))
    second.says(events.Failed(486, "", Headers(), contact))
    assert heard == [Redirected(("sip:a@x",), is_over=False), Rejected(Cause.BUSY)]


@pytest.mark.parametrize("failover", [False, True])
async def test_the_next_rank_waits_for_whom_a_phone_names_unless_it_is_only_another_place(failover: bool) -> None:
    """Another device is asked after them; another place of one trunk would say the same again."""
    inviter = FakeInviter()
    destinations = [Destination("sip:1001@192.0.2.1"), Destination("sip:1001@192.0.2.2", rank=1)]
    leg = SipCalleeLeg("t2", inviter, PHONE, destinations, CalleeSettings(failover=failover))
    heard = listened(leg)
    await leg.invite("offer", ALICE)
    inviter.sessions[0].says(events.Failed(302, "", Headers(), (NameAddr.parse("<sip:a@x>"),)))
    assert heard == [Redirected(("sip:a@x",), is_over=failover)]
    assert len(inviter.sessions) == 1
    [event] = heard
    assert isinstance(event, Redirected)
    assert (event.then is None) is failover
    if event.then is not None:
        event.then(Cause.BUSY)
        assert len(inviter.sessions) == 2


@pytest.mark.parametrize(("status", "contacts"), [(302, ()), (380, (NameAddr.parse("<sip:a@x>"),))])
async def test_a_redirection_to_nobody_is_a_refusal(status: int, contacts: tuple[NameAddr, ...]) -> None:
    """Without a contact, or to another kind of service."""
    _, (session,), heard = await callee()
    session.says(events.Failed(status, "", Headers(), contacts))
    assert heard == [Rejected(Cause.UNAVAILABLE)]


@by_row("shown", [Shown(is_user=True), Shown(is_trunk=True), Shown()])
async def test_who_was_called_before_is_told_to_those_we_know(shown: Shown) -> None:
    """Diversion with the latest first, History-Info with the first first; nothing to strangers."""
    inviter = FakeInviter()
    leg = SipCalleeLeg("t2", inviter, PHONE, [Destination("sip:3@x", shown=shown)], CalleeSettings())
    diversions = (Diversion("sip:2@gw.test", "user-busy"), Diversion("sip:1@gw.test", "no-answer"))
    await leg.invite("offer", replace(ALICE, diversions=diversions))
    [(_, arguments)] = inviter.invites
    told = [
        ("Diversion", "<sip:2@gw.test>;reason=user-busy"),
        ("Diversion", "<sip:1@gw.test>;reason=no-answer"),
        ("History-Info", "<sip:1@gw.test?Reason=SIP%3Bcause%3D408>;index=1"),
        ("History-Info", "<sip:2@gw.test?Reason=SIP%3Bcause%3D486>;index=1.1;mp=1"),
        ("History-Info", "<sip:3@x>;index=1.1.1;mp=1.1"),
    ]
    assert list(arguments["headers"]) == (told if shown.is_known else [])


async def test_an_update_of_a_phone_that_still_rings_is_the_calls_to_answer() -> None:
    """Left without a response it would hold a transaction for ever (RFC 3311 section 5.2)."""
    leg, (session,), heard = await callee()
    session.says(events.Offered(4, SDP))
    assert heard == [Offered(4, SDP.decode())]
    await leg.answer_offer(4, "answer")
    await leg.answer_offer(5, None, Cause.GLARE)
    assert session.told == [("answer_offer", 4, b"answer"), ("refuse_offer", 5, 491)]


async def test_an_update_of_one_of_several_that_ring_is_refused() -> None:
    """Nobody knows which of them will answer."""
    leg, (session, _), heard = await callee("sip:3@x", "sip:4@x")
    session.says(events.Offered(4, SDP))
    await leg.answer_offer(4, "answer")
    assert (session.told, heard) == ([("refuse_offer", 4, 491)], [])


def connected_caller() -> tuple[FakeSession, SipCallerLeg, list[LegEvent]]:
    """A caller's leg, its session, and what the call hears of it."""
    session, heard = FakeSession(), list[LegEvent]()
    leg = SipCallerLeg("c", session, PHONE, None)
    leg.listen(lambda _, event: heard.append(event))
    session.says(events.FlowLost())
    return session, leg, heard


def test_a_lost_connection_alone_changes_nothing() -> None:
    """The call is told nothing; the leg knows, for when the media ends, too."""
    _, leg, heard = connected_caller()
    assert heard == []
    assert leg.signalling_lost


@by_row(
    ("event", "told"),
    [
        (events.Offered(3, SDP), [Returned(3, SDP.decode())]),
        (events.Offered(3, b""), [Returned(), Offered(3, None)]),
        (
            events.InfoReceived("application/dtmf-relay", b"Signal=5\r\nDuration=160\r\n"),
            [Returned(), DigitPressed("5")],
        ),
    ],
)
def test_a_request_by_another_way_brings_the_client_back(event: events.SessionEvent, told: list[LegEvent]) -> None:
    """An offer is its return's own; anything else is told behind it."""
    session, leg, heard = connected_caller()
    session.says(event)
    assert heard == told
    assert not leg.signalling_lost


@pytest.mark.parametrize(
    ("sdp", "returns"), [(SDP, False), (SDP.replace(b"RTP/AVP", b"UDP/TLS/RTP/SAVPF") + b"a=ice-ufrag:abcd\r\n", True)]
)
def test_a_browser_may_return_whose_media_ended_first(sdp: bytes, returns: bool) -> None:
    """A page that is reloaded ends its DTLS before its WebSocket closes; a phone that is silent is gone."""
    session, heard = FakeSession(), list[LegEvent]()
    session.initial_offer = sdp
    leg = SipCallerLeg("c", session, PHONE, None)
    leg.listen(lambda _, event: heard.append(event))
    assert leg.may_return == returns
    leg.awaited()
    session.says(events.Offered(3, sdp))
    assert heard == [Returned(3, sdp.decode())]


async def test_who_comes_back_to_answer_an_offer_has_answered_it_before_it_is_back() -> None:
    """What nobody has answered yet is given up for who returns, so this must not come behind the return."""
    session, leg, heard = connected_caller()
    await leg.offer(7, "offer")
    [number] = leg._ours
    session.says(events.OfferAnswered(number, 200, SDP))
    assert heard == [OfferAnswered(7, SDP.decode()), Returned()]
    assert not leg.signalling_lost


def test_an_offer_of_ours_that_nobody_answered_brings_nobody_back() -> None:
    """408 is our own word."""
    session, leg, heard = connected_caller()
    session.says(events.OfferAnswered(9, 408))
    assert leg.signalling_lost
    assert Returned() not in heard


@by_row("cause", list(Cause))
async def test_every_cause_ends_a_callers_invite_with_a_failure_that_says_why(cause: Cause) -> None:
    """The status of its row, 480 where the call merely ended; the Reason names it (RFC 3326)."""
    leg, session, _ = caller()
    await leg.end(cause)
    [(verb, status, reason)] = session.told
    assert (verb, status) == ("reject", cause.status if cause.status >= 300 else 480)
    assert str(reason).startswith(("Q.850;cause=", "SIP;cause=200"))
    assert (session.retry_after is not None) is (status == 503)


async def test_a_caller_is_told_the_time_that_whoever_refused_has_named() -> None:
    """As long as it is refused for that, with 503."""
    for cause, told in ((Cause.OVERLOADED, "20"), (Cause.BUSY, None)):
        leg, session, _ = caller()
        leg.note_limit(cause, "", 20)
        await leg.end(cause)
        assert session.retry_after == told


CAROL = Address("sip:carol@gw.test", "Carol")
HIDDEN = Address("sip:anonymous@anonymous.invalid", "Anonymous", asserted="sip:carol@gw.test")
NAMED = [("P-Asserted-Identity", '"Carol" <sip:carol@gw.test>')]
WHO = [("P-Asserted-Identity", "<sip:carol@gw.test>"), ("Privacy", "id")]


@by_row(
    ("shown", "peer", "fields"),
    [
        (Shown(is_user=True), CAROL, NAMED),
        (Shown(is_user=True), HIDDEN, []),
        (Shown(is_trunk=True, asserts=True), CAROL, NAMED),
        (Shown(is_trunk=True, asserts=True), HIDDEN, WHO),
        (Shown(is_trunk=True), CAROL, []),
        (Shown(is_trunk=True, prefers=True), CAROL, [("P-Preferred-Identity", NAMED[0][1])]),
        (Shown(), CAROL, []),
    ],
)
async def test_whom_it_talks_with_now_is_told_to_those_who_may_know(
    shown: Shown, peer: Address, fields: list[tuple[str, str]]
) -> None:
    """From is the session's business (RFC 4916); who hides is named to trusted trunks alone."""
    session = FakeSession()
    leg = SipCallerLeg("c", session, PHONE, None, shown=shown)
    await leg.identified(peer)
    assert session.told == [("identify", f'"{peer.display_name}" <{peer.uri}>', fields)]
    session.told.clear()
    session.says(events.Ended("remote"))
    await leg.identified(peer)
    assert session.told == []


@pytest.mark.parametrize("believed", [True, False])
async def test_a_far_end_is_renamed_where_it_is_believed(believed: bool) -> None:
    """Once, by who it has proved to be; the call hears of news only."""
    asked: list[str | None] = []

    def reads(message: Message, identity: str | None) -> Address | None:
        asked.append(identity)
        return Address("sip:carol@gw.test", message.from_.display_name) if believed else None

    session, heard = FakeSession(), list[LegEvent]()
    leg = SipCallerLeg("c", session, replace(PHONE, hops=7), None, identity="1001", reads=reads)
    leg.listen(lambda _, event: heard.append(event))
    uri = Uri.parse("sip:600@gw.test")
    sender = NameAddr.parse('"Carol" <sip:carol@elsewhere.test>')
    update = build.request("UPDATE", uri, from_=sender, to=NameAddr(uri), call_id="c", cseq=1)
    for _ in range(2):
        session.says(events.Identified(update))
    assert heard == ([Renamed()] if believed else [])
    assert asked == ["1001", "1001"]
    assert leg.address == replace(CAROL if believed else PHONE, hops=7)


HISTORY = (HistoryEntry("sip:7@pbx.test", "1", is_private=True), HistoryEntry("sip:8@pbx.test", "1.2", "mp=1"))


@by_row(
    ("shown", "diversions", "told"),
    [
        (
            Shown(is_trunk=True, asserts=True),
            (),
            ["<sip:7@pbx.test>;index=1", "<sip:8@pbx.test>;index=1.2;mp=1", "<sip:3@x>;index=1.2.1;mp=1.2"],
        ),
        (
            Shown(is_trunk=True),
            (),
            [
                "<sip:anonymous@anonymous.invalid>;index=1",
                "<sip:8@pbx.test>;index=1.2;mp=1",
                "<sip:3@x>;index=1.2.1;mp=1.2",
            ],
        ),
        (
            Shown(is_user=True),
            (),
            [
                "<sip:anonymous@anonymous.invalid>;index=1",
                "<sip:8@pbx.test>;index=1.2;mp=1",
                "<sip:3@x>;index=1.2.1;rc=1.2",
            ],
        ),
        (
            Shown(is_trunk=True, asserts=True),
            (Diversion("sip:8@gw.test", "user-busy"), Diversion("sip:7@pbx.test", "unknown", in_history=True)),
            [
                "<sip:7@pbx.test>;index=1",
                "<sip:8@pbx.test?Reason=SIP%3Bcause%3D486>;index=1.2;mp=1",
                "<sip:3@x>;index=1.2.1;mp=1.2",
            ],
        ),
        (
            Shown(is_trunk=True, asserts=True),
            (Diversion("sip:9@gw.test", "no-answer"),),
            [
                "<sip:7@pbx.test>;index=1",
                "<sip:8@pbx.test>;index=1.2;mp=1",
                "<sip:9@gw.test?Reason=SIP%3Bcause%3D408>;index=1.2.1;mp=1.2",
                "<sip:3@x>;index=1.2.1.1;mp=1.2.1",
            ],
        ),
    ],
)
async def test_a_history_goes_on_where_it_came_from(
    shown: Shown, diversions: tuple[Diversion, ...], told: list[str]
) -> None:
    """Its index is extended (RFC 7044 section 10.3); who wants to be left out is told to trusted trunks alone."""
    inviter = FakeInviter()
    leg = SipCalleeLeg("t2", inviter, PHONE, [Destination("sip:3@x", shown=shown)], CalleeSettings())
    await leg.invite("offer", replace(ALICE, history=HISTORY, diversions=diversions))
    headers = list(inviter.invites[0][1]["headers"])
    assert [str(value) for name, value in headers if name == "History-Info"] == told
    assert (("Privacy", "history") in headers) is shown.asserts


async def test_a_signature_goes_to_those_it_is_meant_for() -> None:
    """Other trunks, which see the number that was signed (RFC 8224)."""
    signed = (("Identity", "eyJ.e30.sig;info=<https://cert.test/1>"), ("Date", "Sun, 22 Nov 2026 12:00:00 GMT"))
    inviter = FakeInviter()
    for shown in (Shown(is_trunk=True, signed=True), Shown(is_trunk=True), Shown(is_user=True)):
        leg = SipCalleeLeg("t2", inviter, PHONE, [Destination("sip:3@x", shown=shown)], CalleeSettings())
        await leg.invite("offer", replace(ALICE, signed=signed))
    assert [tuple(arguments["headers"]) for _, arguments in inviter.invites] == [signed, (), ()]


async def test_a_callee_that_names_itself_as_it_answers_is_renamed_before() -> None:
    """So that the caller is told with the answer; what it is told then is by where it was answered."""

    def reads(message: Message, identity: str | None) -> Address | None:
        return CAROL if identity == "trunk:office" else None

    inviter = FakeInviter()
    place = Destination("sip:3@x", identity="trunk:office", shown=Shown(is_trunk=True, asserts=True))
    leg = SipCalleeLeg("t2", inviter, PHONE, [place], CalleeSettings(), reads)
    heard = listened(leg)
    await leg.invite("offer", ALICE)
    [session] = inviter.sessions
    uri = Uri.parse("sip:600@gw.test")
    request = build.request("INVITE", uri, from_=NameAddr(uri), to=NameAddr(uri), call_id="c", cseq=1)
    session.says(events.Identified(build.response(request, 200)))
    session.says(events.Answered(SDP))
    assert heard == [Renamed(), Answered(SDP.decode())]
    await leg.keep_answer()
    assert leg.address.uri == CAROL.uri
    await leg.identified(CAROL)
    assert session.told[-1] == ("identify", '"Carol" <sip:carol@gw.test>', NAMED)


@by_row(("allows", "takes"), [((), True), (("INVITE", "REFER"), True), (("INVITE", "BYE"), False)])
def test_who_may_be_asked_to_call_somebody_else(allows: tuple[str, ...], takes: bool) -> None:
    """Whose Allow has REFER, or that says nothing; where its peer is, is where it reaches us from."""
    session = FakeSession()
    session.peer_allows = frozenset(allows)
    leg = SipCallerLeg("c", session, PHONE, None)
    assert leg.refers_by == (session.source if takes else None)
