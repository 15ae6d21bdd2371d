"""Gateways of one cluster know each other by a seal on what they send: the header Gateway-Node.

Its value is base64url(JSON) "." base64url(HMAC-SHA-256); the HMAC is over method, Request-URI, Call-ID, CSeq, Contact,
the SHA-256 of the body, and that JSON. In it stand which gateway sends the request, to which process of which other,
when, and for a call who calls and whose phones are meant. Nothing of that is believed where the seal is not right, the
time is not now, the request was for another gateway, or for the process before this one, or came before: its sender is
a stranger like any other.
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
"""Prefix of the identity of a gateway of the cluster, which no user id can have."""
HERE = "here:"
"""Begins the device that another gateway asks for: what of a user's is here, or of that what is the device that follows
(gateway.access.gruu)."""
WINDOW = 30.0
"""Seconds that a request is good for, by the clocks of both."""
_SAID_EVERY = 60.0
"""Seconds between two lines in the log about requests of one gateway that are refused for one reason."""
_SAID = 1_000
"""Such lines that are remembered."""
_LONGEST = 8_192
"""Characters of a value that is looked at."""
_REMEMBERED = 100_000
"""Requests that are remembered, so that none counts twice; the oldest is forgotten first."""


class Nodes:
    """Seals requests to the others, and reads the seals of theirs."""

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
        """`node` is our own URI; `clock` gives Unix seconds; `node_at` is the gateway that listens at an address.

        `start` is a name of this process that none before had, `start_of` that of the one that another gateway runs as.
        `is_shown` says whether who speaks by a flow has shown in its own way that it is that gateway.
        """
        self._is_shown = is_shown
        self._start = start
        self._start_of = start_of
        self.refused: Counter[str] = Counter()
        """Requests under the right seal that were not believed, by the reason."""
        self._said: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._node = node
        self._key = key
        self._clock = clock
        self._random = random
        self._node_at = node_at
        self._seen: OrderedDict[str, float] = OrderedDict()

    def field(self, told: Mapping[str, Any]) -> tuple[str, str]:
        """The field that tells another gateway of a call; `sign` seals it."""
        return HEADER, _written(told)

    def sign(self, request: Request, flow: Flow) -> Request:
        """`request` as it goes to `flow`: sealed for a gateway of the cluster, and for everybody else without."""
        field = request.headers.get(HEADER)
        to = self._node_at(flow.host, flow.port)
        if to is None:
            return request if field is None else request.with_headers(request.headers.without(HEADER))
        told = {} if field is None else _read(field.partition(".")[0])
        at, salt = self._clock(), self._random(8).hex()
        text = _written({**told, "node": self._node, "to": to, "start": self._start_of(to), "at": at, "salt": salt})
        return request.with_headers(request.headers.with_(HEADER, f"{text}.{self._seal(request, text)}"))

    def verify(self, request: Request, source: Flow) -> str | None:
        """The identity of the gateway that has sent this, for now and once; None for everybody else."""
        value = request.headers.get(HEADER)
        if value is None or len(value) > _LONGEST:
            return None
        text, _, seal = value.partition(".")
        right = self._seal(request, text)
        if not hmac.compare_digest(seal.encode("utf-8", "replace"), right.encode()):
            return None
        told, now = _read(text), self._clock()
        node, at = told.get("node"), told.get("at")
        if not isinstance(node, str) or not isinstance(at, float):
            return None
        wrong = self._wrong(told, at, right, now)
        if not wrong and not self._is_shown(source, node):
            wrong = "without a certificate of its own"
        if wrong:
            self._refuse(node, wrong, now - at, now)
            return None
        return NODE + node

    def _wrong(self, told: Mapping[str, Any], at: float, seal: str, now: float) -> str:
        """Why what stands under the right seal is not believed; "" where it is."""
        if told.get("to") != self._node:
            return "for another gateway"
        if abs(now - at) > WINDOW:
            return "right seal, wrong time"
        if told.get("start") != self._start:
            # It may have been taken by the process before us, whose memory of seals is gone.
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
        """What a request tells of a call that `verify` has let in."""
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


def _written(told: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(told, separators=(",", ":")).encode()).decode().rstrip("=")


def _read(text: str) -> dict[str, Any]:
    """{} for what is no JSON object."""
    try:
        whole = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        told = json.loads(whole)
    except (binascii.Error, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}
