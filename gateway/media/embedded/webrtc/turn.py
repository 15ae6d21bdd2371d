"""One allocation at a TURN server (RFC 8656), as a client that knows no socket: messages in, messages out, `now` given.

A peer needs a permission before anything of it comes through; data goes by Send indications until a channel is bound.
"""

from __future__ import annotations

import base64
import hmac
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from gateway.media.embedded.plane.stun import USERNAME, XOR_MAPPED_ADDRESS, StunError, message
from gateway.media.embedded.plane.values import Address, Host
from gateway.media.embedded.webrtc.stun import (
    NONCE,
    REALM,
    Message,
    attribute,
    long_term_key,
    parse,
    xor_address,
)

ALLOCATE, REFRESH, SEND, DATA_METHOD, CREATE_PERMISSION, CHANNEL_BIND = 0x003, 0x004, 0x006, 0x007, 0x008, 0x009
INDICATION, SUCCESS, ERROR = 0x0010, 0x0100, 0x0110
CHANNEL_NUMBER, LIFETIME, XOR_PEER_ADDRESS, DATA = 0x000C, 0x000D, 0x0012, 0x0013
XOR_RELAYED_ADDRESS, REQUESTED_TRANSPORT = 0x0016, 0x0019
_UDP = bytes([17, 0, 0, 0])

RETRANSMISSIONS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds between the transmissions of a request over UDP (RFC 8489 section 6.2.1), and before it is given up."""
RELIABLE_TIMEOUT = 15.5
"""Seconds that a request over TCP or TLS may take."""
LIFETIME_WANTED = 600
"""Seconds of an allocation; it is refreshed when five sixths of what was granted are over."""
PERMISSION_REFRESH = 240.0
"""Seconds; permissions and what binds a channel to a peer last 300 (sections 9 and 12)."""
PERMISSION_KEPT = 300.0
"""Seconds after its last use that a permission is still refreshed."""
CHANNEL_REST = 900.0
"""Seconds after it was bound last that a channel number may be another peer's (section 12)."""
CHANNEL_RETRY = 30.0
"""Seconds before a binding that was refused, or has ended unused, is asked for again."""
FIRST_CHANNEL, LAST_CHANNEL = 0x4000, 0x4FFF
MAX_PERMISSIONS = 4096
MAX_AUTHENTICATIONS = 3
"""Times that a request is sent again with what a server wants to see."""


class TurnState(StrEnum):
    ALLOCATING = "allocating"
    ALLOCATED = "allocated"
    FAILED = "failed"


@dataclass(slots=True, eq=False)
class _Request:
    """A request that is not answered yet."""

    method: int
    attributes: Callable[[bytes], bytes]
    """Its own attributes, given the transaction id."""
    done: Callable[[Message | None], None]
    """Told the success response, or None."""
    transaction_id: bytes = b""
    data: bytes = b""
    transmissions: int = 0
    due: float = 0.0
    authentications: int = 0


@dataclass(slots=True, eq=False)
class _Permission:
    used: float
    refresh: float


@dataclass(slots=True, eq=False)
class _Channel:
    number: int
    bound: float
    refresh: float
    used: float
    open: bool = False


class TurnClient:
    """`start`, then `receive` what comes and send `messages_to_send()`; `handle_timer` some times a second."""

    def __init__(self, username: str, password: str, *, reliable: bool, random_bytes: Callable[[int], bytes]) -> None:
        """`reliable`: over TCP or TLS; nothing is sent twice then."""
        self.state = TurnState.ALLOCATING
        self.failure = ""
        """One sentence, once failed."""
        self.relayed: Address | None = None
        self.mapped: Address | None = None
        """Where the server sees us."""
        self._username, self._password = username, password
        self._reliable = reliable
        self._random_bytes = random_bytes
        self._realm, self._nonce, self._key = b"", b"", b""
        self._requests: dict[bytes, _Request] = {}
        self._out: list[bytes] = []
        self._permissions: dict[Host, _Permission] = {}
        self._channels: dict[Address, _Channel] = {}
        self._peers: dict[int, Address] = {}
        self._next_channel = FIRST_CHANNEL
        self._refresh_at: float | None = None

    # What the owner does

    def start(self, now: float) -> None:
        """Ask for the allocation."""
        self._request(
            _Request(
                ALLOCATE, lambda _: _lifetime(LIFETIME_WANTED) + attribute(REQUESTED_TRANSPORT, _UDP), self._allocated
            ),
            now,
        )

    def permit(self, host: Host, now: float) -> None:
        """Let this address send to us."""
        permission = self._permissions.get(host)
        if permission is not None:
            permission.used = now
            return
        if self.state is not TurnState.ALLOCATED:
            return
        if len(self._permissions) >= MAX_PERMISSIONS:
            # Whoever offers addresses without end takes them from nobody who talks.
            del self._permissions[min(self._permissions, key=lambda each: self._permissions[each].used)]
        self._permissions[host] = _Permission(now, now + PERMISSION_REFRESH)
        self._ask_permission(host, now)

    def send(self, peer: Address, data: bytes, now: float, *, bind: bool = False) -> None:
        """One datagram to a peer that is permitted; `bind`: more will follow, so that a channel is worth it."""
        if self.state is not TurnState.ALLOCATED:
            return
        self.permit(peer[0], now)
        channel = self._channels.get(peer)
        if channel is None and bind:
            channel = self._bind(peer, now)
        if channel is not None:
            channel.used = now
            if not channel.open and now - channel.bound > CHANNEL_RETRY:
                self._ask_channel(peer, channel, now)
            if channel.open:
                padding = -len(data) % 4 if self._reliable else 0
                self._out.append(struct.pack("!HH", channel.number, len(data)) + data + bytes(padding))
                return
        transaction_id = self._random_bytes(12)
        attributes = xor_address(XOR_PEER_ADDRESS, peer, transaction_id) + attribute(DATA, data)
        self._out.append(message(SEND | INDICATION, transaction_id, attributes, None))

    def receive(self, data: bytes, now: float) -> tuple[Address, bytes] | None:
        """One message of the server; what a peer sent, with its address. Anything malformed is dropped."""
        if len(data) >= 4 and 0x40 <= data[0] <= 0x4F:
            return self._channel_data(data, now)
        try:
            found = parse(data)
        except StunError:
            return None
        if found.kind == DATA_METHOD | INDICATION:
            peer = found.address(XOR_PEER_ADDRESS)
            return self._heard(peer, found.attributes.get(DATA, b""), now)
        request = self._requests.get(found.transaction_id)
        if request is not None and found.kind in (request.method | SUCCESS, request.method | ERROR):
            self._answered(request, found, now)
        return None

    def messages_to_send(self) -> list[bytes]:
        """Drain what is to go to the server."""
        out, self._out = self._out, []
        return out

    def handle_timer(self, now: float) -> None:
        """Send again what was not answered, refresh what ends."""
        for request in [each for each in self._requests.values() if each.due <= now]:
            if self._reliable or request.transmissions > len(RETRANSMISSIONS) - 1:
                del self._requests[request.transaction_id]
                request.done(None)
            else:
                self._transmit(request, now)
        if self._refresh_at is not None and self._refresh_at <= now:
            self._refresh_at = None
            self._request(_Request(REFRESH, lambda _: _lifetime(LIFETIME_WANTED), self._refreshed), now)
        self._refresh_permissions(now)
        self._refresh_channels(now)

    def close(self, now: float) -> None:
        """Give the allocation back, in a message that may get lost: then it ends by itself."""
        if self.state is TurnState.ALLOCATED:
            self._request(_Request(REFRESH, lambda _: _lifetime(0), lambda _: None), now)
        self._fail("closed")

    # Requests and their answers

    def _request(self, request: _Request, now: float) -> None:
        request.transaction_id = self._random_bytes(12)
        attributes = request.attributes(request.transaction_id)
        if self._key:
            attributes += attribute(USERNAME, self._username.encode())
            attributes += attribute(REALM, self._realm) + attribute(NONCE, self._nonce)
        method = request.method
        request.data = message(method, request.transaction_id, attributes, self._key or None)
        request.transmissions = 0
        self._requests[request.transaction_id] = request
        self._transmit(request, now)

    def _transmit(self, request: _Request, now: float) -> None:
        pause = RELIABLE_TIMEOUT if self._reliable else RETRANSMISSIONS[request.transmissions]
        request.transmissions += 1
        request.due = now + pause
        self._out.append(request.data)

    def _answered(self, request: _Request, response: Message, now: float) -> None:
        code = response.error_code
        success = response.kind == request.method | SUCCESS
        wants_proof = not success and code in (401, 438)
        if self._key and not wants_proof and not response.authentic(self._key):
            # Anybody on the way could have written it (RFC 8489 section 9.2.5).
            return
        del self._requests[request.transaction_id]
        if wants_proof and self._prove(request, response):
            self._request(request, now)
        elif success:
            request.done(response)
            self._follow(request, response, now)
        else:
            if request.method in (ALLOCATE, REFRESH):
                self._fail(f"the server refused with {code}")
            request.done(None)

    def _prove(self, request: _Request, response: Message) -> bool:
        """Take the server's realm and nonce; False where it has seen enough of what we have."""
        nonce, realm = response.attributes.get(NONCE, b""), response.attributes.get(REALM, self._realm)
        request.authentications += 1
        known = bool(self._key) and response.error_code == 401
        if not nonce or not realm or known or request.authentications >= MAX_AUTHENTICATIONS:
            return False
        self._nonce, self._realm = nonce, realm
        self._key = long_term_key(self._username, realm.decode(errors="replace"), self._password)
        return True

    def _allocated(self, response: Message | None) -> None:
        if response is None:
            self._fail("the server did not answer")
            return
        self.relayed = response.address(XOR_RELAYED_ADDRESS)
        self.mapped = response.address(XOR_MAPPED_ADDRESS)
        if self.relayed is None:
            self._fail("the server named no relayed address")
        elif self.state is TurnState.ALLOCATING:
            self.state = TurnState.ALLOCATED

    def _refreshed(self, response: Message | None) -> None:
        if response is None:
            self._fail("the allocation was not refreshed")

    def _follow(self, request: _Request, response: Message, now: float) -> None:
        if request.method in (ALLOCATE, REFRESH) and self.state is TurnState.ALLOCATED:
            value = response.attributes.get(LIFETIME, b"")
            granted = int.from_bytes(value) if len(value) == 4 else LIFETIME_WANTED
            self._refresh_at = now + max(5.0, granted * 5 / 6)

    def _fail(self, reason: str) -> None:
        if self.state is not TurnState.FAILED:
            self.state, self.failure = TurnState.FAILED, reason
            self._requests.clear()
            self._permissions.clear()
            self._channels.clear()
            self._peers.clear()
            self._refresh_at = None

    # Permissions and channels

    def _ask_permission(self, host: Host, now: float) -> None:
        def done(response: Message | None) -> None:
            if response is None:
                # Refused, or not answered: the next use asks again.
                self._permissions.pop(host, None)

        self._request(_Request(CREATE_PERMISSION, lambda tid: xor_address(XOR_PEER_ADDRESS, (host, 0), tid), done), now)

    def _refresh_permissions(self, now: float) -> None:
        for host, permission in [each for each in self._permissions.items() if each[1].refresh <= now]:
            if now - permission.used > PERMISSION_KEPT:
                del self._permissions[host]
            else:
                permission.refresh = now + PERMISSION_REFRESH
                self._ask_permission(host, now)

    def _bind(self, peer: Address, now: float) -> _Channel | None:
        number = self._free_number(now)
        if number is None:
            return None
        channel = self._channels[peer] = _Channel(number, now, now + PERMISSION_REFRESH, now)
        self._peers[number] = peer
        self._ask_channel(peer, channel, now)
        return channel

    def _free_number(self, now: float) -> int | None:
        if self._next_channel <= LAST_CHANNEL:
            self._next_channel += 1
            return self._next_channel - 1
        rested = next((one for one in self._channels.items() if now - one[1].bound > CHANNEL_REST), None)
        if rested is None:
            return None
        del self._channels[rested[0]]
        return rested[1].number

    def _ask_channel(self, peer: Address, channel: _Channel, now: float) -> None:
        def attributes(transaction_id: bytes) -> bytes:
            number = attribute(CHANNEL_NUMBER, struct.pack("!HH", channel.number, 0))
            return number + xor_address(XOR_PEER_ADDRESS, peer, transaction_id)

        def done(response: Message | None) -> None:
            channel.open = response is not None

        channel.bound = now
        self._request(_Request(CHANNEL_BIND, attributes, done), now)

    def _refresh_channels(self, now: float) -> None:
        for peer, channel in [each for each in self._channels.items() if each[1].refresh <= now]:
            channel.refresh = now + PERMISSION_REFRESH
            if now - channel.used <= PERMISSION_KEPT:
                self._ask_channel(peer, channel, now)
            else:
                # Its number rests; until then it stays known, for what still comes by it.
                channel.open = False

    def _channel_data(self, data: bytes, now: float) -> tuple[Address, bytes] | None:
        number, length = struct.unpack_from("!HH", data)
        return None if length > len(data) - 4 else self._heard(self._peers.get(number), data[4 : 4 + length], now)

    def _heard(self, peer: Address | None, data: bytes, now: float) -> tuple[Address, bytes] | None:
        permission = None if peer is None else self._permissions.get(peer[0])
        if peer is None or permission is None or not data:
            return None
        permission.used = now
        return peer, data


def _lifetime(seconds: int) -> bytes:
    return attribute(LIFETIME, seconds.to_bytes(4))


def turn_credentials(secret: str, user: str, expires: int) -> tuple[str, str]:
    """User name and password that a TURN server with this secret takes until `expires` (Unix seconds).

    The scheme of draft-uberti-behave-turn-rest-00: base64(HMAC-SHA1(secret, "expires:user")).
    """
    name = f"{expires}:{user}"
    return name, base64.b64encode(hmac.digest(secret.encode(), name.encode(), "sha1")).decode()
