"""Rooms that users open: each with a number of its own, kept in the store until somebody closes it or nobody comes."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import structlog

from gateway.conference.pins import SALT_OCTETS, HashedPin
from gateway.conference.room import RoomError

log = structlog.get_logger(__name__)

_ROOM, _USED, _KEPT = "room:", "room-used:", "rooms"
"""Entries of the store: a room by its number, when somebody was in it last, and a mark of the
store, which another one has than it if it forgot and was begun anew."""
AUTO = "auto"
"""The PIN that asks for one to be made."""
_MADE_PIN = 6
"""Digits of a PIN that the gateway makes, at least."""
_KNOWN_AFTER = 60.0
"""Seconds after which every gateway of the store knows a user that was made in another."""
_TRIES = 5
"""How often a room that others change at the same time is read again."""
_PIN = re.compile(r"[0-9]{1,16}", re.ASCII)


class RoomStore(Protocol):
    """The directory of the identity store (gateway.identity.store.IdentityStore)."""

    async def entries(self) -> Mapping[str, str]: ...

    async def put_entry(self, name: str, text: str | None, *, new: bool = False, old: str | None = None) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonalSettings:
    """Which rooms may be opened."""

    numbers: tuple[str, str] | None = None
    """The first and the last number, of as many digits; None: no room may be opened."""
    min_pin: int = 6
    """Digits that a PIN has at least; 0: a room needs none."""
    per_user: int = 5
    most: int = 100
    """Of everybody together."""
    empty_time: float = 604_800.0
    """Seconds after which a room that nobody was in is closed."""

    def __contains__(self, number: object) -> bool:
        return self.numbers is not None and isinstance(number, str) and _is_within(number, *self.numbers)

    def every(self) -> Iterator[str]:
        """The numbers, the lowest first."""
        if self.numbers is not None:
            first, last = self.numbers
            yield from (f"{number:0{len(first)}}" for number in range(int(first), int(last) + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonalRoom:
    """A room that a user opened."""

    number: str
    title: str = ""
    by: str
    """Id of its owner, who moderates it."""
    mark: str = ""
    """Tells apart two users of that id, one after the other."""
    pin: HashedPin | None = None
    node: str = ""
    """The gateway of a cluster where its members meet."""
    since: float
    """Unix seconds."""


def _anybody(room: PersonalRoom) -> bool:
    """Whose it is has been looked at."""
    return True


class PersonalRooms:
    """Of all gateways of one store: each sees what another has changed when it looks the next time."""

    def __init__(
        self,
        store: RoomStore,
        clock: Callable[[], float],
        random: Callable[[int], bytes],
        *,
        mark: Callable[[str], str | None],
        is_free: Callable[[str], bool],
        is_used: Callable[[str], bool],
        closed: Callable[[str], Awaitable[None]],
        settings: Callable[[], PersonalSettings],
        node: str = "",
    ) -> None:
        """`clock` gives Unix seconds, `random` so many octets.

        `mark` tells apart two users of one id, None: there is none; `is_free`: nobody else is called by that number;
        `is_used`: somebody is in the room of that number at this gateway; `closed` hears of a room that is no more.
        """
        self._settings = settings
        self._store = store
        self._clock = clock
        self._random = random
        self._mark = mark
        self._is_free = is_free
        self._is_used = is_used
        self._closed = closed
        self._node = node
        self._rooms: dict[str, PersonalRoom] = {}
        self._used: dict[str, float] = {}
        self._kept = ""
        """The mark of the store that had the rooms."""
        self._untold: dict[str, str] = {}
        """Entries that may have been written although it failed; nobody was told of them."""
        self._turn = asyncio.Lock()

    def get(self, number: str) -> PersonalRoom | None:
        """The room of that number, where the configuration still has the number."""
        return self._rooms.get(number) if number in self._settings() else None

    def listed(self) -> list[PersonalRoom]:
        """All of them, by number."""
        return sorted((room for room in self._rooms.values() if room.number in self._settings()), key=_number_of)

    def ends(self, room: PersonalRoom) -> float:
        """When it is closed if nobody comes (Unix seconds)."""
        used = self._clock() if self._is_used(room.number) else self._used.get(room.number, 0.0)
        return max(room.since, used) + self._settings().empty_time

    async def open(self, by: str, title: str, number: str | None, pin: str | None) -> tuple[PersonalRoom, str]:
        """A new room and its PIN; `number` None: the next free one, `pin` None: one is made where one is needed.

        `pin` AUTO: one is made. Raises RoomError 400, 403, 409, 503, and what the store raises.
        """
        pin = self._pin(pin)
        self._check_limits(by)
        kept = await self._hashed(pin)
        async with self._turn:
            await self._read()
            self._check_limits(by)
            mark = self._mark(by)
            if mark is None:
                raise RoomError("only users open rooms", 403)
            for wanted in (number,) if number is not None else self._settings().every():
                if wanted in self._rooms or not self._may_have(wanted, number is not None):
                    continue
                room = PersonalRoom(
                    number=wanted, title=title, by=by, mark=mark, pin=kept, node=self._node, since=self._clock()
                )
                if await self._put_new(room):
                    self._rooms[wanted] = room
                    return room, pin
            raise RoomError("the number is taken" if number is not None else "no number is free", 409)

    async def change(
        self, number: str, title: str | None, pin: str | None, may: Callable[[PersonalRoom], bool] = _anybody
    ) -> tuple[PersonalRoom, str]:
        """Give a room another title or PIN, None: as it is; "" no PIN. As `open`.

        RoomError 404 where there is none, or none of which `may` says yes: it may be somebody else's by now.
        """
        if pin is not None:
            pin = self._pin(pin)
        hashed = None if pin is None else await self._hashed(pin)
        async with self._turn:
            for _ in range(_TRIES):
                before = (await self._read()).get(_ROOM + number, "")
                room = self._known(number, may)
                room = replace(
                    room, title=room.title if title is None else title, pin=room.pin if pin is None else hashed
                )
                # Another gateway may close or change it at the same time.
                if await self._store.put_entry(_ROOM + number, _written(room), old=before):
                    self._rooms[number] = room
                    return room, pin or ""
        raise RoomError("somebody else changes the room", 409)

    async def close(self, number: str, may: Callable[[PersonalRoom], bool] = _anybody) -> None:
        """Raises RoomError 404 as `change`, and what the store raises."""
        async with self._turn:
            await self._read()
            self._known(number, may)
            await self._remove(number)

    async def look(self, now: float) -> int:
        """Take in what others of the store have changed, and close what nobody uses or owns any more; how many."""
        async with self._turn:
            await self._read()
            for number in self._rooms:
                # So seldom that the store is not written for nothing, and often enough for a restart.
                stale = now - self._used.get(number, 0.0) > min(60.0, self._settings().empty_time / 4)
                if stale and self._is_used(number):
                    await self._store.put_entry(_USED + number, repr(now))
                    self._used[number] = now
            over = [one.number for one in self._rooms.values() if self._is_over(one, now)]
            for number in over:
                log.info("a room is closed", room=number)
                await self._remove(number)
            return len(over)

    async def forget(self, by: str) -> None:
        """Close the rooms of a user who is no more, not those of whoever has the same id now."""
        async with self._turn:
            await self._read()
            for room in tuple(self._rooms.values()):
                if room.by == by and room.mark != self._mark(by):
                    await self._remove(room.number)

    # -- parts ---------------------------------------------------------------------

    def _is_over(self, room: PersonalRoom, now: float) -> bool:
        # Other gateways may have users of their own, and those of the store are known a while later.
        is_known = room.node == self._node and now - room.since > _KNOWN_AFTER
        return self.ends(room) <= now or (is_known and self._mark(room.by) != room.mark)

    def _known(self, number: str, may: Callable[[PersonalRoom], bool]) -> PersonalRoom:
        room = self._rooms.get(number)
        if room is None or not may(room):
            raise RoomError(f"there is no room {number!r}", 404)
        return room

    def _check_limits(self, by: str) -> None:
        if self._settings().numbers is None:
            raise RoomError("no room may be opened (conference.numbers)", 409)
        rooms = self.listed()
        if sum(room.by == by for room in rooms) >= self._settings().per_user:
            raise RoomError("you have as many rooms as you may have; close one", 409)
        if len(rooms) >= self._settings().most:
            raise RoomError("there are too many rooms", 503)

    def _may_have(self, number: str, is_wanted: bool) -> bool:
        if number not in self._settings():
            raise RoomError("that number is for no room (conference.numbers)", 400)
        return self._is_free(number)

    def _pin(self, pin: str | None) -> str:
        least = self._settings().min_pin
        if pin == AUTO or (pin is None and least):
            digits = max(least, _MADE_PIN)
            return f"{int.from_bytes(self._random(16)) % 10**digits:0{digits}}"
        pin = pin or ""
        if (pin or least) and not (_PIN.fullmatch(pin) and len(pin) >= least):
            raise RoomError(f"a PIN is {max(least, 1)} to 16 digits", 400)
        return pin

    async def _hashed(self, pin: str) -> HashedPin | None:
        return await HashedPin.of(pin, self._random(SALT_OCTETS)) if pin else None

    async def _remove(self, number: str) -> None:
        await self._store.put_entry(_ROOM + number, None)
        await self._store.put_entry(_USED + number, None)
        self._rooms.pop(number, None)
        self._used.pop(number, None)
        await self._closed(number)

    async def _put_new(self, room: PersonalRoom) -> bool:
        """Whether it has the number: whoever puts it first, here or in another gateway."""
        if not self._kept:
            await self._mark_store()
        name, text = _ROOM + room.number, _written(room)
        try:
            return await self._store.put_entry(name, text, new=True)
        except BaseException:
            self._untold[name] = text
            raise

    async def _mark_store(self) -> None:
        await self._store.put_entry(_KEPT, self._random(8).hex(), new=True)
        self._kept = (await self._store.entries()).get(_KEPT, "")

    async def _settled(self) -> Mapping[str, str]:
        """What the store has once what it lost is put back, and taken away what nobody was told of."""
        entries = await self._store.entries()
        for name, text in tuple(self._untold.items()):
            if entries.get(name) == text:
                await self._store.put_entry(name, None)
            del self._untold[name]
            entries = {other: kept for other, kept in entries.items() if other != name or kept != text}
        if self._rooms and entries.get(_KEPT) != self._kept:
            log.warning("the rooms had gone from the store and were put back")
            known = dict(_times(entries))
            for number, room in self._rooms.items():
                # First: without it a room is as old as its opening, and closed by whoever looks next.
                if (used := self._used.get(number, 0.0)) > known.get(number, 0.0):
                    await self._store.put_entry(_USED + number, repr(used))
                await self._store.put_entry(_ROOM + number, _written(room), new=True)
            await self._mark_store()
            entries = await self._store.entries()
        self._kept = entries.get(_KEPT, "")
        return entries

    async def _read(self) -> Mapping[str, str]:
        entries = await self._settled()
        before, self._rooms = self._rooms, dict(_rooms(entries))
        self._used = {number: used for number, used in _times(entries) if number in self._rooms}
        for number, room in before.items():
            now = self._rooms.get(number)
            if now is None or (now.by, now.mark, now.since) != (room.by, room.mark, room.since):
                await self._closed(number)
        return entries


def _is_within(number: str, first: str, last: str) -> bool:
    return bool(_PIN.fullmatch(number)) and len(number) == len(first) and first <= number <= last


def _number_of(room: PersonalRoom) -> str:
    return room.number


def _written(room: PersonalRoom) -> str:
    return json.dumps(asdict(room))


def _rooms(entries: Mapping[str, str]) -> Iterator[tuple[str, PersonalRoom]]:
    for name, text in entries.items():
        if name.startswith(_ROOM):
            try:
                kept: dict[str, Any] = json.loads(text)
                pin = kept.pop("pin")
                since = float(kept.pop("since"))
                room = PersonalRoom(**kept, since=since, pin=None if pin is None else HashedPin(**pin))
                if name != _ROOM + room.number:
                    raise ValueError
            except (ValueError, TypeError, KeyError, AttributeError):
                log.warning("a room of the store cannot be read", name=name[:80])
                continue
            yield room.number, room


def _times(entries: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    for name, text in entries.items():
        if name.startswith(_USED):
            try:
                yield name.removeprefix(_USED), float(text)
            except ValueError:
                continue
