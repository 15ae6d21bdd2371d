"""Each call's messages on one time line, SIP and web: what the dashboard draws as a ladder."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gateway.app.message_log import sip_call_id_of, sip_method_of
from gateway.log.redact import redact_text
from gateway.net.tap import Direction
from gateway.sip.flow import Flow

_LONGEST = 16_384
"""Characters of one message that are kept."""
_MOST = 400
"""Messages of one dialog or web call."""
_OF_NO_CALL = frozenset(("REGISTER", "PUBLISH"))
"""Methods whose messages never belong to a call, and would push calls out."""
_OVERHEAD = 500
"""Octets that a message costs beside its text, about."""


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


class Ladders:
    """The latest messages of all calls, within a bound of memory; the oldest calls are given up."""

    def __init__(self, memory: int, wall_clock: Callable[[], float]) -> None:
        """`memory` in octets, about; 0: nothing is kept."""
        self._memory = memory
        self._wall_clock = wall_clock
        self._held: OrderedDict[str, list[Rung]] = OrderedDict()
        """By SIP Call-ID, or by the id of a web call."""
        self._size = 0

    def message(self, direction: Direction, data: bytes, flow: Flow, time: float) -> None:
        """One SIP message (net.tap.MessageTap)."""
        if sip_method_of(data) in _OF_NO_CALL:
            return
        call_id = sip_call_id_of(data)
        if call_id is not None:
            text = data[:_LONGEST].decode("utf-8", "replace")
            self._add(call_id, direction.value, str(flow), text.partition("\r\n")[0], text)

    def web(self, call_id: str, direction: str, user: str, title: str, text: str) -> None:
        """One message of a web call, of that id."""
        self._add(call_id, direction, f"web:{user}", title, text[:_LONGEST])

    def of(self, names: Iterable[str]) -> list[Rung]:
        """The messages of a call that is known by these names, in order of time."""
        found = [rung for name in dict.fromkeys(names) for rung in self._held.get(name, ())]
        return sorted(found, key=lambda rung: rung.at)

    def _add(self, name: str, direction: str, peer: str, title: str, text: str) -> None:
        if not self._memory:
            return
        rungs = self._held.setdefault(name, [])
        if len(rungs) >= _MOST:
            return
        title, text = redact_text(title)[:200], redact_text(text)
        rungs.append(Rung(at=self._wall_clock(), direction=direction, peer=peer, title=title, text=text))
        self._held.move_to_end(name)
        self._size += len(text) + _OVERHEAD
        while self._size > self._memory and self._held:
            _, given_up = self._held.popitem(last=False)
            self._size -= sum(len(rung.text) + _OVERHEAD for rung in given_up)
