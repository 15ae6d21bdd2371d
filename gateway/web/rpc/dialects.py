"""How each JSON-RPC dialect words what happens to its client, and numbers its errors."""

from __future__ import annotations

from enum import Enum, auto
from typing import Any, Protocol

from gateway.call.status import Cause
from gateway.web.rpc.codec import APPLICATION_ERROR, INVALID_PARAMS, INVALID_REQUEST, RpcError
from gateway.web.rpc.entry import Entry, State

SERVER_PEER = "remotemedia-server"
"""The peer id by which dialect 2 calls the server's own media: the echo."""

Notice = tuple[str, dict[str, Any]]
"""Method and parameters of a notification."""


class Problem(Enum):
    """What can go wrong with a well-formed request."""

    ALREADY_ANNOUNCED = auto()
    NOT_ANNOUNCED = auto()
    AUTHENTICATION = auto()
    NOT_FOUND = auto()
    LIMIT = auto()
    BAD_OFFER = auto()
    BAD_ANSWER = auto()
    BAD_CANDIDATE = auto()
    IN_PROGRESS = auto()
    TIMEOUT = auto()
    NO_CODEC = auto()
    REFUSED = auto()


_CAUSE_PROBLEMS = {
    Cause.NOT_FOUND: Problem.NOT_FOUND,
    Cause.NOT_ACCEPTABLE: Problem.NO_CODEC,
    Cause.NO_ANSWER: Problem.TIMEOUT,
    Cause.OVERLOADED: Problem.LIMIT,
    Cause.LIMIT: Problem.LIMIT,
    Cause.OUT_OF_SERVICE: Problem.LIMIT,
}


def problem_of(cause: Cause, status: int) -> Problem:
    """The problem a call's cause stands for; 400 is a description that cannot be read."""
    return Problem.BAD_OFFER if status == 400 else _CAUSE_PROBLEMS.get(cause, Problem.REFUSED)


class Dialect(Protocol):
    """Notifications and error codes of one dialect; `me` is the client's own peer id."""

    def error(self, problem: Problem, message: str, data: dict[str, Any] | None = None) -> RpcError: ...

    def joined(self, peer_id: str, listing: dict[str, Any]) -> Notice: ...

    def left(self, peer_id: str) -> Notice: ...

    def offer(self, me: str, source: str, offer_id: str, sdp: str, kind: str) -> Notice: ...

    def answer(self, me: str, source: str, sdp: str | None, kind: str) -> Notice: ...

    def candidate(self, me: str, source: str, candidate: str, mid: str | None, index: int | None) -> Notice: ...

    def disconnected(self, peer_id: str, reason: str | None) -> Notice: ...

    def call_state(self, entry: Entry, state: State, cause: Cause | None, previous: str, now_ms: int) -> Notice: ...

    def connected(self, entry: Entry, previous: str, now_ms: int) -> Notice | None:
        """The call is answered and its media can flow; None where the dialect has no word for it."""


def _without_none(**params: Any) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value is not None}


class PlainDialect:
    """Dialect 1: `announce`, `offer`, `answer`; what a call needs beyond it is in further members."""

    def error(self, problem: Problem, message: str, data: dict[str, Any] | None = None) -> RpcError:
        return RpcError(APPLICATION_ERROR, message, data)

    def joined(self, peer_id: str, listing: dict[str, Any]) -> Notice:
        return "peer_joined", {"peer_id": peer_id, "capabilities": flags(listing["capabilities"])}

    def left(self, peer_id: str) -> Notice:
        return "peer_left", {"peer_id": peer_id}

    def offer(self, me: str, source: str, offer_id: str, sdp: str, kind: str) -> Notice:
        return "offer", {"from_peer_id": source, "offer_id": offer_id, "sdp": sdp, "type": kind}

    def answer(self, me: str, source: str, sdp: str | None, kind: str) -> Notice:
        return "answer", _without_none(from_peer_id=source, sdp=sdp, type=kind)

    def candidate(self, me: str, source: str, candidate: str, mid: str | None, index: int | None) -> Notice:
        return "ice_candidate", {
            "from_peer_id": source,
            "candidate": candidate,
            "sdp_mid": mid,
            "sdp_mline_index": index,
        }

    def disconnected(self, peer_id: str, reason: str | None) -> Notice:
        return "peer_disconnected", _without_none(peer_id=peer_id, reason=reason)

    def call_state(self, entry: Entry, state: State, cause: Cause | None, previous: str, now_ms: int) -> Notice:
        return "call_state", _without_none(
            peer_id=entry.peer_id,
            state=state.value,
            cause=cause.word if cause else None,
            reason=cause.sentence if cause else None,
        )

    def connected(self, entry: Entry, previous: str, now_ms: int) -> None:
        return None


_REMOTEMEDIA_CODES = {
    Problem.ALREADY_ANNOUNCED: INVALID_PARAMS,
    Problem.NOT_ANNOUNCED: INVALID_REQUEST,
    Problem.LIMIT: -32001,
    Problem.BAD_OFFER: -32002,
    Problem.BAD_ANSWER: -32003,
    Problem.BAD_CANDIDATE: -32004,
    Problem.IN_PROGRESS: -32005,
    Problem.TIMEOUT: -32006,
    Problem.NO_CODEC: -32007,
}


def connection_state(state: State, cause: Cause | None) -> str:
    """The RTCPeerConnectionState word for a call's state."""
    if state is State.ENDED:
        return "closed" if cause in (None, Cause.NORMAL, Cause.CANCELLED) else "failed"
    return "connecting"  # "connected" is said by `connected` alone: not of the call, of its media


class RemoteMediaDialect:
    """Dialect 2: `peer.*`."""

    def error(self, problem: Problem, message: str, data: dict[str, Any] | None = None) -> RpcError:
        return RpcError(_REMOTEMEDIA_CODES.get(problem, APPLICATION_ERROR), message, data)

    def joined(self, peer_id: str, listing: dict[str, Any]) -> Notice:
        return "peer.joined", {
            "peer_id": peer_id,
            "capabilities": words(listing["capabilities"]),
            "metadata": listing["metadata"],
        }

    def left(self, peer_id: str) -> Notice:
        return "peer.left", {"peer_id": peer_id}

    def offer(self, me: str, source: str, offer_id: str, sdp: str, kind: str) -> Notice:
        return "peer.offer", {"from": source, "to": me, "sdp": sdp, "offer_id": offer_id}

    def answer(self, me: str, source: str, sdp: str | None, kind: str) -> Notice:
        return "peer.answer", _without_none(**{"from": source, "to": me, "sdp": sdp, "type": kind})

    def candidate(self, me: str, source: str, candidate: str, mid: str | None, index: int | None) -> Notice:
        return "peer.ice_candidate", {
            "from": source,
            "to": me,
            "candidate": candidate,
            "sdp_mid": mid,
            "sdp_m_line_index": index,
        }

    def disconnected(self, peer_id: str, reason: str | None) -> Notice:
        return "peer.disconnected", _without_none(peer_id=peer_id, reason=reason)

    def call_state(self, entry: Entry, state: State, cause: Cause | None, previous: str, now_ms: int) -> Notice:
        return "peer.state_change", _without_none(
            peer_id=entry.peer_id,
            connection_state=connection_state(state, cause),
            previous_state=previous or None,
            timestamp=now_ms,
            cause=cause.word if cause else None,
        )

    def connected(self, entry: Entry, previous: str, now_ms: int) -> Notice:
        return "peer.state_change", _without_none(
            peer_id=entry.peer_id, connection_state="connected", previous_state=previous or None, timestamp=now_ms
        )


def words(capabilities: Any) -> list[str]:
    """Capabilities as dialect 2 lists them, also those that dialect 1 announced as flags."""
    if isinstance(capabilities, dict):
        return [name for name, value in capabilities.items() if value]
    return list(capabilities)


def flags(capabilities: Any) -> dict[str, Any]:
    """Capabilities as dialect 1 shows them, also those that dialect 2 announced as a list."""
    if isinstance(capabilities, dict):
        return capabilities
    return dict.fromkeys(capabilities, True)
