"""Which digest algorithm a client is challenged with: one, the best that it has shown to cope with (RFC 8760).

Phones exist that give up when they see an algorithm they do not know, or more than one challenge. So whoever is not
known gets MD5, where that is allowed; who is known by its User-Agent, or has signed with a better one, gets that.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase

_WEAKEST = "MD5"
_REMEMBERED = 1_000
_LONGEST = 128
"""Characters of a User-Agent that count."""
_UNANSWERED = 3
"""Strong challenges in a row that a client leaves unanswered before it gets the weak one."""


class Algorithms:
    """Chooses; what clients have shown is kept within bounds."""

    def __init__(self, allowed: Sequence[str], agents: Sequence[str] = ()) -> None:
        """`allowed` best first; `agents` are patterns of User-Agents that cope with all of them."""
        self._allowed = tuple(allowed)
        self._agents = tuple(agents)
        self._shown: OrderedDict[str, set[str]] = OrderedDict()
        self._waiting: OrderedDict[tuple[str, str], int] = OrderedDict()

    def choose(self, user_agent: str | None, source: str, known: Collection[str] | None) -> str:
        """The algorithm of the challenge; `known` are those that the user claimed has an HA1 for, None: all.

        `source` is the client's IP address.
        """
        usable = [one for one in self._allowed if known is None or one in known] or list(self._allowed)
        agent = (user_agent or "")[:_LONGEST]
        copes = self._shown.get(agent, set())
        if agent and any(fnmatchcase(agent, pattern) for pattern in self._agents):
            copes = set(usable)
        best = next((one for one in usable if one in copes), _WEAKEST if _WEAKEST in usable else usable[-1])
        if best == _WEAKEST or _WEAKEST not in usable:
            return best
        key = (source, agent)
        unanswered = self._waiting.pop(key, 0)
        self._waiting[key] = unanswered + 1
        _bound(self._waiting)
        return best if unanswered < _UNANSWERED else _WEAKEST

    def signed(self, user_agent: str | None, source: str, algorithm: str) -> None:
        """A client has signed rightly with that algorithm."""
        agent = (user_agent or "")[:_LONGEST]
        self._waiting.pop((source, agent), None)
        if agent and algorithm in self._allowed:
            shown = self._shown.pop(agent, set())
            self._shown[agent] = shown | {algorithm}
            _bound(self._shown)


def _bound(kept: OrderedDict[str, set[str]] | OrderedDict[tuple[str, str], int]) -> None:
    while len(kept) > _REMEMBERED:
        kept.popitem(last=False)
