"""Every method: its handler, and the order its parameters have when they come by position."""

from __future__ import annotations

from typing import Any, NamedTuple

from gateway.web.rpc import extras, methods, people, remotemedia, rooms
from gateway.web.rpc.codec import INVALID_PARAMS, RpcError
from gateway.web.rpc.dialects import RemoteMediaDialect
from gateway.web.rpc.methods import Handler, Reply
from gateway.web.rpc.params import Params
from gateway.web.rpc.peer import Peer

_NAMES = {
    "announce": "peer_id capabilities token",
    "offer": "to_peer_id sdp type call_id",
    "answer": "to_peer_id sdp type call_id",
    "ice_candidate": "to_peer_id candidate sdp_mid sdp_mline_index call_id",
    "disconnect": "peer_id reason call_id",
    "list_peers": "",
    "dtmf": "peer_id digit duration call_id",
    "peer.announce": "peer_id capabilities user_data token",
    "peer.offer": "from to sdp",
    "peer.answer": "from to sdp",
    "peer.ice_candidate": "from to candidate sdp_mid sdp_m_line_index",
    "peer.disconnect": "peer_id reason",
    "peer.list": "",
    "server.info": "",
    "ping": "",
    "call.list": "all",
    "call.attach": "call_id sdp after",
    "call.leave": "",
    "call.dtmf": "call_id digit duration",
    "call.forward": "always busy no_answer after do_not_disturb",
    "call.hangup": "call_id reason",
    "call.hold": "call_id sdp",
    "call.resume": "call_id sdp",
    "call.transfer": "call_id to_peer_id to_call_id",
    "call.rights": "",
    "call.record": "call_id on",
    "call.merge": "call_ids",
    "room.list": "",
    "room.open": "title number pin",
    "room.change": "room title pin",
    "room.close": "room",
    "room.members": "room",
    "room.watch": "room",
    "room.unwatch": "room",
    "room.mute": "room member",
    "room.unmute": "room member",
    "room.kick": "room member",
    "room.lock": "room",
    "room.unlock": "room",
    "room.record": "room",
    "room.stop_recording": "room",
    "message.send": "to_peer_id text content_type",
    "presence.watch": "peer_id",
    "presence.unwatch": "peer_id",
    "presence.set": "status note",
    "account.get": "",
    "account.set": "registrar username password auth_username display_name",
    "account.remove": "",
    "control.subscribe": "topic",
    "control.unsubscribe": "topic",
    "control.publish": "topic data",
    "control.set_node_state": "node state",
    "control.flush_audio": "node",
}


class Method(NamedTuple):
    """One row."""

    handler: Handler
    names: tuple[str, ...]

    def params(self, given: dict[str, Any] | list[Any]) -> Params:
        """The parameters by name. Raises RpcError (-32602) for more than there are."""
        if isinstance(given, dict):
            return Params(given)
        if len(given) > len(self.names):
            raise RpcError(INVALID_PARAMS, f"At most {len(self.names)} parameters: {', '.join(self.names) or 'none'}")
        return Params(dict(zip(self.names, given, strict=False)))


async def _list_peers(peer: Peer, params: Params) -> Reply:
    """list_peers{}: in the shape of the dialect the peer announced itself in."""
    second = isinstance(peer.dialect, RemoteMediaDialect)
    return await (remotemedia.peer_list if second else methods.list_peers)(peer, params)


_HANDLERS: dict[str, Handler] = {
    **methods.METHODS,
    **remotemedia.METHODS,
    **extras.HANDLERS,
    **people.HANDLERS,
    **rooms.HANDLERS,
    "list_peers": _list_peers,
}
METHODS = {name: Method(handler, tuple(_NAMES[name].split())) for name, handler in _HANDLERS.items()}
