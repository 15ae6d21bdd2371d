"""Rooms and who is in them; both room protocols keep their peers in such a table."""

from __future__ import annotations

from gateway.web.outbox import Outbox
from gateway.web.rpc.codec import encode
from gateway.web.settings import WebSettings


class RoomFull(Exception):
    """No room left: too many rooms, or too many peers in this one."""


class PeerTaken(Exception):
    """Somebody of that id is in the room already."""


class RoomTable:
    """Peers by room and id. A room begins with its first peer and ends with its last."""

    def __init__(self, settings: WebSettings) -> None:
        self._settings = settings
        self._rooms: dict[str, dict[str, Outbox]] = {}

    def join(self, room: str, peer: str, outbox: Outbox) -> list[str]:
        """Add a peer; gives the others, oldest first. Raises RoomFull or PeerTaken."""
        peers = self._rooms.get(room)
        if peers is None:
            if len(self._rooms) >= self._settings.max_rooms:
                raise RoomFull
            peers = self._rooms[room] = {}
        if peer in peers:
            raise PeerTaken
        if len(peers) >= self._settings.max_room_peers:
            raise RoomFull
        others = list(peers)
        peers[peer] = outbox
        return others

    def leave(self, room: str, peer: str) -> None:
        """Remove a peer, and its room when it was the last."""
        peers = self._rooms[room]
        del peers[peer]
        if not peers:
            del self._rooms[room]

    def send(self, room: str, peer: str, message: dict[str, object]) -> bool:
        """Send to one peer of the room; False when it is not there."""
        outbox = self._rooms.get(room, {}).get(peer)
        if outbox is None:
            return False
        outbox.send(encode(message))
        return True

    def broadcast(self, room: str, message: dict[str, object], exclude: str) -> None:
        """Send to all peers of the room but one."""
        text = encode(message)
        for peer, outbox in self._rooms.get(room, {}).items():
            if peer != exclude:
                outbox.send(text)

    def rooms(self) -> list[str]:
        """Ids of the rooms with somebody in them."""
        return list(self._rooms)

    def peers(self, room: str) -> list[str]:
        """Who is in the room; nobody in an unknown one."""
        return list(self._rooms.get(room, {}))

    def total_peers(self) -> int:
        """Everybody, in all rooms."""
        return sum(map(len, self._rooms.values()))
