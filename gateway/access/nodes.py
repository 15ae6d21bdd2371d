"""Mutual authentication of the gateways of a cluster by a seal in the header field Gateway-Node.

The value is base64url(JSON) "." base64url(HMAC-SHA-256); the HMAC covers method, Request-URI, Call-ID, CSeq, Contact,
the SHA-256 of the body, and the JSON. The JSON names sender, recipient, the recipient's process, time, and for a call
the caller and the called devices. A request with a wrong seal, time, recipient or process, or a repeated one, counts as
a stranger's.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from gateway.sip.flow import Flow
from gateway.sip.message.message import Request

log = structlog.get_logger(__name__)

HEADER = "Gateway-Node"
NODE = "node:"
"""Prefix of a cluster gateway's identity, impossible in a user id."""
HERE = "here:"
"""Prefix of a device requested from a remote gateway: all local devices of a user, or the named one of them
(gateway.access.gruu).
"""
WINDOW = 30.0
"""Seconds of validity of a seal; the clocks of both gateways must agree within it."""
_SAID_EVERY = 60.0
"""Seconds between log messages about refused requests of one gateway with one reason."""
_SAID = 1_000
"""Largest number of remembered log messages."""
_LONGEST = 8_192
"""Largest length of an accepted value in characters."""
_REMEMBERED = 100_000
"""Largest number of remembered seals, against replay; the oldest go first."""


class Nodes:
    """Seals requests to gateways of the cluster, and verifies received seals."""

    def __init__(
        self,
        node: str,
        key: bytes,
        clock: Callable[[], float],
        random: Callable[[int], bytes],
        node_at: Callable[[str, int], str | None],
        start: str,
        start_of: Callable[[str], str],
        is_shown: Callable[[Flow, str], bool] = lambda source, node: True,
    ) -> None:
        """`node` is our URI; `clock` returns Unix seconds; `node_at` the gateway listening at an address.

        `start` is a unique name of this process, `start_of` returns a remote gateway's. `is_shown` returns True if the
        peer of a flow has proved its identity in a second way.
        """
        self._is_shown = is_shown
        self._start = start
        self._start_of = start_of
        self.refused: Counter[str] = Counter()
        """Refused requests with a correct seal, by reason."""
        self._said: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._node = node
        self._key = key
        self._clock = clock
        self._random = random
        self._node_at = node_at
        self._seen: OrderedDict[str, float] = OrderedDict()

    def field(self, told: Mapping[str, Any]) -> tuple[str, str]:
        """Return the header field with call data for a remote gateway; `sign` seals it."""
        return HEADER, _written(told)

    def sign(self, request: Request, flow: Flow) -> Request:
        """Return `request` sealed for a gateway of the cluster; for other peers without the field."""
        field = request.headers.get(HEADER)
        to = self._node_at(flow.host, flow.port)
        if to is None:
            return request if field is None else request.with_headers(request.headers.without(HEADER))
        claims = {} if field is None else _read(field.partition(".")[0])
        at, salt = self._clock(), self._random(8).hex()
        text = _written({**claims, "node": self._node, "to": to, "start": self._start_of(to), "at": at, "salt": salt})
        return request.with_headers(request.headers.with_(HEADER, f"{text}.{self._seal(request, text)}"))

    def verify(self, request: Request, source: Flow) -> str | None:
        """Return the identity of the sending gateway, valid once; None for other peers."""
        value = request.headers.get(HEADER)
        if value is None or len(value) > _LONGEST:
            return None
        text, _, seal = value.partition(".")
        right = self._seal(request, text)
        if not hmac.compare_digest(seal.encode("utf-8", "replace"), right.encode()):
            return None
        claims, now = _read(text), self._clock()
        node, at = claims.get("node"), claims.get("at")
        if not isinstance(node, str) or not isinstance(at, float):
            return None
        wrong = self._wrong(claims, at, right, now)
        if not wrong and not self._is_shown(source, node):
            wrong = "without a certificate of its own"
        if wrong:
            self._refuse(node, wrong, now - at, now)
            return None
        return NODE + node

    def _wrong(self, claims: Mapping[str, Any], at: float, seal: str, now: float) -> str:
        """Return the reason to refuse a request with a correct seal; "" to accept."""
        if claims.get("to") != self._node:
            return "for another gateway"
        if abs(now - at) > WINDOW:
            return "right seal, wrong time"
        if claims.get("start") != self._start:
            # The previous process may have accepted it, and its memory of seals is lost.
            return "for the process before"
        return "" if self._is_new(seal, now) else "came before"

    def _refuse(self, node: str, why: str, age: float, now: float) -> None:
        self.refused[why] += 1
        if now - self._said.get((node, why), float("-inf")) < _SAID_EVERY:
            return
        self._said[node, why] = now
        self._said.move_to_end((node, why))
        if len(self._said) > _SAID:
            self._said.popitem(last=False)
        log.warning(
            "a request of another gateway is not believed", node=node, reason=why, sealed_seconds_ago=round(age)
        )

    def told(self, request: Request) -> Mapping[str, Any]:
        """Return the call data of a request accepted by `verify`."""
        return _read((request.headers.get(HEADER) or "").partition(".")[0])

    def _is_new(self, seal: str, now: float) -> bool:
        if seal in self._seen:
            return False
        self._seen[seal] = now
        while len(self._seen) > _REMEMBERED or next(iter(self._seen.values())) < now - 2 * WINDOW:
            self._seen.popitem(last=False)
        return True

    def _seal(self, request: Request, text: str) -> str:
        cseq = request.cseq
        contacts = ", ".join(request.headers.all("Contact"))
        body = hashlib.sha256(request.body).hexdigest()
        called = (request.method, str(request.uri), request.call_id, f"{cseq.number} {cseq.method}")
        parts = (*called, contacts, body, text)
        sealed = "\n".join(parts).encode("utf-8", "backslashreplace")
        return base64.urlsafe_b64encode(hmac.digest(self._key, sealed, "sha256")).decode().rstrip("=")


def _written(claims: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(claims, separators=(",", ":")).encode()).decode().rstrip("=")


def _read(text: str) -> dict[str, Any]:
    """Return the decoded JSON object; {} for malformed text."""
    try:
        whole = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        claims = json.loads(whole)
    except (binascii.Error, ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}
