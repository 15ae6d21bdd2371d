"""What the web front ends ask about rooms, recordings and voicemail (a part of `facade.Gateway`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from gateway.errors import GatewayError
from gateway.identity.model import User
from gateway.web.outbox import Outbox

ROOM_ACTIONS = ("mute", "unmute", "kick", "lock", "unlock", "record", "stop-recording")
"""What may be done in a room; the first three to one member."""


class RefusedError(GatewayError):
    """What was asked for is not done; the sentence is for whoever asked, `status` is HTTP's."""

    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason)
        self.status = status


class AgentConnection(Protocol):
    """The gateway's side of one socket."""

    def received(self, message: str | bytes) -> None:
        """One message came."""

    def lost(self) -> None:
        """The socket is gone."""


class AgentSide(Protocol):
    """Who takes calls by a program."""

    def admits(self, name: str, token: str) -> bool:
        """Whether who shows this token may take the calls of that agent."""

    @property
    def connected(self) -> Callable[[str, Outbox], AgentConnection]:
        """Takes the socket of a program that was admitted into use."""


class PersonalRooms(Protocol):
    """Rooms that users open by a number. Methods raise RefusedError: 400, 403, 404, 409 or 503.

    Each is shown as room (its number), title, by, has_pin, used (whether somebody is in it), since and ends (Unix
    seconds; when it is closed if nobody comes).
    """

    def may_open(self, user: User) -> bool:
        """Whether the user may open a room at all."""

    def listed(self, user: User) -> list[dict[str, Any]]:
        """The user's own; operators see all of them."""

    async def open(self, user: User, title: str, number: str | None, pin: str | None) -> dict[str, Any]:
        """A new room, with its `pin` ("": none), which is not shown again.

        `number` None: the next free one. `pin` "auto": one is made; "": none; None: one is made where rooms need one.
        """

    async def change(self, user: User, number: str, title: str | None, pin: str | None) -> dict[str, Any]:
        """Give a room another title or PIN; None: as it is."""

    async def close(self, user: User, number: str) -> None:
        """End a room; whoever is in it leaves, and is told why."""


class Conferencing(Protocol):
    """Rooms and recordings. Methods raise RefusedError: 403, 404, 409, 501 or 503."""

    @property
    def personal(self) -> PersonalRooms:
        """Rooms that users open."""

    @property
    def agents(self) -> AgentSide:
        """Programs elsewhere that take calls."""

    def is_linked_room(self, room: str) -> bool:
        """Whether the room server's room of that name is a conference room that phones dial as well."""

    def room_link(self, room: str) -> str:
        """What one browser of such a room dials, once and soon, to be in the conference."""

    def watch_phones(self, room: str, told: Callable[[str, bool], None]) -> Callable[[], None]:
        """Have `told` hear who dials such a room (a name of its own, whether it is there); returns what ends that."""

    def list_rooms(self, user: User) -> list[dict[str, Any]]:
        """name, members (how many), locked, recording, speaker (a member's id) of each room.

        Operators see all of them, others those they are in or moderate.
        """

    def room_members(self, user: User, room: str) -> dict[str, Any]:
        """What `list_rooms` says of a room, `members` being id, uri, display_name, user and muted of each.

        `moderates`: whether the user may mute others, remove, lock and record.
        """

    async def change_room(self, user: User, room: str, action: str, member: str = "") -> None:
        """Do one of ROOM_ACTIONS; everybody may mute itself."""

    def watch_room(self, user: User, room: str, told: Callable[[dict[str, Any]], None]) -> Callable[[], None]:
        """Have `told` hear what happens in a room (event, room, member); returns what ends that."""

    def rights(self, user: User) -> dict[str, bool]:
        """record: whether it may record its own calls; voicemail: whether it has a mailbox."""

    def record_call(self, user: User, call_id: str, *, on: bool) -> None:
        """Begin or end the recording of a user's own call, named by its leg; operators may of any call, by its id."""

    async def play_sound(self, call_id: str, sound: str, party: str | None) -> None:
        """Play a file of `media.sounds` to both sides of a call, or to the one of that SIP URI; 400, 404 or 501."""

    async def transfer_call(self, user: User, call_id: str, to: str, party: str | None) -> None:
        """Have whom the user may call take the place of one side of a call; returns once it has answered.

        `party`: SIP URI of the side that stays; None: the caller. Else RefusedError with the SIP status, and the call
        goes on as it was.
        """

    def stop_sound(self, call_id: str) -> None:
        """Play no more of it."""

    async def merge_calls(self, user: User, call_ids: list[str]) -> str:
        """Move the other sides of a user's own calls into a room of their own; the name to dial to be there too."""

    async def list_voicemail(self, user: User) -> list[dict[str, Any]]:
        """id, caller, display_name, at (Unix seconds), seconds, new of each message left for a user, the new first."""

    async def voicemail(self, user: User, message_id: str) -> Path:
        """The sound of a message, which is not new any more."""

    async def remove_voicemail(self, user: User, message_id: str) -> None:
        """Delete a message."""

    async def list_recordings(self) -> list[dict[str, Any]]:
        """name, size, and as far as it is known call, room, caller, dialled, parties, began, seconds, ended of each."""

    async def recording(self, name: str) -> Path:
        """The file of a recording."""

    async def remove_recording(self, name: str) -> None:
        """Delete one."""
