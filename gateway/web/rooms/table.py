"""Rooms and who is in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from gateway.web.outbox import Line
from gateway.web.rooms.messages import Wire
from gateway.web.settings import WebSettings


class RoomFull(Exception):
    """No room left: too many rooms, or too many peers in this one."""


class PeerTaken(Exception):
    """Somebody of that id is in the room already."""


class Sink(Protocol):
    """Where what a client is told goes: the way out of its socket."""

    @property
    def free_bytes(self) -> int: ...

    def send(self, message: str) -> None: ...

    def close(self, code: int, reason: str = "") -> None: ...


@dataclass(slots=True, kw_only=True, eq=False)
class Client:
    """One connection, in one room at a time."""

    id: str
    room: str
    outbox: Sink
    wire: Wire
    line: Line | None = None
    """Limits that grow with the room; None: a peer of our own."""


class RoomTable:
    """Peers by room and id. A room begins with its first peer and ends with its last."""

    def __init__(self, settings: WebSettings) -> None:
        self._settings = settings
        self._rooms: dict[str, dict[str, Client]] = {}

    def join(self, client: Client) -> list[Client]:
        """Add it to its room; gives the others, oldest first. Raises RoomFull or PeerTaken."""
        peers = self._rooms.get(client.room, {})
        if client.id in peers:
            raise PeerTaken
        if len(peers) >= self._settings.max_room_peers:
            raise RoomFull
        if not peers and len(self._rooms) >= self._settings.max_rooms:
            raise RoomFull
        others = list(peers.values())
        self._rooms.setdefault(client.room, {})[client.id] = client
        return others

    def leave(self, client: Client) -> None:
        """Remove it, and its room when it was the last; idempotent."""
        peers = self._rooms.get(client.room, {})
        if peers.get(client.id) is client:
            del peers[client.id]
            if not peers:
                del self._rooms[client.room]

    def find(self, room: str, peer: str) -> Client | None:
        """The peer of that id in the room."""
        return self._rooms.get(room, {}).get(peer)

    def members(self, room: str) -> list[Client]:
        """Who is in the room; nobody in an unknown one."""
        return list(self._rooms.get(room, {}).values())

    def rooms(self) -> list[str]:
        """Ids of the rooms with somebody in them."""
        return list(self._rooms)

    def __iter__(self) -> Iterator[Client]:
        for room in list(self._rooms):
            yield from self.members(room)

    def __len__(self) -> int:
        return sum(map(len, self._rooms.values()))
