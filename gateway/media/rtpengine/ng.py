"""The ng protocol without a socket: what is asked, what came back, what is due again.

A message is a cookie, a space and a bencoded dictionary. The daemon remembers the answer to each cookie
for some time, so that a request may be sent again after a loss without being carried out twice.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.media.rtpengine.bencode import DEFAULT_LIMITS, BencodeError, Encodable, Limits, Value, decode, encode

Request = Mapping[str, Encodable]
Reply = dict[str, Value]

LONGEST_MESSAGE = 65_507
"""Bytes: what one UDP datagram over IPv4 carries."""
LONGEST_COOKIE = 64
"""Characters."""


class NgError(Exception):
    """A message that is not ng, or too large to be one; the text is free of the message's content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """When a request is sent again, and when it is given up."""

    after: tuple[float, ...] = (0.2, 0.6, 1.4)
    """Seconds after the first sending; each must be later than the one before."""
    deadline: float = 3.0
    """Seconds after the first sending."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one request ended."""

    cookie: str
    reply: Reply | None
    """None: nothing came until the deadline."""


def message(cookie: str, request: Request) -> bytes:
    """The datagram; raises NgError where it is longer than one datagram can be."""
    data = cookie.encode("ascii") + b" " + encode(request)
    if len(data) > LONGEST_MESSAGE:
        raise NgError(f"a request of {len(data)} bytes does not fit a datagram")
    return data


def parse(data: bytes, limits: Limits = DEFAULT_LIMITS) -> tuple[str, Reply]:
    """Cookie and dictionary of a datagram; raises NgError for anything else."""
    cookie, space, rest = data.partition(b" ")
    if not space or not 0 < len(cookie) <= LONGEST_COOKIE or not cookie.isalnum():
        raise NgError("no cookie")
    try:
        value = decode(rest, limits)
    except BencodeError as error:
        raise NgError(f"no bencoded value: {error}") from None
    if not isinstance(value, dict):
        raise NgError("no dictionary")
    return cookie.decode("ascii"), value


class Exchanges:
    """Every request on its way to one daemon.

    `send`, `receive` and `handle_timer` change the state; afterwards `datagrams` and `outcomes` give what
    came of it, each once, and `get_timer` when to call `handle_timer` next. Replies nobody waits for are
    counted in `strays`, datagrams that are no replies in `malformed`.
    """

    def __init__(self, retries: Retries | None = None, limits: Limits = DEFAULT_LIMITS) -> None:
        self._retries = retries or Retries()
        self._limits = limits
        self._pending: dict[str, _Exchange] = {}
        self._due: list[tuple[float, str]] = []
        self._datagrams: list[bytes] = []
        self._outcomes: list[Outcome] = []
        self.strays = 0
        self.malformed = 0

    def __len__(self) -> int:
        return len(self._pending)

    def send(self, request: Request, cookie: str, now: float) -> None:
        """Begin one exchange; `cookie` must be unguessable and new (letters and digits), `now` seconds.

        Raises NgError for a request that does not fit a datagram.
        """
        data = message(cookie, request)
        self._pending[cookie] = _Exchange(data, now)
        self._datagrams.append(data)
        self._schedule(cookie)

    def receive(self, data: bytes, now: float) -> None:
        """Take a datagram of the daemon; never raises."""
        try:
            cookie, reply = parse(data, self._limits)
        except NgError:
            self.malformed += 1
            return
        if self._pending.pop(cookie, None) is None:
            self.strays += 1
            return
        self._outcomes.append(Outcome(cookie, reply))

    def cancel(self, cookie: str) -> None:
        """Nobody waits for this exchange any more; it ends without an outcome."""
        self._pending.pop(cookie, None)

    def abandon(self) -> None:
        """Give up everything that is on its way, as if its deadline had come."""
        self._outcomes += [Outcome(cookie, None) for cookie in self._pending]
        self._pending.clear()
        self._due.clear()

    def get_timer(self) -> float | None:
        """When `handle_timer` is to be called, None for not at all."""
        while self._due and self._due[0][1] not in self._pending:
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    def handle_timer(self, now: float) -> None:
        """Send again or give up whatever is due."""
        while self._due and self._due[0][0] <= now:
            _, cookie = heapq.heappop(self._due)
            exchange = self._pending.get(cookie)
            if exchange is None:
                continue
            if exchange.sendings > len(self._retries.after):
                del self._pending[cookie]
                self._outcomes.append(Outcome(cookie, None))
                continue
            exchange.sendings += 1
            self._datagrams.append(exchange.data)
            self._schedule(cookie)

    def datagrams(self) -> list[bytes]:
        """What is to be sent, in order."""
        found, self._datagrams = self._datagrams, []
        return found

    def outcomes(self) -> list[Outcome]:
        """What has ended."""
        found, self._outcomes = self._outcomes, []
        return found

    def _schedule(self, cookie: str) -> None:
        exchange, retries = self._pending[cookie], self._retries
        place = exchange.sendings - 1
        delay = retries.after[place] if place < len(retries.after) else retries.deadline
        heapq.heappush(self._due, (exchange.started + delay, cookie))


@dataclass(slots=True)
class _Exchange:
    data: bytes
    started: float
    sendings: int = 1
