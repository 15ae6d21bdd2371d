"""SRTP sessions and keys, held against RFC 7714's own figures and a second implementation of the transform."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from pylibsrtp import Session

from gateway.media.embedded.plane import srtp
from gateway.media.embedded.plane.srtp import SrtpKey, SrtpKeyError, SrtpProfile, split_exported_keys
from tests.cases import cases
from tests.media.srtp_pair import PROFILES, SrtpSession, key, sessions
from tests.media.srtp_support import derive, reference_rtp, xor
from tests.media.webrtc_support import rtp
from tests.rows import by_row

RTCP = bytes.fromhex("80c8000611223344") + bytes(range(20))


@by_row("profile", PROFILES)
def test_what_one_end_protects_the_other_reads(profile: SrtpProfile) -> None:
    """RTP and RTCP survive the trip in every profile, and do not look like themselves on the way."""
    here, there = sessions(profile)
    protected = here.protect(rtp(1))
    protected_rtcp = here.protect_rtcp(RTCP)
    assert protected is not None
    assert protected_rtcp is not None
    assert rtp(1)[12:] not in protected
    assert RTCP[8:] not in protected_rtcp
    assert there.unprotect(protected) == rtp(1)
    assert there.unprotect_rtcp(protected_rtcp) == RTCP


@by_row("profile", PROFILES)
def test_a_forged_packet_is_counted_and_changes_nothing(profile: SrtpProfile) -> None:
    """One flipped bit fails authentication; the true packet is read afterwards."""
    here, there = sessions(profile)
    protected = here.protect(rtp(1))
    assert protected is not None
    forged = protected[:40] + bytes([protected[40] ^ 1]) + protected[41:]
    assert there.unprotect(forged) is None
    assert there.discarded == {"authentication": 1}
    assert there.unprotect(protected) == rtp(1)


@by_row("profile", PROFILES)
def test_a_replayed_packet_is_refused(profile: SrtpProfile) -> None:
    """The second copy is a replay, for RTP and RTCP alike."""
    here, there = sessions(profile)
    protected, protected_rtcp = here.protect(rtp(1)), here.protect_rtcp(RTCP)
    assert protected is not None
    assert protected_rtcp is not None
    assert there.unprotect(protected) is not None
    assert there.unprotect(protected) is None
    assert there.unprotect_rtcp(protected_rtcp) is not None
    assert there.unprotect_rtcp(protected_rtcp) is None
    assert there.discarded == {"replay": 2}


def test_packets_out_of_order_within_1024_are_read_and_older_ones_are_not() -> None:
    """The replay window is 1024 packets wide."""
    here, there = sessions(SrtpProfile.AEAD_AES_128_GCM)
    protected = {sequence: here.protect(rtp(sequence)) for sequence in range(1, 1101)}
    for sequence in (1100, 77, 78, 76):
        data = protected[sequence]
        assert data is not None
        assert (there.unprotect(data) is not None) == (sequence > 1100 - 1024)


def test_one_sequence_number_is_never_protected_twice() -> None:
    """A repeated index would repeat a GCM nonce, so the second packet is not sent."""
    here, _ = sessions(SrtpProfile.AEAD_AES_128_GCM)
    assert here.protect(rtp(1)) is not None
    assert here.protect(rtp(1, b"\x02" * 160)) is None
    assert here.discarded == {"send": 1}


def test_packets_longer_than_the_library_buffer_are_refused() -> None:
    """Neither direction raises for a packet of any length."""
    here, there = sessions(SrtpProfile.AEAD_AES_128_GCM)
    assert here.protect(rtp(1, bytes(1489))) is None
    assert here.protect_rtcp(RTCP + bytes(1500)) is None
    assert there.unprotect(rtp(1, bytes(1489))) is None
    assert there.unprotect_rtcp(RTCP + bytes(1500)) is None
    assert here.discarded == {"too_long": 2}
    assert there.discarded == {"too_long": 2}
    assert here.protect(rtp(1, bytes(1488))) is not None


def test_a_peer_may_go_on_to_new_sources_for_ever() -> None:
    """Only so many are remembered at a time, each at the price of a stream; the oldest makes room."""
    here, there = sessions(SrtpProfile.AEAD_AES_128_GCM, max_ssrcs=3)
    for ssrc in range(1, 100):
        data = here.protect(rtp(1, ssrc=ssrc))
        assert data is not None
        assert there.unprotect(data) == rtp(1, ssrc=ssrc)
    assert there.discarded == {}


def test_a_source_that_made_room_has_left_nothing_behind() -> None:
    """libsrtp's stream of it is gone with its replay window; those of the others are there."""
    here, there = sessions(SrtpProfile.AEAD_AES_128_GCM, max_ssrcs=3)
    sent = [here.protect(rtp(1, ssrc=ssrc)) for ssrc in range(1, 6)]
    for data in sent:
        assert data is not None
        assert there.unprotect(data) is not None
    assert [there.unprotect(data or b"") is not None for data in reversed(sent)] == [False, False, False, True, True]


@by_row("profile", PROFILES)
def test_a_stream_whose_packets_before_the_wrap_were_lost_is_read(profile: SrtpProfile) -> None:
    """Its first packet to arrive has a low number and a roll-over count of one."""
    here, there = sessions(profile)
    last = [here.protect(rtp(number)) for number in range(65_530, 65_540)]
    first_heard, second = last[6], last[8]
    assert first_heard is not None
    assert second is not None
    assert there.unprotect(first_heard) == rtp(65_536)
    assert there.unprotect(second) == rtp(65_538)
    assert there.unprotect(first_heard) is None
    forged = bytearray(first_heard)
    forged[8:12] = b"else"
    assert there.unprotect(bytes(forged)) is None
    true = here.protect(rtp(5, ssrc=int.from_bytes(b"else")))
    assert true is not None
    assert there.unprotect(true) is not None


@by_row("profile", PROFILES)
def test_once_nothing_is_searched_a_low_first_number_may_have_wrapped_once(profile: SrtpProfile) -> None:
    """Low is what lies below 4,096."""
    here, there = sessions(profile)
    for ssrc in range(1000, 1032):
        assert there.unprotect(rtp(40_000, ssrc=ssrc, payload=bytes(200))) is None
    for ssrc, number, is_heard in ((1, 65_536 + 4095, True), (2, 65_536 + 4096, False)):
        here.protect(rtp(65_535, ssrc=ssrc))
        assert (there.unprotect(here.protect(rtp(number, ssrc=ssrc)) or b"") is not None) == is_heard


def test_forged_sources_do_not_use_the_limit_up() -> None:
    """Only authenticated packets make a source known."""
    here, there = sessions(SrtpProfile.AEAD_AES_128_GCM, max_ssrcs=2)
    for ssrc in range(1000):
        assert there.unprotect(rtp(1, ssrc=ssrc)) is None
    data = here.protect(rtp(1))
    assert data is not None
    assert there.unprotect(data) is not None


@by_row("profile", PROFILES)
def test_forged_sources_cost_no_session_each(profile: SrtpProfile, monkeypatch: pytest.MonkeyPatch) -> None:
    """A low number may be of after a wrap: two sessions of ours try that for all of them, and keep none of them."""
    here, there = sessions(profile)
    made: list[SrtpKey] = []
    make = srtp._session

    def counted(key: SrtpKey, direction: int) -> Session:
        made.append(key)
        return make(key, direction)

    monkeypatch.setattr(srtp, "_session", counted)
    for ssrc in (*range(1000), *range(10)):
        assert there.unprotect(rtp(1, ssrc=ssrc)) is None
    assert len(made) == 2
    assert there.discarded == {"authentication": 1010}
    for ssrc in range(10):
        sent = [here.protect(rtp(number, ssrc=ssrc)) for number in range(65_530, 65_538)]
        assert there.unprotect(sent[6] or b"") == rtp(65_536, ssrc=ssrc)


@given(st.binary(max_size=2000))
def test_no_bytes_make_unprotect_raise(data: bytes) -> None:
    """Whatever comes, the answer is None."""
    _, there = sessions(SrtpProfile.AES_CM_128_HMAC_SHA1_80)
    assert there.unprotect(data) is None
    assert there.unprotect_rtcp(data) is None


@given(st.binary(max_size=2000))
def test_no_bytes_make_protect_raise(data: bytes) -> None:
    """A malformed packet of ours is dropped, too."""
    here, _ = sessions(SrtpProfile.AEAD_AES_256_GCM)
    for result in (here.protect(data), here.protect_rtcp(data)):
        assert result is None or len(result) > len(data)


# Keys


@by_row("profile", PROFILES)
def test_inline_keys_round_trip(profile: SrtpProfile) -> None:
    """What to_inline writes, from_inline reads."""
    secret = key(profile, 3)
    assert SrtpKey.from_inline(profile.suite, secret.to_inline()) == secret


def test_the_inline_key_of_rfc_4568_is_read() -> None:
    """The example of RFC 4568 section 9.1, with a lifetime."""
    read = SrtpKey.from_inline("AES_CM_128_HMAC_SHA1_80", "inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR|2^20")
    assert len(read.material) == 30


@by_row(
    ("suite", "params"),
    [
        ("AES_CM_128_HMAC_SHA1_80", "inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR|2^20|1:32"),
        ("AES_CM_128_HMAC_SHA1_80", "inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR|1:4"),
        ("AES_CM_128_HMAC_SHA1_80", "inline:short"),
        ("AES_CM_128_HMAC_SHA1_80", "inline:!!!!"),
        ("AES_CM_128_HMAC_SHA1_80", "inline:é"),
        ("AES_CM_128_HMAC_SHA1_80", "uri:https://example.net/key"),
        ("AES_CM_128_HMAC_SHA1_80", ""),
        ("F8_128_HMAC_SHA1_80", "inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR"),
    ],
)
def test_unusable_inline_keys_raise_without_quoting_the_key(suite: str, params: str) -> None:
    """An MKI, a wrong length, no base64, another method or suite: SrtpKeyError, and no key in its text."""
    with pytest.raises(SrtpKeyError) as error:
        SrtpKey.from_inline(suite, params)
    assert "PS1u" not in str(error.value)


def test_secrets_do_not_show_in_repr() -> None:
    """A key that strays into a log shows its profile only."""
    secret = key(SrtpProfile.AEAD_AES_128_GCM, 1)
    assert secret.material.hex() not in repr(secret)
    assert repr(secret.material) not in repr(secret)


@by_row("profile", PROFILES)
def test_exported_bytes_split_into_keys_then_salts(profile: SrtpProfile) -> None:
    """RFC 5764 section 4.2: client key, server key, client salt, server salt."""
    k, s = profile.key_length, profile.salt_length
    client, server = split_exported_keys(profile, b"A" * k + b"B" * k + b"C" * s + b"D" * s)
    assert client.material == b"A" * k + b"C" * s
    assert server.material == b"B" * k + b"D" * s


# RFC 7714: the reference below reproduces the RFC's packets, and agrees with the library on fresh ones


def vectors(section: str) -> list[bytes]:
    """Return the packets of one section of RFC 7714, in order."""
    return [bytes.fromhex(packet) for packet in cases("rfc7714.txt")[section].split()]


SALT = bytes.fromhex("517569642070726f2071756f")


def reference_rtcp(session_key: bytes, salt: bytes, packet: bytes, index: int) -> bytes:
    """RFC 7714 section 9 with the E flag set."""
    iv = xor(bytes(2) + packet[4:8] + bytes(2) + index.to_bytes(4), salt)
    word = (index | 1 << 31).to_bytes(4)
    return packet[:8] + AESGCM(session_key).encrypt(iv, packet[8:], packet[:8] + word) + word


@pytest.mark.parametrize(("section", "length"), [("16.1.1", 16), ("16.2.1", 32)])
def test_the_reference_reproduces_the_rtp_vectors(section: str, length: int) -> None:
    """RFC 7714 sections 16.1.1 and 16.2.1: plain packet and session key in, the RFC's packet out."""
    plain, protected = vectors(section)
    assert reference_rtp(bytes(range(length)), SALT, plain) == protected


def test_the_reference_reproduces_the_rtcp_vectors() -> None:
    """RFC 7714 section 17.1 forward, section 17.2 by protecting its result again."""
    plain, protected = vectors("17.1")
    assert reference_rtcp(bytes(range(16)), SALT, plain, 0x5D4) == protected
    protected, plain = vectors("17.2")
    assert reference_rtcp(bytes(range(32)), SALT, plain, 0x5D4) == protected


@pytest.mark.parametrize("profile", [SrtpProfile.AEAD_AES_128_GCM, SrtpProfile.AEAD_AES_256_GCM])
def test_the_session_agrees_with_the_reference(profile: SrtpProfile) -> None:
    """Keys derived by hand and the RFC's transform read and write what SrtpSession does."""
    mine, theirs = key(profile, 1), key(profile, 2)
    session = SrtpSession(mine, theirs)
    packet = rtp(1)
    assert session.protect(packet) == reference_rtp(derive(mine, 0, profile.key_length), derive(mine, 2, 12), packet)
    assert session.protect_rtcp(RTCP) == reference_rtcp(
        derive(mine, 3, profile.key_length), derive(mine, 5, 12), RTCP, 1
    )
    incoming = reference_rtp(derive(theirs, 0, profile.key_length), derive(theirs, 2, 12), packet)
    assert session.unprotect(incoming) == packet
