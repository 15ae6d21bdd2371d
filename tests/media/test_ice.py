"""The ICE-lite agent and its STUN codec, with aioice as the independent reader and writer."""

from __future__ import annotations

import random
import struct
import time
from typing import Any

import pytest
from aioice import Candidate, stun
from hypothesis import given
from hypothesis import strategies as st

from gateway.media.embedded.plane.stun import (
    BindingRequest,
    StunError,
    error_response,
    parse_binding_request,
    success_response,
)
from gateway.media.embedded.plane.values import Address
from gateway.media.embedded.webrtc.ice import IceAgent, IceCredentials, host_candidate
from tests.media.hosts import at
from tests.media.ice_support import HEADER, with_fingerprint
from tests.rows import by_row

KEY = b"k" * 24
HERE: Address = at("192.0.2.1", 4000)
THERE: Address = at("192.0.2.2", 5000)


WIFI, CELLULAR = 1, 2


def request(ufrag: str = "local", *, nominate: bool = False, **attributes: Any) -> BindingRequest:
    """A check for `ufrag`, as parsed."""
    return parse_binding_request(encoded(ufrag, nominate=nominate, **attributes))


def encoded(ufrag: str = "local", *, nominate: bool = False, **attributes: Any) -> bytes:
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    message.attributes["USERNAME"] = f"{ufrag}:remote"
    message.attributes.update({name.replace("_", "-"): value for name, value in attributes.items()})
    if nominate:
        message.attributes["USE-CANDIDATE"] = None
    message.add_message_integrity(KEY)
    return bytes(message)


def agent(max_pairs: int = 16) -> IceAgent:
    return IceAgent(IceCredentials("local", KEY.decode()), max_pairs)


# Reading


def test_a_check_made_by_aioice_is_read() -> None:
    """USERNAME, integrity, USE-CANDIDATE and the role come out as they went in."""
    read = request(nominate=True, ICE_CONTROLLING=1)
    assert read.local_ufrag == "local"
    assert read.signed
    assert read.authentic(KEY)
    assert not read.authentic(b"other")
    assert read.use_candidate
    assert not read.controlled
    assert read.unknown == ()
    assert request(ICE_CONTROLLED=1).controlled


def test_a_changed_byte_anywhere_is_noticed() -> None:
    """No single-byte change of a check leaves it readable and authentic."""
    data = encoded()
    for position in range(len(data)):
        changed = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        try:
            read = parse_binding_request(changed)
        except StunError:
            continue
        assert not read.authentic(KEY)


@by_row(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(HEADER[:19], id="shorter than a header"),
        pytest.param(HEADER, id="no FINGERPRINT"),
        pytest.param(with_fingerprint(b"\x01\x01" + HEADER[2:]), id="a response"),
        pytest.param(with_fingerprint(b"\x00\x11" + HEADER[2:]), id="an indication"),
        pytest.param(with_fingerprint(HEADER[:4] + bytes(4) + HEADER[8:]), id="no magic cookie"),
        pytest.param(with_fingerprint(HEADER)[:-1] + b"?", id="wrong FINGERPRINT"),
        pytest.param(with_fingerprint(HEADER + b"\0\x06\0\x04\xff\xfe\xfd\xfc"), id="USERNAME not UTF-8"),
        pytest.param(with_fingerprint(HEADER + struct.pack("!HHH", 0x24, 2, 1) + bytes(2)), id="PRIORITY of 2 bytes"),
        pytest.param(with_fingerprint(HEADER + struct.pack("!HH", 0x20, 0)), id="XOR-MAPPED-ADDRESS of 0 bytes"),
        pytest.param(with_fingerprint(HEADER + b"\0\x09\xff\xff\0\0\4\1"), id="FINGERPRINT inside another"),
    ],
)  # fmt: skip
def test_what_is_not_a_binding_request_raises_stun_error(data: bytes) -> None:
    """Responses, indications, other cookies, wrong checksums and bad attribute lengths are refused."""
    with pytest.raises(StunError):
        parse_binding_request(data)


@given(st.binary(max_size=1400))
def test_no_bytes_raise_anything_but_stun_error(data: bytes) -> None:
    """Pure noise."""
    with pytest.raises(StunError):
        parse_binding_request(data)


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=40), st.integers(0, 3)), max_size=12))
def test_no_attributes_raise_anything_but_stun_error(attributes: list[tuple[int, bytes, int]]) -> None:
    """Well-formed headers and checksums around arbitrary attributes, some with a length that lies."""
    body = HEADER
    for kind, value, lie in attributes:
        body += struct.pack("!HH", kind, len(value) + lie) + value + bytes(-len(value) % 4)
    try:
        read = parse_binding_request(with_fingerprint(body))
    except StunError:
        return
    assert not read.authentic(KEY)
    assert len(read.unknown) <= 8


def test_many_fingerprints_do_not_make_a_message_dear() -> None:
    """Each FINGERPRINT checksums all before it, so the length is limited; the longest costs under 20 ms."""
    body = HEADER
    while len(body) < 1268:
        body = with_fingerprint(body)
    data = with_fingerprint(body)
    assert len(data) == 1276
    began = time.process_time()
    parse_binding_request(data)
    assert time.process_time() - began < 0.02
    with pytest.raises(StunError):
        parse_binding_request(with_fingerprint(body + bytes(8)))


# Writing


@by_row(
    "source",
    [("192.0.2.7", 65535), ("2001:db8::7", 1, 0, 0), ("fe80::1%eth0", 99, 0, 2)],
)
def test_a_success_response_is_read_by_aioice(source: Address) -> None:
    """XOR-MAPPED-ADDRESS is the source, for both address families; integrity and fingerprint are right."""
    response = stun.parse_message(success_response(b"t" * 12, source, KEY))
    assert response.message_class is stun.Class.RESPONSE
    assert response.transaction_id == b"t" * 12
    assert response.attributes["XOR-MAPPED-ADDRESS"] == (source[0].partition("%")[0], source[1])
    assert response.check_message_integrity(KEY)
    assert "FINGERPRINT" in response.attributes


@by_row("code", [400, 401, 487])
def test_an_error_response_is_read_by_aioice(code: int) -> None:
    """Unsigned towards strangers, signed towards the peer."""
    response = stun.parse_message(error_response(request(), code))
    assert response.message_class is stun.Class.ERROR
    assert response.error_code == code
    assert not response.check_message_integrity(KEY)
    assert stun.parse_message(error_response(request(), code, KEY)).check_message_integrity(KEY)


def test_an_unknown_required_attribute_is_named_in_a_420() -> None:
    """RFC 8489 section 6.3.1: types below 0x8000 must be understood, others need not be."""
    message = HEADER + struct.pack("!HH", 6, 5) + b"local" + bytes(3)
    message += struct.pack("!HH", 0x7777, 0) + struct.pack("!HH", 0xC057, 0)
    read = parse_binding_request(with_fingerprint(message))
    assert read.unknown == (0x7777,)
    response = error_response(read, 420, KEY)
    assert struct.pack("!HHHH", 0x000A, 2, 0x7777, 0) in response
    assert stun.parse_message(response).error_code == 420


def test_credentials_use_ice_chars_and_are_long_enough() -> None:
    """RFC 8839 section 5.4 and RFC 8445 section 5.3; the password does not show in repr."""
    drawn = IceCredentials.generate(random.Random(1).randbytes)
    allowed = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
    assert set(drawn.ufrag) <= allowed
    assert set(drawn.password) <= allowed
    assert 4 <= len(drawn.ufrag) <= 256
    assert 22 <= len(drawn.password) <= 256
    assert drawn.password not in repr(drawn)


# Pairs


def test_the_first_proved_address_is_used_until_one_is_nominated() -> None:
    """Media may flow on a valid pair before nomination; the nominated one then wins."""
    ice = agent()
    ice.receive_check(request(), KEY, WIFI, HERE, 1)
    ice.receive_check(request(), KEY, WIFI, THERE, 2)
    assert ice.selected is ice.pairs[WIFI, HERE]
    ice.receive_check(request(nominate=True), KEY, WIFI, THERE, 3)
    assert ice.selected is ice.pairs[WIFI, THERE]


def test_the_latest_nomination_wins() -> None:
    """A browser that changes networks nominates again; plain checks elsewhere change nothing."""
    ice = agent()
    ice.receive_check(request(nominate=True), KEY, WIFI, HERE, 1)
    ice.receive_check(request(nominate=True), KEY, CELLULAR, THERE, 2)
    assert ice.selected is ice.pairs[CELLULAR, THERE]
    ice.receive_check(request(), KEY, WIFI, HERE, 3)
    assert ice.selected is ice.pairs[CELLULAR, THERE]
    ice.receive_check(request(nominate=True), KEY, WIFI, HERE, 4)
    assert ice.selected is ice.pairs[WIFI, HERE]


def test_a_peer_in_the_controlled_role_gets_487_and_proves_nothing() -> None:
    """A lite agent cannot take the controlling role (RFC 8445 section 7.3.1.1)."""
    ice = agent()
    response = stun.parse_message(ice.receive_check(request(nominate=True, ICE_CONTROLLED=9), KEY, WIFI, HERE, 1))
    assert response.error_code == 487
    assert response.check_message_integrity(KEY)
    assert ice.pairs == {}
    assert ice.selected is None


def test_a_check_with_an_unknown_required_attribute_proves_nothing() -> None:
    """It is answered 420, signed, and its USE-CANDIDATE counts for nothing."""
    ice = agent()
    message = HEADER + struct.pack("!HH", 6, 5) + b"local" + bytes(3) + struct.pack("!HHHH", 0x7777, 0, 0x25, 0)
    response = stun.parse_message(
        ice.receive_check(parse_binding_request(with_fingerprint(message)), KEY, WIFI, HERE, 1)
    )
    assert response.error_code == 420
    assert response.check_message_integrity(KEY)
    assert ice.pairs == {}


def test_pairs_are_bounded_and_the_selected_one_is_never_evicted() -> None:
    """The pair not checked for longest goes."""
    ice = agent(max_pairs=3)
    ice.receive_check(request(nominate=True), KEY, WIFI, at("192.0.2.3", 1), 0)
    for number in range(2, 50):
        ice.receive_check(request(), KEY, WIFI, at("192.0.2.3", number), number)
    assert {address[1] for _, address in ice.pairs} == {1, 48, 49}
    assert len(ice.dropped) == 46
    assert ice.selected is ice.pairs[WIFI, at("192.0.2.3", 1)]


def test_the_old_pair_carries_media_until_the_new_generation_nominates() -> None:
    """During an ICE restart both ufrags are answered; afterwards only the new one, and old pairs go."""
    ice = agent()
    ice.receive_check(request(nominate=True), KEY, WIFI, HERE, 1)
    old = ice.selected
    ice.restart(IceCredentials("fresh", "f" * 24))
    assert ice.ufrags() == {"local", "fresh"}
    assert ice.key_for("local") == KEY
    ice.receive_check(request(nominate=True), KEY, WIFI, HERE, 2)
    assert ice.selected is old
    ice.receive_check(request("fresh"), b"f" * 24, CELLULAR, THERE, 3)
    assert ice.selected is old
    ice.receive_check(request("fresh", nominate=True), b"f" * 24, CELLULAR, THERE, 4)
    assert ice.selected is ice.pairs[CELLULAR, THERE]
    assert ice.dropped == [old]
    assert ice.ufrags() == {"fresh"}
    assert ice.key_for("local") is None


def test_an_old_nomination_does_not_take_media_back_from_the_new_generation() -> None:
    """The old address was lost during a restart; a late check for the old ufrag proves it, no more."""
    ice = agent()
    ice.receive_check(request(nominate=True), KEY, WIFI, HERE, 1)
    ice.restart(IceCredentials("fresh", "f" * 24))
    ice.forget_pair(WIFI, HERE)
    ice.receive_check(request("fresh"), b"f" * 24, CELLULAR, THERE, 2)
    ice.receive_check(request(nominate=True), KEY, WIFI, HERE, 3)
    assert ice.selected is ice.pairs[CELLULAR, THERE]


def test_a_restart_over_the_same_address_keeps_the_address() -> None:
    """The usual restart: nothing moved, so nothing is dropped."""
    ice = agent()
    ice.receive_check(request(nominate=True), KEY, WIFI, HERE, 1)
    ice.restart(IceCredentials("fresh", "f" * 24))
    ice.receive_check(request("fresh", nominate=True), b"f" * 24, WIFI, HERE, 2)
    assert ice.dropped == []
    assert ice.selected is ice.pairs[WIFI, HERE]
    assert ice.ufrags() == {"fresh"}


def test_losing_the_selected_address_falls_back_to_the_best_other() -> None:
    """Nominated before merely proved, then the most recently checked."""
    ice = agent()
    ice.receive_check(request(nominate=True), KEY, WIFI, HERE, 1)
    ice.receive_check(request(), KEY, CELLULAR, HERE, 9)
    ice.receive_check(request(nominate=True), KEY, WIFI, THERE, 5)
    ice.forget_pair(WIFI, THERE)
    assert ice.selected is ice.pairs[WIFI, HERE]
    ice.forget_pair(WIFI, THERE)
    ice.forget_pairs()
    assert ice.pairs == {}
    assert len(ice.dropped) == 3


# Candidates


def test_host_candidates_are_read_by_aioice_and_ranked_by_index() -> None:
    """RFC 8445 section 5.1.2.1: type preference 126; foundations differ from address to address."""
    first = Candidate.from_sdp(host_candidate(0, "192.0.2.1", 5004))
    second = Candidate.from_sdp(host_candidate(1, "2001:db8::1", 5004))
    assert (first.host, first.port, first.type, first.component, first.transport) == (
        "192.0.2.1", 5004, "host", 1, "udp",
    )  # fmt: skip
    assert first.priority == 2130706431
    assert second.priority < first.priority
    assert first.foundation != second.foundation
