"""ICE candidates of a far end that trickles them by INFO (RFC 8840)."""

from __future__ import annotations

from gateway.call.leg import CandidateAdded, DigitPressed, LegEvent, Offered, Returned
from gateway.legs.sip_caller import SipCallerLeg
from gateway.sip.invite import events
from tests.legs.fakes import PHONE, FakeSession, listened
from tests.rows import by_row

KIND = "application/trickle-ice-sdpfrag"
FIRST = "candidate:1 1 udp 2130706431 192.0.2.7 5000 typ host"
SECOND = "candidate:2 1 udp 1694498815 198.51.100.7 6000 typ srflx raddr 192.0.2.7 rport 5000"


def offer(ufrag: str) -> bytes:
    lines = ("v=0", "o=- 1 1 IN IP4 0.0.0.0", "s=-", "t=0 0", f"a=ice-ufrag:{ufrag}", f"a=ice-pwd:{ufrag}-password")
    return "\r\n".join((*lines, "m=audio 9 UDP/TLS/RTP/SAVPF 111", "a=mid:0", "")).encode()


def fragment(ufrag: str, *candidates: str, end: bool = False) -> bytes:
    lines = [f"a=ice-ufrag:{ufrag}", f"a=ice-pwd:{ufrag}-password", "m=audio 9 RTP/AVP 0", "a=mid:0"]
    lines += [f"a={candidate}" for candidate in candidates] + (["a=end-of-candidates"] if end else [])
    return "".join(line + "\r\n" for line in lines).encode()


class Rig:
    """A browser that speaks SIP and has called."""

    def __init__(self) -> None:
        self.session = FakeSession(offer("first"))
        self.leg = SipCallerLeg("t1", self.session, PHONE, None)
        self.heard: list[LegEvent] = listened(self.leg)
        self._numbers = 0

    def info(self, body: bytes, package: str | None = "trickle-ice", kind: str = KIND) -> int:
        """The status that answers such an INFO."""
        self._numbers += 1
        self.session.says(events.InfoReceived(kind, body, package, number=self._numbers))
        verb, number, status = self.session.told.pop()
        assert (verb, number) == ("answer_info", self._numbers)
        assert isinstance(status, int)
        return status


def test_each_candidate_is_told_once_and_the_end_of_them() -> None:
    """Every INFO repeats those before it (RFC 8840 section 4.3)."""
    rig = Rig()
    assert rig.info(fragment("first", FIRST)) == 200
    assert rig.info(fragment("first", FIRST, SECOND, end=True)) == 200
    assert rig.info(fragment("first", FIRST, SECOND, end=True)) == 200
    assert rig.heard == [CandidateAdded(FIRST, "0"), CandidateAdded(SECOND, "0"), CandidateAdded("", "0")]


def test_candidates_of_another_ice_session_are_passed_over() -> None:
    """Those of a session that is not known, or over two descriptions ago (RFC 8840 section 4.4)."""
    rig = Rig()
    assert rig.info(fragment("stranger", FIRST)) == 200
    for ufrag in ("second", "third"):
        rig.session.says(events.Offered(2, offer(ufrag)))
    assert rig.info(fragment("first", FIRST)) == 200
    assert [event for event in rig.heard if not isinstance(event, Offered)] == []
    assert rig.info(fragment("third", FIRST)) == 200
    assert rig.info(fragment("second", SECOND)) == 200
    assert rig.heard[-2:] == [CandidateAdded(FIRST, "0"), CandidateAdded(SECOND, "0")]


def test_after_a_return_with_a_restart_the_new_candidates_count() -> None:
    """The offer of who comes back by another way describes a new ICE session."""
    rig = Rig()
    rig.session.says(events.FlowLost())
    rig.session.says(events.Offered(2, offer("second")))
    assert rig.heard == [Returned(2, offer("second").decode())]
    assert rig.info(fragment("second", FIRST)) == 200
    assert rig.heard[-1] == CandidateAdded(FIRST, "0")


@by_row(
    ("body", "package", "kind", "status"),
    [
        (b"nonsense", "trickle-ice", KIND, 400),
        (b"a=ice-ufrag:first\r\n", "trickle-ice", KIND, 400),
        (fragment("first", FIRST), None, KIND, 415),
        (fragment("first", FIRST), "infodtmf", KIND, 415),
        (b"5", "trickle-ice", "application/dtmf", 415),
    ],
)
def test_what_is_no_fragment_of_the_package_is_refused(
    body: bytes, package: str | None, kind: str, status: int
) -> None:
    """Malformed is 400, another type or another package 415; the call hears nothing."""
    rig = Rig()
    assert rig.info(body, package, kind) == status
    assert rig.heard == []


def test_a_flood_of_candidates_is_bounded() -> None:
    """64 of an ICE session, whoever sends more."""
    rig = Rig()
    for start in range(0, 200, 20):
        many = [f"candidate:{number} 1 udp 1 192.0.2.7 {5000 + number} typ host" for number in range(start, start + 20)]
        assert rig.info(fragment("first", *many)) == 200
    assert len(rig.heard) == 64


def test_digits_named_by_their_package_are_digits() -> None:
    """Info-Package: infodtmf."""
    rig = Rig()
    rig.session.says(events.InfoReceived("application/dtmf-relay", b"Signal=4\r\n", "infodtmf", number=9))
    assert rig.heard == [DigitPressed("4")]
