"""What is relayed, and the two forms it has on the wire.

`PlainWire` is the relay of the RTCSignaling design (`target`, `from`, `ice-candidate`), `RoomWire` the room server's
(`target_peer_id`, `from_peer_id`, `ice_candidate`). Peers of both share rooms: a description or a candidate
reaches the other in the form it understands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from gateway.web.checks import is_candidate, is_description, is_identifier, is_label, is_line_index

MAX_FILE = 64 * 1_048_576
"""Bytes of a file sent through the relay."""
MAX_PART = 49_152
"""Characters of one part in base64; with its envelope it stays below the 64 KiB of a frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SDPOffer:
    """An offer on its way to `target`."""

    target: str
    sdp: str
    type: Literal["offer"] = "offer"


@dataclass(frozen=True, slots=True, kw_only=True)
class SDPAnswer:
    """An answer on its way to `target`."""

    target: str
    sdp: str
    type: Literal["answer"] = "answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class ICECandidate:
    """RTCIceCandidateInit on its way to `target`; an empty `candidate` ends the list (RFC 8840)."""

    target: str
    candidate: str
    sdp_mid: str | None = None
    sdp_mline_index: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePart:
    """A piece of a file on its way to `target`, where two peers cannot open a data channel."""

    target: str
    id: str
    """Which of the sender's files."""
    name: str
    size: int
    """Bytes of the whole file."""
    offset: int
    """Byte this part begins at."""
    data: str
    """Base64."""


Message = SDPOffer | SDPAnswer | ICECandidate | FilePart


class BadMessage(ValueError):
    """Not one of the messages; `str()` is one sentence, `code` a word."""

    def __init__(self, text: str, code: str = "bad-message") -> None:
        super().__init__(text)
        self.code = code


class Wire(Protocol):
    """One of the two forms. `original` is the message as it came, for a reader of the same form."""

    def read(self, value: Any) -> Message:
        """Raises BadMessage."""

    def relayed(self, source: str, message: Message, original: dict[str, Any] | None) -> dict[str, Any]: ...

    def joined(self, peer: str) -> dict[str, Any]: ...

    def left(self, peer: str) -> dict[str, Any]: ...

    def welcome(self, peer: str, others: list[str]) -> list[dict[str, Any]]: ...

    def error(self, problem: BadMessage) -> dict[str, Any]: ...


def _sdp(value: Any) -> str | None:
    """The text of a description that is text or an RTCSessionDescription."""
    text = value.get("sdp") if isinstance(value, dict) else value
    return text if isinstance(text, str) and is_description(text) else None


def _candidate(target: str, value: Any) -> ICECandidate | None:
    init = value if isinstance(value, dict) else {"candidate": "" if value is None else value}
    line, mid = init.get("candidate"), init.get("sdpMid")
    index: Any = init.get("sdpMLineIndex")
    if isinstance(line, str) and is_candidate(line) and is_label(mid) and is_line_index(index):
        return ICECandidate(target=target, candidate=line, sdp_mid=mid, sdp_mline_index=index)
    return None


def _init(message: ICECandidate) -> dict[str, Any]:
    return {"candidate": message.candidate, "sdpMid": message.sdp_mid, "sdpMLineIndex": message.sdp_mline_index}


def _file(target: str, value: dict[str, Any]) -> FilePart | None:
    name, size, offset, data = value.get("name"), value.get("size"), value.get("offset"), value.get("data")
    numbers = all(isinstance(number, int) and not isinstance(number, bool) for number in (size, offset))
    if not numbers or not is_identifier(value.get("id")) or not is_identifier(name):
        return None
    if not isinstance(data, str) or len(data) > MAX_PART or not data.isascii():
        return None
    if not 0 <= int(offset or 0) <= int(size or 0) <= MAX_FILE:
        return None
    return FilePart(target=target, id=value["id"], name=value["name"], size=value["size"], offset=offset, data=data)  # type: ignore[arg-type]  # both are int


def _file_members(part: FilePart) -> dict[str, Any]:
    return {"id": part.id, "name": part.name, "size": part.size, "offset": part.offset, "data": part.data}


class PlainWire:
    """`{"type": "offer", "target": …, "sdp": …}`; `sdp` is text or {type, sdp}."""

    def read(self, value: Any) -> Message:
        if not isinstance(value, dict):
            raise BadMessage("A message is an object.")
        target = value.get("target")
        name = target if isinstance(target, str) else ""
        message: Message | None = None
        match value.get("type"):
            case "offer" if (sdp := _sdp(value.get("sdp"))) is not None:
                message = SDPOffer(target=name, sdp=sdp)
            case "answer" if (sdp := _sdp(value.get("sdp"))) is not None:
                message = SDPAnswer(target=name, sdp=sdp)
            case "ice-candidate" if "candidate" in value:
                message = _candidate(name, value["candidate"])
            case "file":
                message = _file(name, value)
        if message is None:
            raise BadMessage("The type is offer or answer with sdp, ice-candidate with candidate, or file with a part.")
        return message

    def relayed(self, source: str, message: Message, original: dict[str, Any] | None) -> dict[str, Any]:
        match message:
            case SDPOffer() | SDPAnswer():
                sdp = original["sdp"] if original else message.sdp
                return {"type": message.type, "from": source, "sdp": sdp}
            case ICECandidate():
                candidate = original["candidate"] if original else _init(message)
                return {"type": "ice-candidate", "from": source, "candidate": candidate}
            case FilePart():
                return {"type": "file", "from": source} | _file_members(message)

    def joined(self, peer: str) -> dict[str, Any]:
        return {"type": "peer-joined", "peer_id": peer}

    def left(self, peer: str) -> dict[str, Any]:
        return {"type": "peer-left", "peer_id": peer}

    def welcome(self, peer: str, others: list[str]) -> list[dict[str, Any]]:
        return [{"type": "registered", "peer_id": peer}, {"type": "peers", "peers": others}]

    def error(self, problem: BadMessage) -> dict[str, Any]:
        return {"type": "error", "code": problem.code, "message": str(problem)}


class RoomWire:
    """`{"type": "offer", "target_peer_id": …, "offer": {type, sdp}}`."""

    def read(self, value: Any) -> Message:
        if not isinstance(value, dict):
            raise BadMessage("A message is an object.")
        target = value.get("target_peer_id")
        name = target if isinstance(target, str) else ""
        message: Message | None = None
        match value.get("type"):
            case "offer" if (sdp := _sdp(value.get("offer"))) is not None:
                message = SDPOffer(target=name, sdp=sdp)
            case "answer" if (sdp := _sdp(value.get("answer"))) is not None:
                message = SDPAnswer(target=name, sdp=sdp)
            case "ice_candidate" if "candidate" in value:
                message = _candidate(name, value["candidate"])
            case "file":
                message = _file(name, value)
        if message is None:
            raise BadMessage("The type is offer, answer, ice_candidate or file, with a member of its content.")
        return message

    def relayed(self, source: str, message: Message, original: dict[str, Any] | None) -> dict[str, Any]:
        match message:
            case SDPOffer() | SDPAnswer():
                kind = message.type
                description = original[kind] if original else {"type": kind, "sdp": message.sdp}
                return {"type": kind, kind: description, "from_peer_id": source}
            case ICECandidate():
                candidate = original["candidate"] if original else _init(message)
                return {"type": "ice_candidate", "candidate": candidate, "from_peer_id": source}
            case FilePart():
                return {"type": "file", "from_peer_id": source} | _file_members(message)

    def joined(self, peer: str) -> dict[str, Any]:
        return {"type": "peer_joined", "peer_id": peer}

    def left(self, peer: str) -> dict[str, Any]:
        return {"type": "peer_left", "peer_id": peer}

    def welcome(self, peer: str, others: list[str]) -> list[dict[str, Any]]:
        return [{"type": "existing_peers", "peers": others}] if others else []

    def error(self, problem: BadMessage) -> dict[str, Any]:
        return {"type": "error", "code": problem.code, "message": str(problem)}


PLAIN, ROOM = PlainWire(), RoomWire()
