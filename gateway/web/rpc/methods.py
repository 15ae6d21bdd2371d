"""The methods of both JSON-RPC dialects, as tables of name to handler."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from gateway.web import checks
from gateway.web.rpc.dialects import PlainDialect, Problem, flags, problem_of
from gateway.web.rpc.entry import CallEnded, Entry
from gateway.web.rpc.params import Params, invalid
from gateway.web.rpc.peer import Peer

PLAIN = PlainDialect()


@dataclass(frozen=True, slots=True)
class Reply:
    """What a handler returns."""

    value: dict[str, Any] | Callable[[], Awaitable[dict[str, Any]]]
    """The result, or how to wait for it; the connection goes on meanwhile."""
    then: Callable[[], None] | None = None
    """Run after the result, or the error of a later one, was sent."""
    sent: Callable[[], None] | None = None
    """Run after that, if it was a result."""


Handler = Callable[[Peer, Params], Awaitable[Reply]]


async def announce(peer: Peer, params: Params) -> Reply:
    """announce{peer_id, capabilities?, token?}"""
    peer_id, token = params.identifier("peer_id"), params.token()
    return Reply(await peer.announce(PLAIN, peer_id, token, params.small_object("capabilities"), {}))


async def offer(peer: Peer, params: Params) -> Reply:
    """offer{to_peer_id?, sdp, type?, call_id?}: without a target, the server's echo answers in the result."""
    params.kind("offer", ("offer",))
    sdp = params.sdp()
    if "to_peer_id" not in params:
        return await offer_to_server(peer, peer.context.settings.default_callee, sdp, _courtesy_result)
    peer.announced()
    to = params.target("to_peer_id")
    entry = peer.calls.find(to, params.call_id())
    if entry is not None:
        peer.heard(entry, "offer", {"sdp": sdp})
        if not peer.calls.reoffer(entry, sdp):
            raise peer.crosses()
        return Reply({"offer_id": peer.offer_id(to), "to_peer_id": to, "call_id": entry.call.id})
    offer_id = peer.offered_to(to, sdp)
    if offer_id is not None:
        return Reply({"offer_id": offer_id, "to_peer_id": to})
    entry = await peer.place(to, sdp)
    return Reply(
        {"offer_id": entry.offer_id, "to_peer_id": to, "call_id": entry.call.id},
        then=lambda: peer.calls.release(entry),
    )


async def offer_to_server(
    peer: Peer, to: str, sdp: str, shape: Callable[[Entry, str], dict[str, Any]], as_peer: str | None = None
) -> Reply:
    """Place a call whose answer is the request's result; the client knows the callee as `as_peer`."""
    entry = await peer.place(to, sdp, await peer.passing_guest(), inline=True)
    if as_peer is not None:
        entry.peer_id = as_peer
    answer = entry.inline
    assert answer is not None  # place(inline=True) sets it

    async def result() -> dict[str, Any]:
        try:
            async with asyncio.timeout(peer.context.settings.setup_timeout):
                return shape(entry, await answer)
        except CallEnded as ended:
            data = {"cause": ended.cause.word, "status": ended.cause.status, "reason": ended.cause.sentence}
            problem = problem_of(ended.cause, ended.cause.status)
            raise peer.dialect.error(problem, str(ended), data) from None
        except TimeoutError:
            if peer.calls.find(entry.peer_id, entry.call.id) is entry:
                peer.calls.hang_up(entry, None)
            raise peer.dialect.error(Problem.TIMEOUT, "No answer in time") from None

    return Reply(result, then=lambda: peer.calls.release(entry))


def _courtesy_result(entry: Entry, sdp: str) -> dict[str, Any]:
    return {
        "offer_id": entry.offer_id,
        "to_peer_id": entry.peer_id,
        "call_id": entry.call.id,
        "answer": {"type": "answer", "sdp": sdp},
    }


async def answer(peer: Peer, params: Params) -> Reply:
    """answer{to_peer_id, sdp, type?, call_id?}: type "rollback", without sdp, refuses a re-offer."""
    return await give_answer(peer, params, "to_peer_id", {})


async def give_answer(peer: Peer, params: Params, target: str, extra: dict[str, Any]) -> Reply:
    """An answer to a call of ours, or relayed to the peer that offered."""
    kind = params.kind("answer", ("answer", "pranswer", "rollback"))
    sdp = None if kind == "rollback" else params.sdp()
    peer.announced()
    to = params.target(target)
    entry = peer.calls.find(to, params.call_id())
    if entry is not None:
        peer.heard(entry, "answer", {"sdp": sdp} if sdp else {"type": kind})
        if not peer.calls.accept(entry, sdp, params.number("exchange")):
            raise peer.dialect.error(Problem.BAD_ANSWER, "No offer waits for this answer")
        return Reply({**extra, "to_peer_id": to})
    partner = peer.partner(to)
    if sdp is None:
        raise invalid("type", "answer")
    partner.relay_answer(peer.peer_id, sdp, kind)
    return Reply({**extra, "to_peer_id": to})


async def ice_candidate(peer: Peer, params: Params) -> Reply:
    """ice_candidate{to_peer_id?, candidate, sdp_mid?, sdp_mline_index?}: "" is the end of the candidates."""
    index = params.line_index("sdp_mline_index")
    if "to_peer_id" in params:
        return await give_candidate(peer, params, params.target("to_peer_id"), index, {})
    return await give_candidate(peer, params, peer.context.settings.default_callee, index, {})


async def give_candidate(peer: Peer, params: Params, to: str, index: int | None, extra: dict[str, Any]) -> Reply:
    """A candidate for a call of ours, or relayed."""
    candidate, mid = params.candidate(), params.mid()
    entry = peer.calls.find(to, params.call_id())
    if entry is not None:
        if not checks.is_ice_candidate(candidate):
            raise peer.dialect.error(Problem.BAD_CANDIDATE, "The candidate is not a candidate line")
        if not peer.calls.trickle(entry, candidate, mid):
            raise peer.dialect.error(Problem.BAD_CANDIDATE, "Too many candidates")
        return Reply({**extra, "to_peer_id": to})
    peer.announced()
    peer.partner(to).relay_candidate(peer.peer_id, candidate, mid, index)
    return Reply({**extra, "to_peer_id": to})


async def disconnect(peer: Peer, params: Params) -> Reply:
    """disconnect{peer_id, reason?, call_id?}: hang up, give up or refuse; succeeds for strangers too."""
    peer_id = params.target("peer_id")
    part(peer, peer_id, params)
    return Reply({"peer_id": peer_id})


def part(peer: Peer, peer_id: str, params: Params) -> None:
    """End the call with `peer_id`, or tell it that a relayed session is over."""
    reason = params.reason()
    entry = peer.calls.find(peer_id, params.call_id())
    if entry is not None:
        peer.heard(entry, "disconnect", {"reason": reason})
        peer.calls.hang_up(entry, reason)
        return
    peer.announced()
    partner = peer.context.hub.reach(peer, peer_id, begins=False)
    if partner is not None:
        partner.relay_disconnect(peer.peer_id, reason)


async def list_peers(peer: Peer, params: Params) -> Reply:
    """list_peers{}: everybody who is announced, the asking peer included."""
    peer.announced()
    peers = [
        {"peer_id": peer_id, "capabilities": flags(listing["capabilities"]), "state": "available"}
        for peer_id, listing in peer.context.hub.listing(peer)
    ]
    return Reply({"peers": peers, "count": len(peers)})


async def dtmf(peer: Peer, params: Params) -> Reply:
    """dtmf{peer_id, digit, duration?, call_id?}: one digit into a call (not in either seed dialect)."""
    peer_id, digit, duration = params.target("peer_id"), params.digit(), params.duration()
    entry = peer.calls.find(peer_id, params.call_id())
    if entry is None:
        raise peer.not_found(peer_id)

    async def pressed() -> dict[str, Any]:
        await peer.press(entry, digit, duration)
        return {"peer_id": peer_id, "digit": digit}

    return Reply(pressed)


METHODS: dict[str, Handler] = {
    "announce": announce,
    "offer": offer,
    "answer": answer,
    "ice_candidate": ice_candidate,
    "disconnect": disconnect,
    "list_peers": list_peers,
    "dtmf": dtmf,
}
