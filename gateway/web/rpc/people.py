"""Methods about people beside calls: `message.*`."""

from __future__ import annotations

from gateway.people.messages import Outcome
from gateway.web.rpc.dialects import Problem
from gateway.web.rpc.methods import Handler, Reply
from gateway.web.rpc.params import Params
from gateway.web.rpc.peer import Peer

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
_PROBLEMS = {Outcome.NOT_FOUND: Problem.NOT_FOUND, Outcome.TOO_MANY: Problem.LIMIT}


async def message_send(peer: Peer, params: Params) -> Reply:
    """message.send{to_peer_id, text, content_type?}: the result says whether it was delivered or is kept."""
    user = peer.announced()
    to, text, content_type = params.target("to_peer_id"), params.text("text"), params.content_type()
    if peer.is_guest:
        raise peer.dialect.error(Problem.AUTHENTICATION, "Authentication required")

    async def result() -> dict[str, str]:
        outcome = await peer.context.gateway.send_message(user, to, text, content_type)
        if not outcome.is_success:
            data = {"cause": outcome.word, "status": outcome.status, "reason": _SENTENCES[outcome]}
            raise peer.dialect.error(_PROBLEMS.get(outcome, Problem.REFUSED), _SENTENCES[outcome], data)
        return {"to_peer_id": to, "outcome": outcome.word}

    return Reply(result)


HANDLERS: dict[str, Handler] = {"message.send": message_send}
