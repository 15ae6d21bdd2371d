"""JSON-RPC 2.0 frames, sans IO: text to requests or errors, results to text."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from gateway.errors import GatewayError
from gateway.web.checks import BadJson, load_json

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
APPLICATION_ERROR = -32000
"""Dialect 1 has one code for all; dialect 2 means "peer not found" by it."""

_MAX_ID = 128
_MAX_METHOD = 64
RequestId = str | int | float | None


class RpcError(GatewayError):
    """What a request is answered instead of a result."""

    def __init__(self, code: int, message: str, data: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.data = data


@dataclass(frozen=True, slots=True)
class Request:
    """One call or notification."""

    method: str
    params: dict[str, Any] | list[Any]
    """By name or by position (JSON-RPC 2.0 section 4.2)."""
    id: RequestId
    notification: bool
    """It has no id: nothing is ever answered (JSON-RPC 2.0 section 4.1)."""


@dataclass(frozen=True, slots=True)
class Refused:
    """One entry that is no valid request; `id` None where it cannot be known."""

    error: RpcError
    id: RequestId


@dataclass(frozen=True, slots=True)
class Frame:
    """All entries of one message, in order."""

    entries: tuple[Request | Refused, ...]
    batch: bool


def parse(text: str, max_batch: int, max_depth: int) -> Frame:
    """Read one message. Entries that are responses of the client are left out. Never raises."""
    try:
        value = load_json(text, max_depth)
    except BadJson as error:
        return _refused(PARSE_ERROR, str(error))
    if not isinstance(value, list):
        entry = _entry(value)
        return Frame(() if entry is None else (entry,), batch=False)
    if not value:
        return _refused(INVALID_REQUEST, "An empty batch.")
    if len(value) > max_batch:
        return _refused(INVALID_REQUEST, f"A batch holds at most {max_batch} requests.")
    entries = (_entry(item) for item in value)
    return Frame(tuple(entry for entry in entries if entry is not None), batch=True)


def _refused(code: int, message: str) -> Frame:
    return Frame((Refused(RpcError(code, message), None),), batch=False)


def _entry(value: Any) -> Request | Refused | None:
    if not isinstance(value, dict):
        return Refused(RpcError(INVALID_REQUEST, "A request is an object."), None)
    if value.get("jsonrpc") != "2.0":
        return Refused(RpcError(INVALID_REQUEST, 'The member jsonrpc must be "2.0".'), None)
    request_id = value.get("id")
    if not _is_id(request_id):
        return Refused(RpcError(INVALID_REQUEST, "The id must be a short string, a number or null."), None)
    if "method" not in value and ("result" in value or "error" in value):
        return None
    method = value.get("method")
    if not isinstance(method, str) or not 0 < len(method) <= _MAX_METHOD:
        return Refused(RpcError(INVALID_REQUEST, "The method is missing or not a short string."), request_id)
    params = value.get("params", {})
    if not isinstance(params, dict | list):
        error = RpcError(INVALID_PARAMS, "Parameters are an object, by name, or an array, by position.")
        return Refused(error, request_id) if "id" in value else None
    return Request(method, params, request_id, "id" not in value)


def _is_id(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, int):
        return abs(value) < 1 << 63
    return value is None or isinstance(value, float) or (isinstance(value, str) and len(value) <= _MAX_ID)


def result(request_id: RequestId, value: dict[str, Any]) -> dict[str, Any]:
    """The response object of a success."""
    return {"jsonrpc": "2.0", "result": value, "id": request_id}


def failure(request_id: RequestId, error: RpcError) -> dict[str, Any]:
    """The response object of a failure."""
    body: dict[str, Any] = {"code": error.code, "message": str(error)}
    if error.data is not None:
        body["data"] = error.data
    return {"jsonrpc": "2.0", "error": body, "id": request_id}


def notification(method: str, params: dict[str, Any]) -> str:
    """The text of a notification."""
    return encode({"jsonrpc": "2.0", "method": method, "params": params})


def encode(value: Any) -> str:
    """JSON text, ASCII only, so that no lone surrogate of a stranger can break a frame."""
    return _COMPACT.encode(value)


_COMPACT = json.JSONEncoder(separators=(",", ":"))
