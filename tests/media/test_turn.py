"""The TURN client without a socket: what it asks, what it believes, what it forgets."""

from __future__ import annotations

import itertools
import struct

import pytest
from aioice import stun
from hypothesis import given
from hypothesis import strategies as st

from gateway.media.embedded.plane.stun import StunError
from gateway.media.embedded.plane.values import host_of
from gateway.media.embedded.webrtc.stun import parse
from gateway.media.embedded.webrtc.turn import (
    CHANNEL_REST,
    FIRST_CHANNEL,
    LAST_CHANNEL,
    MAX_PERMISSIONS,
    PERMISSION_KEPT,
    PERMISSION_REFRESH,
    RELIABLE_TIMEOUT,
    TurnClient,
    TurnState,
)
from tests.media.hosts import at

PEER = at("198.51.100.7", 5000)
RELAYED, MAPPED = ("203.0.113.5", 49152), ("203.0.113.9", 1024)


class Server:
    """A TURN server of aioice's messages, that says what the test tells it to."""

    def __init__(self, *, reliable: bool = False) -> None:
        numbers = itertools.count(1)
        self.client = TurnClient(
            "u", "secret", reliable=reliable, random_bytes=lambda size: next(numbers).to_bytes(size)
        )
        self.now = 0.0
        self.nonce = b"n1"
        self.asked: list[stun.Message] = []
        self.data: list[bytes] = []

    @property
    def key(self) -> bytes:
        from aioice.turn import make_integrity_key

        return make_integrity_key("u", "test", "secret")

    def pump(self) -> list[stun.Message]:
        """What the client has sent since."""
        sent = []
        for data in self.client.messages_to_send():
            if data[0] & 0xC0:
                self.data.append(data)
            else:
                sent.append(stun.parse_message(data))
        self.asked += sent
        return sent

    def answer(self, request: stun.Message, kind: stun.Class, key: bytes | None, **attributes: object) -> None:
        message = stun.Message(request.message_method, kind, request.transaction_id)
        message.attributes.update({name.replace("_", "-"): value for name, value in attributes.items()})
        if key is not None:
            message.add_message_integrity(key)
        self.client.receive(bytes(message), self.now)

    def challenge(self, request: stun.Message, code: int = 401) -> None:
        self.answer(request, stun.Class.ERROR, None, ERROR_CODE=(code, "no"), NONCE=self.nonce, REALM="test")

    def allocate(self, lifetime: int = 600) -> None:
        self.client.start(self.now)
        [first] = self.pump()
        assert "USERNAME" not in first.attributes
        self.challenge(first)
        [second] = self.pump()
        second.check_message_integrity(self.key)
        self.grant(second, lifetime)
        assert self.client.state is TurnState.ALLOCATED

    def grant(self, request: stun.Message, lifetime: int = 600) -> None:
        granted = {"XOR_RELAYED_ADDRESS": RELAYED, "XOR_MAPPED_ADDRESS": MAPPED, "LIFETIME": lifetime}
        self.answer(request, stun.Class.RESPONSE, self.key, **granted)

    def succeed(self, request: stun.Message) -> None:
        self.answer(request, stun.Class.RESPONSE, self.key)

    def tick(self, seconds: float) -> list[stun.Message]:
        self.now += seconds
        self.client.handle_timer(self.now)
        return self.pump()

    def indication(self, data: bytes, peer: tuple[str, int] = PEER) -> tuple[tuple[str, int], bytes] | None:
        message = stun.Message(stun.Method.DATA, stun.Class.INDICATION)
        message.attributes["XOR-PEER-ADDRESS"] = peer
        message.attributes["DATA"] = data
        return self.client.receive(bytes(message), self.now)


def methods(messages: list[stun.Message]) -> list[str]:
    return [message.message_method.name for message in messages]


def test_an_allocation_is_asked_for_with_what_the_server_wants_to_see() -> None:
    """And refreshed when five sixths of it are over, for as long as it is granted."""
    server = Server()
    server.allocate()
    assert (server.client.relayed, server.client.mapped) == (RELAYED, MAPPED)
    assert server.tick(499) == []
    [refresh] = server.tick(2)
    assert refresh.message_method is stun.Method.REFRESH
    server.answer(refresh, stun.Class.RESPONSE, server.key, LIFETIME=60)
    assert methods(server.tick(51)) == ["REFRESH"]


def test_a_stale_nonce_is_replaced_and_the_request_sent_again() -> None:
    """Under a transaction of its own; a server that goes on saying so is given up."""
    server = Server()
    server.allocate()
    [refresh] = server.tick(501)
    server.nonce = b"n2"
    server.challenge(refresh, 438)
    [again] = server.pump()
    assert again.attributes["NONCE"] == b"n2"
    assert again.transaction_id != refresh.transaction_id
    server.challenge(again, 438)
    [third] = server.pump()
    server.challenge(third, 438)
    assert server.pump() == []
    assert (server.client.state, server.client.failure) == (TurnState.FAILED, "the server refused with 438")


def test_a_wrong_password_is_tried_once() -> None:
    """Refused again with 401: nothing else would help."""
    server = Server()
    server.client.start(0.0)
    server.challenge(server.pump()[0])
    server.challenge(server.pump()[0])
    assert server.pump() == []
    assert (server.client.state, server.client.failure) == (TurnState.FAILED, "the server refused with 401")


def test_what_the_server_did_not_sign_is_not_believed() -> None:
    """Answers, and refusals: anybody on the way could write them."""
    server = Server()
    server.allocate()
    [refresh] = server.tick(501)
    server.answer(refresh, stun.Class.ERROR, None, ERROR_CODE=(437, "gone"))
    server.answer(refresh, stun.Class.RESPONSE, b"another key", LIFETIME=0)
    server.answer(refresh, stun.Class.RESPONSE, None, LIFETIME=0)
    assert server.client.failure == ""
    server.answer(refresh, stun.Class.ERROR, server.key, ERROR_CODE=(437, "gone"))
    assert (server.client.state, server.client.failure) == (TurnState.FAILED, "the server refused with 437")


def test_a_silent_server_is_asked_six_times_over_udp_and_once_over_tcp() -> None:
    """Then the allocation has failed."""
    server = Server()
    server.client.start(0.0)
    sent = server.pump() + [message for _ in range(40) for message in server.tick(0.5)]
    assert (len(sent), server.client.failure) == (5, "the server did not answer")
    reliable = Server(reliable=True)
    reliable.client.start(0.0)
    assert len(reliable.pump()) == 1
    assert reliable.tick(RELIABLE_TIMEOUT - 0.1) == []
    assert reliable.client.failure == ""
    reliable.tick(0.2)
    assert (reliable.client.state, reliable.client.failure) == (TurnState.FAILED, "the server did not answer")


def test_only_permitted_peers_are_heard_and_permissions_end_when_nobody_needs_them() -> None:
    """Each is refreshed while it is used."""
    server = Server()
    server.allocate(100_000)
    assert server.indication(b"early") is None
    server.client.permit(PEER[0], server.now)
    [asked] = server.pump()
    assert asked.attributes["XOR-PEER-ADDRESS"][0] == PEER[0]
    server.succeed(asked)
    assert server.indication(b"data") == (PEER, b"data")
    assert server.indication(b"data", ("198.51.100.8", 5000)) is None
    [refreshed] = server.tick(PERMISSION_REFRESH)
    server.succeed(refreshed)
    assert server.tick(PERMISSION_REFRESH) == []
    assert server.indication(b"late") is None
    server.client.permit(PEER[0], server.now)
    [again] = server.pump()
    server.answer(again, stun.Class.ERROR, server.key, ERROR_CODE=(403, "forbidden"))
    assert server.indication(b"refused") is None


def test_data_goes_by_a_channel_once_it_is_bound() -> None:
    """By Send indications until then, and always for what is no stream of packets."""
    server = Server()
    server.allocate()
    server.client.send(PEER, b"check", server.now)
    assert methods(server.pump()) == ["CREATE_PERMISSION", "SEND"]
    server.client.send(PEER, b"one", server.now, bind=True)
    bind, first = server.pump()
    assert (bind.message_method, bind.attributes["CHANNEL-NUMBER"]) == (stun.Method.CHANNEL_BIND, FIRST_CHANNEL)
    assert first.attributes["DATA"] == b"one"
    server.succeed(bind)
    server.client.send(PEER, b"twos", server.now, bind=True)
    assert server.pump() == []
    assert server.data == [struct.pack("!HH", FIRST_CHANNEL, 4) + b"twos"]
    assert server.client.receive(struct.pack("!HH", FIRST_CHANNEL, 3) + b"abc\0", server.now) == (PEER, b"abc")
    for bad in (struct.pack("!HH", FIRST_CHANNEL, 9) + b"abc", struct.pack("!HH", FIRST_CHANNEL + 1, 3) + b"abc"):
        assert server.client.receive(bad, server.now) is None


def test_channel_data_on_a_stream_is_padded() -> None:
    """To four octets (RFC 8656 section 12.5)."""
    server = Server(reliable=True)
    server.allocate()
    server.client.send(PEER, b"x", server.now, bind=True)
    server.succeed(next(one for one in server.pump() if one.message_method is stun.Method.CHANNEL_BIND))
    server.client.send(PEER, b"abcde", server.now, bind=True)
    server.pump()
    assert server.data == [struct.pack("!HH", FIRST_CHANNEL, 5) + b"abcde\0\0\0"]


def test_a_channel_is_bound_again_while_it_is_used_and_asked_for_again_where_it_was_refused() -> None:
    """One that nobody uses ends; its peer is bound anew when it comes back."""
    server = Server()
    server.allocate(100_000)
    server.client.send(PEER, b"x", server.now, bind=True)
    for request in server.pump():
        if request.message_method is stun.Method.CHANNEL_BIND:
            server.answer(request, stun.Class.ERROR, server.key, ERROR_CODE=(400, "no"))
    server.client.send(PEER, b"x", server.now, bind=True)
    assert methods(server.pump()) == ["SEND"]
    server.now += 31
    server.client.send(PEER, b"x", server.now, bind=True)
    again = server.pump()
    assert methods(again) == ["CHANNEL_BIND", "SEND"]
    server.succeed(again[0])
    refreshed = server.tick(PERMISSION_REFRESH)
    assert "CHANNEL_BIND" in methods(refreshed)
    for request in refreshed:
        server.succeed(request)
    assert "CHANNEL_BIND" not in methods(server.tick(PERMISSION_KEPT + 1))


def test_channel_numbers_are_used_again_after_their_rest() -> None:
    """More peers than there are numbers: the rest goes by indications, and nothing grows."""
    server = Server()
    server.allocate(1_000_000)
    count = LAST_CHANNEL - FIRST_CHANNEL + 1
    for number in range(count + 1):
        server.client.send(at("198.51.100.7", number + 1), b"x", server.now, bind=True)
    bound = [one for one in server.pump() if one.message_method is stun.Method.CHANNEL_BIND]
    assert len({one.attributes["CHANNEL-NUMBER"] for one in bound}) == len(bound) == count
    server.now += CHANNEL_REST + 1
    server.client.send(at("198.51.100.8", 1), b"x", server.now, bind=True)
    assert "CHANNEL_BIND" in methods(server.pump())
    assert len(server.client._channels) == len(server.client._peers) == count


def test_so_many_permissions_and_no_more() -> None:
    """Whoever offers addresses without end fills no memory, and takes nothing from who talks."""
    server = Server()
    server.allocate()
    server.client.permit(PEER[0], server.now)
    for number in range(MAX_PERMISSIONS + 10):
        server.now += 0.001
        assert server.indication(b"data") == (PEER, b"data")
        server.client.permit(host_of(f"198.18.{number // 250}.{number % 250 + 1}"), server.now)
    assert len(server.client._permissions) == MAX_PERMISSIONS
    assert server.indication(b"data", ("198.18.0.1", 5000)) is None


def test_a_closed_client_gives_the_allocation_back_and_says_nothing_more() -> None:
    """In one message; what comes later is nobody's."""
    server = Server()
    server.allocate()
    server.client.permit(PEER[0], server.now)
    server.pump()
    server.client.close(server.now)
    [farewell] = server.pump()
    assert (farewell.message_method, farewell.attributes["LIFETIME"]) == (stun.Method.REFRESH, 0)
    assert server.indication(b"late") is None
    server.client.send(PEER, b"x", server.now)
    assert server.tick(1000) == []


@given(st.binary(max_size=80), st.booleans())
def test_octets_of_any_kind_raise_nothing(data: bytes, framed: bool) -> None:
    """Neither as a message of their own nor behind a STUN header."""
    server = Server()
    server.allocate()
    server.client.permit(PEER[0], server.now)
    data += bytes(-len(data) % 4) if framed else b""
    header = struct.pack("!HHI12s", 0x0113, len(data), 0x2112A442, (1).to_bytes(12)) if framed else b""
    assert server.client.receive(header + data, server.now) is None
    try:
        parse(header + data)
    except StunError:
        pass


@pytest.mark.parametrize("attributes", [{}, {"XOR_RELAYED_ADDRESS": ("203.0.113.5", 0)}])
def test_an_allocation_without_an_address_is_none(attributes: dict[str, object]) -> None:
    """The server said yes and nothing of use."""
    server = Server()
    server.client.start(0.0)
    server.challenge(server.pump()[0])
    server.answer(server.pump()[0], stun.Class.RESPONSE, server.key, LIFETIME=600, **attributes)
    assert server.client.failure == "the server named no relayed address"
