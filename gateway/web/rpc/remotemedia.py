"""JSON-RPC dialect 2: `peer.*` and `server.info`."""

from __future__ import annotations

import ipaddress
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from gateway.web.rpc.dialects import SERVER_PEER, Problem, RemoteMediaDialect, words
from gateway.web.rpc.entry import Entry
from gateway.web.rpc.methods import Handler, Reply, give_answer, give_candidate, offer_to_server, part
from gateway.web.rpc.params import Params, invalid
from gateway.web.rpc.peer import Peer

REMOTEMEDIA = RemoteMediaDialect()
_SUCCESS = {"success": True}


async def announce(peer: Peer, params: Params) -> Reply:
    """peer.announce{peer_id, capabilities?, user_data?, token?}"""
    peer_id, token = params.identifier("peer_id"), params.token()
    capabilities, metadata = params.small_list("capabilities"), params.small_object("user_data")
    return Reply(_SUCCESS | await peer.announce(REMOTEMEDIA, peer_id, token, capabilities, metadata))


def _speaks_for_itself(peer: Peer, params: Params) -> None:
    peer.announced()
    if "from" in params and params.identifier("from") != peer.peer_id:
        raise invalid("from", "your own peer id")


async def offer(peer: Peer, params: Params) -> Reply:
    """peer.offer{from, to, sdp}: to "remotemedia-server" the result carries the answer."""
    _speaks_for_itself(peer, params)
    to, sdp = params.target("to"), params.sdp()
    if not sdp.startswith("v=0") or "m=" not in sdp:
        raise peer.dialect.error(Problem.BAD_OFFER, "The offer must start with v=0 and have an m= line")
    if to == SERVER_PEER:
        return await _offer_to_echo(peer, sdp)
    entry = peer.calls.find(to, params.call_id())
    if entry is not None:
        if not peer.calls.reoffer(entry, sdp):
            raise peer.crosses()
        return Reply(_SUCCESS | {"to_peer_id": to})
    if peer.offered_to(to, sdp) is not None:
        return Reply(_SUCCESS | {"to_peer_id": to})
    placed = await peer.place(to, sdp)
    return Reply(_SUCCESS | {"to_peer_id": to, "call_id": placed.call.id}, then=partial(peer.calls.release, placed))


async def _offer_to_echo(peer: Peer, sdp: str) -> Reply:
    earlier = peer.calls.find(SERVER_PEER)
    if earlier is not None:
        peer.calls.hang_up(earlier, None)

    def shape(entry: Entry, answer: str) -> dict[str, Any]:
        return {"type": "answer", "sdp": answer, "from": SERVER_PEER, "to": peer.peer_id}

    reply = await offer_to_server(peer, peer.context.settings.default_callee, sdp, shape, SERVER_PEER)
    placed = peer.calls.find(SERVER_PEER)

    def no_more_candidates() -> None:
        # Ours are all in the answer; this dialect's clients wait for the end of the list.
        if placed is not None:
            peer.tell_candidate(placed, "", None)

    return Reply(reply.value, reply.then, no_more_candidates)


async def answer(peer: Peer, params: Params) -> Reply:
    """peer.answer{from, to, sdp}"""
    _speaks_for_itself(peer, params)
    return await give_answer(peer, params, "to", _SUCCESS)


async def ice_candidate(peer: Peer, params: Params) -> Reply:
    """peer.ice_candidate{from, to, candidate, sdp_mid?, sdp_m_line_index?}"""
    _speaks_for_itself(peer, params)
    return await give_candidate(peer, params, params.target("to"), params.line_index("sdp_m_line_index"), _SUCCESS)


async def disconnect(peer: Peer, params: Params) -> Reply:
    """peer.disconnect{peer_id, reason?}"""
    peer_id = params.target("peer_id")
    part(peer, peer_id, params)
    return Reply(_SUCCESS | {"peer_id": peer_id})


async def peer_list(peer: Peer, params: Params) -> Reply:
    """peer.list{}"""
    peer.announced()
    peers = [
        {
            "peer_id": peer_id,
            "capabilities": words(listing["capabilities"]),
            "metadata": listing["metadata"],
            "connected_at": listing["connected_at"],
        }
        for peer_id, listing in peer.context.hub.listing(peer)
    ]
    return Reply({"peers": peers, "count": len(peers)})


async def server_info(peer: Peer, params: Params) -> Reply:
    """server.info{}: for who announced itself, the address it reached us at; the name is the public one.

    Our machine's own name and inner addresses are nobody's business, least of all a stranger's.
    """
    addresses = []
    settings = peer.context.settings
    public = urlsplit(settings.public_url).hostname
    if peer.user is not None:
        try:
            addresses.append({"ip": str(ipaddress.ip_address(public or peer.local_address)), "is_default": True})
        except ValueError:
            pass
    return Reply({"addresses": addresses, "hostname": public or settings.issuer})


METHODS: dict[str, Handler] = {
    "peer.announce": announce,
    "peer.offer": offer,
    "peer.answer": answer,
    "peer.ice_candidate": ice_candidate,
    "peer.disconnect": disconnect,
    "peer.list": peer_list,
    "server.info": server_info,
}
