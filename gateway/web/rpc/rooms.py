"""Methods about conference rooms (`room.*`), and calls that are recorded or merged into one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gateway.identity.model import User
from gateway.web.conferencing import ROOM_ACTIONS, Conferencing, RefusedError
from gateway.web.rpc.codec import RpcError
from gateway.web.rpc.dialects import Problem
from gateway.web.rpc.methods import Handler, Reply
from gateway.web.rpc.params import Params, invalid
from gateway.web.rpc.peer import Peer

_PROBLEMS = {404: Problem.NOT_FOUND, 503: Problem.LIMIT}
_OF_MEMBERS = ("mute", "unmute", "kick")


async def room_list(peer: Peer, params: Params) -> Reply:
    """room.list{}: the rooms the user is in or moderates, and those it has opened; for operators all."""
    user, conferencing = _asking(peer)
    rooms, personal = conferencing.list_rooms(user), conferencing.personal
    opened = {"opened": personal.listed(user), "may_open": personal.may_open(user)}
    return Reply({"rooms": rooms, "count": len(rooms)} | opened)


async def room_open(peer: Peer, params: Params) -> Reply:
    """room.open{title?, number?, pin?}: a room of one's own; the result has its number (`room`) and its `pin`."""
    user, conferencing = _asking(peer)
    title, number, pin = params.words("title", 64), params.words("number", 16), params.words("pin", 16)

    async def result() -> dict[str, Any]:
        with _refusing(peer):
            made = await conferencing.personal.open(user, title or "", number, pin)
        peer.note("room opened", room=made["room"])
        return made

    return Reply(result)


async def room_change(peer: Peer, params: Params) -> Reply:
    """room.change{room, title?, pin?}: another title or PIN, "": none, for a room one has opened."""
    user, conferencing = _asking(peer)
    room, title, pin = params.identifier("room"), params.words("title", 64), params.words("pin", 16)

    async def result() -> dict[str, Any]:
        with _refusing(peer):
            changed = await conferencing.personal.change(user, room, title, pin)
        given = {"title": title, "pin": pin}
        peer.note("room changed", room=room, what=" ".join(name for name, one in given.items() if one is not None))
        return changed

    return Reply(result)


async def room_close(peer: Peer, params: Params) -> Reply:
    """room.close{room}: end a room one has opened; who is in it leaves."""
    user, conferencing = _asking(peer)
    room = params.identifier("room")

    async def result() -> dict[str, Any]:
        with _refusing(peer):
            await conferencing.personal.close(user, room)
        peer.note("room closed", room=room)
        return {"room": room}

    return Reply(result)


async def room_members(peer: Peer, params: Params) -> Reply:
    """room.members{room}: who is there, who speaks, whether it is locked and recorded."""
    user, conferencing = _asking(peer)
    try:
        return Reply(conferencing.room_members(user, params.identifier("room")))
    except RefusedError as error:
        raise _refused(peer, error) from None


async def room_watch(peer: Peer, params: Params) -> Reply:
    """room.watch{room}: `room` notifications tell what happens there; the result is what `room.members` says."""
    user, conferencing = _asking(peer)
    room = params.identifier("room")
    try:
        members = conferencing.room_members(user, room)
        peer.watch_room(room, lambda told: conferencing.watch_room(user, room, told))
    except RefusedError as error:
        raise _refused(peer, error) from None
    return Reply(members)


async def room_unwatch(peer: Peer, params: Params) -> Reply:
    """room.unwatch{room}"""
    _asking(peer)
    room = params.identifier("room")
    peer.unwatch_room(room)
    return Reply({"room": room})


def _change(action: str) -> Handler:
    async def change(peer: Peer, params: Params) -> Reply:
        user, conferencing = _asking(peer)
        room = params.identifier("room")
        member = params.identifier("member") if action in _OF_MEMBERS else ""
        try:
            await conferencing.change_room(user, room, action, member)
        except RefusedError as error:
            raise _refused(peer, error) from None
        return Reply({"room": room} | ({"member": member} if member else {}))

    change.__doc__ = f"room.{action}{{room{', member' if action in _OF_MEMBERS else ''}}}"
    return change


async def call_rights(peer: Peer, params: Params) -> Reply:
    """call.rights{}: whether the user may record its own calls, and has a mailbox."""
    user, conferencing = _asking(peer)
    return Reply(conferencing.rights(user))


async def call_record(peer: Peer, params: Params) -> Reply:
    """call.record{call_id, on?}: begin the recording of an answered call, with `on` false end it."""
    user, conferencing = _asking(peer)
    call_id, on = params.identifier("call_id"), params.raw.get("on", True)
    if not isinstance(on, bool):
        raise invalid("on", "true or false")
    try:
        conferencing.record_call(user, call_id, on=on)
    except RefusedError as error:
        raise _refused(peer, error) from None
    return Reply({"call_id": call_id, "recording": on})


async def call_merge(peer: Peer, params: Params) -> Reply:
    """call.merge{call_ids}: the other sides of these calls meet in a room; dial `to_peer_id` to be there, too."""
    user, conferencing = _asking(peer)
    call_ids = params.small_list("call_ids")

    async def result() -> dict[str, Any]:
        try:
            room = await conferencing.merge_calls(user, call_ids)
        except RefusedError as error:
            raise _refused(peer, error) from None
        return {"room": room, "to_peer_id": room}

    return Reply(result)


def _asking(peer: Peer) -> tuple[User, Conferencing]:
    """The configured user behind the connection; the dialect's error for guests and strangers."""
    user = peer.announced()
    if peer.is_guest:
        raise peer.dialect.error(Problem.AUTHENTICATION, "Authentication required")
    return user, peer.context.gateway.conferencing


@contextmanager
def _refusing(peer: Peer) -> Iterator[None]:
    try:
        yield
    except RefusedError as error:
        raise _refused(peer, error) from None


def _refused(peer: Peer, error: RefusedError) -> RpcError:
    return peer.dialect.error(_PROBLEMS.get(error.status, Problem.REFUSED), str(error), {"status": error.status})


HANDLERS: dict[str, Handler] = {
    "room.list": room_list,
    "room.open": room_open,
    "room.change": room_change,
    "room.close": room_close,
    "room.members": room_members,
    "room.watch": room_watch,
    "room.unwatch": room_unwatch,
    **{f"room.{action.replace('-', '_')}": _change(action) for action in ROOM_ACTIONS},
    "call.rights": call_rights,
    "call.record": call_record,
    "call.merge": call_merge,
}
