"""Rooms that users open, as the web front ends see them (gateway.web.conferencing.PersonalRooms)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import structlog

from gateway.app import room_settings
from gateway.app.opening import Opening
from gateway.call.routing import ROOM, Router
from gateway.cluster.cluster import Cluster
from gateway.conference.personal import PersonalRoom, PersonalRooms
from gateway.conference.room import RoomError, RoomSettings
from gateway.conference.rooms import Rooms
from gateway.identity.directory import Directory
from gateway.identity.mapping import IdentityMap
from gateway.identity.model import User
from gateway.identity.store import IdentityStore, StoreError
from gateway.legs.sip_sessions import Destination
from gateway.web.conferencing import RefusedError

log = structlog.get_logger(__name__)


class PersonalFront:
    """Says who may open, change and close which room."""

    def __init__(self, opening: Opening, rooms: PersonalRooms, cluster: Cluster, *, can: bool) -> None:
        """`can`: whether the media engine has conferences."""
        self.rooms = rooms
        self._can = can
        self._opening = opening
        self._cluster = cluster
        self.members: Rooms
        """Where members meet; set once there are rooms."""

    # -- for routing and the rooms themselves ----------------------------------------

    def has_number(self, number: str) -> bool:
        """Whether a user has opened a room of that number."""
        return self.rooms.get(number) is not None

    def settings(self, name: str) -> RoomSettings:
        """What the conference room of that name is like, opened by a user or of the configuration."""
        config = self._opening.config
        found, room = room_settings.room(config, name), self.rooms.get(name)
        if room is None or name in room_settings.room_names(config):
            return found
        return replace(found, pin=room.pin, moderators=frozenset({room.by}))

    def elsewhere(self, program: str) -> Destination | None:
        """The gateway of the cluster where the members of that room meet; None: this one."""
        kind, _, number = program.partition(":")
        room = self.rooms.get(number) if kind == ROOM else None
        return None if room is None else self._cluster.room_at(room.node, number)

    def is_used(self, number: str) -> bool:
        """Whether somebody is in the room of that number here."""
        return self.members.is_used(number)

    async def closed(self, number: str) -> None:
        """A room is no more: who is in it is told so."""
        await self.members.end(number)

    async def look(self, now: float) -> int:
        """Take in what other gateways of the store have changed; what is left of rooms that are over goes."""
        try:
            return await self.rooms.look(now)
        except StoreError as error:
            log.warning("rooms that users opened are looked for later", reason=str(error))
            return 0

    async def forget(self, user: str) -> None:
        """Close the rooms of a user who is no more."""
        await self.rooms.forget(user)

    # -- for the web front ends ------------------------------------------------------

    def may_open(self, user: User) -> bool:
        return self._can and room_settings.may_open(self._opening.config, user.role)

    def listed(self, user: User) -> list[dict[str, Any]]:
        return [self._shown(room) for room in self.rooms.listed() if _is_theirs(user, room)]

    async def open(self, user: User, title: str, number: str | None, pin: str | None) -> dict[str, Any]:
        if not self.may_open(user):
            raise RefusedError("You may not open rooms (conference.opened_by)", 403)
        with _told():
            room, used = await self.rooms.open(user.id, title, number, pin)
        return self._shown(room) | {"pin": used}

    async def change(self, user: User, number: str, title: str | None, pin: str | None) -> dict[str, Any]:
        self._check(user, number)
        with _told():
            room, used = await self.rooms.change(number, title, pin, partial(_is_theirs, user))
        return self._shown(room) | ({} if pin is None else {"pin": used})

    async def close(self, user: User, number: str) -> None:
        self._check(user, number)
        with _told():
            await self.rooms.close(number, partial(_is_theirs, user))

    def _check(self, user: User, number: str) -> None:
        room = self.rooms.get(number)
        if room is None or not _is_theirs(user, room):
            # Whether there is such a room is nobody's business whose it is not.
            raise RefusedError(f"you have no room {number!r}", 404)

    def _shown(self, room: PersonalRoom) -> dict[str, Any]:
        return {
            "room": room.number,
            "title": room.title,
            "by": room.by,
            "has_pin": room.pin is not None,
            "used": self.members.is_used(room.number),
            "since": room.since,
            "ends": self.rooms.ends(room),
        }


def _is_theirs(user: User, room: PersonalRoom) -> bool:
    return room.by == user.id or user.role in ("operator", "admin")


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """The rooms' own errors in the front ends' words."""
    try:
        yield
    except RoomError as error:
        raise RefusedError(str(error), error.status) from None
    except StoreError as error:
        log.error("rooms cannot be changed", reason=str(error))
        raise RefusedError("The store does not answer", 503) from None


def open_personal_rooms(
    opening: Opening,
    identity: IdentityMap,
    store: IdentityStore,
    directory: Directory,
    router: Router,
    cluster: Cluster,
    *,
    can: bool,
) -> PersonalFront:
    """Rooms that users open; they need `PersonalFront.members` before anything is asked of them.

    `can`: whether the media engine has conferences.
    """

    def mark(user: str) -> str | None:
        return directory.mark(user) if identity.by_id(user) is not None else None

    def is_free(number: str) -> bool:
        taken = number in room_settings.room_names(opening.config) or front.is_used(number)
        return not taken and router.is_free(number)

    front: PersonalFront
    rooms = PersonalRooms(
        store,
        opening.wall_clock,
        opening.random,
        mark=mark,
        is_free=is_free,
        is_used=lambda number: front.is_used(number),
        closed=lambda number: front.closed(number),
        settings=lambda: room_settings.personal(opening.config),
        node=cluster.node,
    )
    front = PersonalFront(opening, rooms, cluster, can=can)
    return front
