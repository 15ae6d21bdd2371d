"""Methods about people beside calls: `message.*` and `presence.*`."""

from __future__ import annotations

from gateway.identity.model import User
from gateway.people.messages import Outcome
from gateway.people.presence import SETTABLE, PresenceState
from gateway.web.rpc.dialects import Problem
from gateway.web.rpc.methods import Handler, Reply
from gateway.web.rpc.params import Params, invalid
from gateway.web.rpc.peer import Peer, presence_params

_SENTENCES = {
    Outcome.FORBIDDEN: "You may not write to them.",
    Outcome.NOT_FOUND: "There is nobody of that name or number.",
    Outcome.TOO_LARGE: "The message is too long.",
    Outcome.UNSUPPORTED: "Messages of that type are not taken.",
    Outcome.UNAVAILABLE: "Not reachable at the moment.",
    Outcome.LOOP: "The message goes round in circles.",
    Outcome.REFUSED: "The message was refused.",
    Outcome.TOO_MANY: "Too many messages, try again later.",
}
_STATUSES = {activity.value: activity for activity in SETTABLE}
_PROBLEMS = {Outcome.NOT_FOUND: Problem.NOT_FOUND, Outcome.TOO_MANY: Problem.LIMIT}


async def message_send(peer: Peer, params: Params) -> Reply:
    """message.send{to_peer_id, text, content_type?}: the result says whether it was delivered or is kept."""
    user = _user(peer)
    to, text, content_type = params.target("to_peer_id"), params.text("text"), params.content_type()

    async def result() -> dict[str, str]:
        outcome = await peer.context.gateway.send_message(user, to, text, content_type)
        if not outcome.is_success:
            data = {"cause": outcome.word, "status": outcome.status, "reason": _SENTENCES[outcome]}
            raise peer.dialect.error(_PROBLEMS.get(outcome, Problem.REFUSED), _SENTENCES[outcome], data)
        return {"to_peer_id": to, "outcome": outcome.word}

    return Reply(result)


async def presence_watch(peer: Peer, params: Params) -> Reply:
    """presence.watch{peer_id}: the result is what is true now, `presence` tells every change."""
    _user(peer)
    peer_id = params.target("peer_id")
    return Reply(presence_params(peer_id, await peer.watch(peer_id)))


async def presence_unwatch(peer: Peer, params: Params) -> Reply:
    """presence.unwatch{peer_id}"""
    _user(peer)
    peer_id = params.target("peer_id")
    peer.unwatch(peer_id)
    return Reply({"peer_id": peer_id})


async def presence_set(peer: Peer, params: Params) -> Reply:
    """presence.set{status?, note?}: what others see of the user; without a status, what is found out."""
    user = _user(peer)
    status, note = params.raw.get("status"), params.note()
    if status is not None and not (isinstance(status, str) and status in _STATUSES):
        raise invalid("status", " or ".join(_STATUSES))
    state = None if status is None and not note else PresenceState(_STATUSES[status or "available"], note)
    peer.context.gateway.set_presence(user, state)
    return Reply({"status": status, "note": note})


def _user(peer: Peer) -> User:
    """The configured user behind the connection; the dialect's error for guests and strangers."""
    user = peer.announced()
    if peer.is_guest:
        raise peer.dialect.error(Problem.AUTHENTICATION, "Authentication required")
    return user


HANDLERS: dict[str, Handler] = {
    "message.send": message_send,
    "presence.watch": presence_watch,
    "presence.unwatch": presence_unwatch,
    "presence.set": presence_set,
}
