"""Choice of one digest algorithm for each challenge: the best the client has shown to support (RFC 8760).

Some phones fail on an unknown algorithm or on several challenges. Unknown clients therefore get MD5, if allowed;
clients known by User-Agent, or by an earlier signature with a better algorithm, get the better one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase

_WEAKEST = "MD5"
_REMEMBERED = 1_000
_LONGEST = 128
"""Characters of a User-Agent compared."""
_UNANSWERED = 3
"""Unanswered strong challenges in a row before the weak algorithm is used."""


class Algorithms:
    """Chooses algorithms; memory of clients is bounded."""

    def __init__(self, allowed: Sequence[str], agents: Sequence[str] = ()) -> None:
        """`allowed` is ordered best first; `agents` are patterns of User-Agents with support for all algorithms."""
        self._allowed = tuple(allowed)
        self._agents = tuple(agents)
        self._shown: OrderedDict[str, set[str]] = OrderedDict()
        self._waiting: OrderedDict[tuple[str, str], int] = OrderedDict()

    def choose(self, user_agent: str | None, source: str, known: Collection[str] | None) -> str:
        """Return the algorithm of a challenge.

        `known` are the algorithms with an HA1 for the claimed user, None for all; `source` is the client's IP address.
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
        """Note a correct signature with `algorithm`."""
        agent = (user_agent or "")[:_LONGEST]
        self._waiting.pop((source, agent), None)
        if agent and algorithm in self._allowed:
            shown = self._shown.pop(agent, set())
            self._shown[agent] = shown | {algorithm}
            _bound(self._shown)


def _bound(kept: OrderedDict[str, set[str]] | OrderedDict[tuple[str, str], int]) -> None:
    while len(kept) > _REMEMBERED:
        kept.popitem(last=False)
