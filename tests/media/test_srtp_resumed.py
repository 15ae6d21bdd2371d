"""A key that comes back after others: its packets are heard wherever they are, and never twice."""

from __future__ import annotations

import pytest

from gateway.media.embedded.plane.receive_keys import OVERLAP, ReceiveKeys
from gateway.media.embedded.plane.rtcp import ReceiverReport
from gateway.media.embedded.plane.srtp import MAX_SEND_KEYS, WORKSPACE, SendContext, SrtpProfile
from tests.media.srtp_pair import PROFILES, SrtpSession, key, sessions
from tests.media.webrtc_support import rtp
from tests.rows import by_row


def comes_back(profile: SrtpProfile, unheard: int) -> tuple[SrtpSession, SrtpSession, list[bytes]]:
    """A source heard at the numbers 1,000 to 1,009, that has sent so many more since; what was heard."""
    here, there = sessions(profile)
    heard = [here.protect(rtp(number)) or b"" for number in range(1000, 1010)]
    assert all(there.unprotect(each) for each in heard)
    for number in range(1010, 1010 + unheard, 0x4000):
        here.protect(rtp(number))
    there._receive._sources._searches = 0
    there._receive.resume()
    return here, there, heard


@by_row("unheard", [1, 0x7000, 0x8000, 0x9000, 0xFFF0, 0x1_8000, 0x7_F000])
@by_row("profile", PROFILES)
def test_its_packets_are_heard_wherever_they_are_and_never_twice(profile: SrtpProfile, unheard: int) -> None:
    """Up to eight roll-over counts further, and what was searched before takes nothing from that."""
    here, there, heard = comes_back(profile, unheard)
    assert [there.unprotect(each) for each in heard] == [None] * len(heard)
    for number in range(1012 + unheard, 1020 + unheard):
        sent = here.protect(rtp(number))
        assert sent is not None
        assert there.unprotect(sent) == rtp(number)
        assert there.unprotect(sent) is None
    assert [there.unprotect(each) for each in heard] == [None] * len(heard)


@by_row("profile", PROFILES)
def test_a_late_packet_does_not_say_how_far_a_source_has_come(profile: SrtpProfile) -> None:
    """It was sent before the other keys were, and the count may have gone on since."""
    here, there = sessions(profile)
    late, last = here.protect(rtp(1000)), here.protect(rtp(1001))
    assert late is not None
    assert there.unprotect(last or b"") is not None
    there._receive.resume()
    assert there.unprotect(late) is not None
    assert there.unprotect(late) is None
    for number in range(1002, 0x1_8000, 0x4000):
        here.protect(rtp(number))
    assert there.unprotect(here.protect(rtp(0x1_8000)) or b"") is not None


def test_so_many_keys_are_remembered() -> None:
    """64 beside the one in use; of one that came before them nothing is known."""
    keys = ReceiveKeys({})
    first, *others = (key(SrtpProfile.AEAD_AES_128_GCM, seed) for seed in range(MAX_SEND_KEYS + 2))
    keys.set(first, b"", 0.0)
    context = keys.current
    for each in (*others[:-1], first):
        keys.set(each, b"", 0.0)
    assert keys.current is context
    for each in (*others, first):
        keys.set(each, b"", 0.0)
    assert keys.current is not context
    assert len(keys._known) == 1 + MAX_SEND_KEYS


@pytest.mark.parametrize(("late", "is_opened"), [(OVERLAP - 0.001, True), (OVERLAP, False)])
def test_the_previous_key_opens_packets_for_a_bounded_time(late: float, is_opened: bool) -> None:
    """RTP and RTCP of a peer that never sends under the new key."""
    keys, old = ReceiveKeys({}), SendContext(key(PROFILES[0], 1), {})
    for each in (old.key, key(PROFILES[0], 2)):
        keys.set(each, b"", 7.0)
    size = WORKSPACE.put(old.protect(rtp(1000)) or b"")
    assert (keys.open_by_either(size, int.from_bytes(WORKSPACE.data[8:12]), 1000, 7.0 + late) > 0) is is_opened
    size = WORKSPACE.put(old.protect_rtcp(bytes(ReceiverReport(5))) or b"")
    assert (keys.open_rtcp(size, 7.0 + late) > 0) is is_opened
