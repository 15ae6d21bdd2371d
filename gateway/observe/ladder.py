"""Each call's messages on one time line, SIP and web: what the dashboard draws as a ladder."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gateway.log.redact import redact_text
from gateway.net.tap import Direction
from gateway.observe.message_log import names_of
from gateway.plain import escaped
from gateway.sip.flow import Flow

_LONGEST = 16_384
"""Octets of one message that are kept."""
_MOST = 400
"""Messages of one dialog or web call."""
_OF_NO_CALL = frozenset(("REGISTER", "PUBLISH"))
"""Methods whose messages never belong to a call, and would push calls out."""
_OVERHEAD = 500
"""Octets that a message costs beside its text, about."""
_AT_ONCE = 64
"""SIP messages that are filed together: that takes a fraction of the time for each, the code being at hand then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One message."""

    at: float
    """Unix seconds."""
    direction: str
    """"in": to the gateway; "out": from it."""
    peer: str
    """Who is at the other end: a SIP flow, or "web:" and a user."""
    title: str
    """First line of a SIP message, method of a web one."""
    text: str
    """All of it, without secrets."""


@dataclass(slots=True)
class _Kept:
    """A message as it came. Most calls are never looked at, so that it becomes text without secrets only then."""

    at: float
    direction: str
    peer: Flow | str
    title: str | None
    """None: of SIP."""
    data: bytes | str

    def rung(self) -> Rung:
        text = self.data.decode("utf-8", "replace") if isinstance(self.data, bytes) else self.data
        title = text.partition("\r\n")[0] if self.title is None else self.title
        return Rung(
            at=self.at,
            direction=self.direction,
            peer=str(self.peer),
            title=escaped(redact_text(title))[:200],
            text=escaped(redact_text(text)),
        )


class Ladders:
    """The latest messages of all calls, within a bound of memory; the oldest calls are given up."""

    def __init__(self, memory: int, wall_clock: Callable[[], float]) -> None:
        """`memory` in octets, about; 0: nothing is kept."""
        self._memory = memory
        self._wall_clock = wall_clock
        self._held: OrderedDict[str, list[_Kept]] = OrderedDict()
        """By SIP Call-ID, or by the id of a web call."""
        self._size = 0
        self._fresh: list[tuple[float, Direction, Flow, bytes]] = []
        """SIP messages whose call is still to be found."""

    def message(self, direction: Direction, data: bytes, flow: Flow, time: float) -> None:
        """One SIP message (net.tap.MessageTap)."""
        self._fresh.append((self._wall_clock(), direction, flow, data[:_LONGEST]))
        if len(self._fresh) >= _AT_ONCE:
            self._file()

    def _file(self) -> None:
        fresh, self._fresh = self._fresh, []
        for at, direction, flow, data in fresh:
            method, call_id = names_of(data)
            if call_id is not None and method not in _OF_NO_CALL:
                self._add(call_id, _Kept(at, direction.value, flow, None, data))

    def web(self, call_id: str, direction: str, user: str, title: str, text: str) -> None:
        """One message of a web call, of that id."""
        self._add(call_id, _Kept(self._wall_clock(), direction, f"web:{user}", title, text[:_LONGEST]))

    def of(self, names: Iterable[str]) -> list[Rung]:
        """The messages of a call that is known by these names, in order of time."""
        self._file()
        found = [kept for name in dict.fromkeys(names) for kept in self._held.get(name, ())]
        return [kept.rung() for kept in sorted(found, key=lambda kept: kept.at)]

    def _add(self, name: str, kept: _Kept) -> None:
        if not self._memory:
            return
        held = self._held.get(name)
        if held is None:
            held = self._held[name] = []
        elif len(held) >= _MOST:
            return
        held.append(kept)
        self._held.move_to_end(name)
        self._size += len(kept.data) + _OVERHEAD
        while self._size > self._memory and self._held:
            _, given_up = self._held.popitem(last=False)
            self._size -= sum(len(kept.data) + _OVERHEAD for kept in given_up)
