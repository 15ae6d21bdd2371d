"""Which of a plan's transports each section of one description gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sdp.description import MediaDescription
from sdp.plan import Plan, TransportPlan


@dataclass(frozen=True, slots=True)
class Place:
    """What one section was given."""

    number: int
    """Of its stream among those of the plan, from 0."""
    transport: TransportPlan | None
    """None where there is none left."""


class Places:
    """Gives out the transports of one description: the n-th section of the carried kinds has the n-th.

    A section that is live keeps the one it has. A transport whose section comes to nothing serves one that
    would have none, so that a peer whose first audio line cannot be used is heard on its second.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._counted = 0
        self._of_kind: dict[str, int] = {}
        """Sections of each kind so far; rejected ones count too."""
        self._made: dict[str, int] = {}
        live = {media.port for media in plan.previous.media if media.port} if plan.previous is not None else set()
        self._taken = {number for number, transport in enumerate(plan.transports) if transport.port in live}

    def carries(self, kind: str) -> bool:
        """Whether sections of that kind have a place at all."""
        return kind in self._plan.media or (kind == "application" and self._plan.data_channel is not None)

    @property
    def counted(self) -> int:
        """Sections of carried kinds so far; rejected ones count too."""
        return self._counted

    def count(self, kind: str) -> int:
        """Begin the next section of a carried kind; its number."""
        self._counted += 1
        self._of_kind[kind] = self._of_kind.get(kind, 0) + 1
        return self._counted - 1

    def uncount(self, kind: str) -> None:
        """The section begun last is left out."""
        self._counted -= 1
        self._of_kind[kind] -= 1

    def of(self, number: int, kind: str, *, bundled: bool, earlier: Sequence[MediaDescription]) -> Place:
        """The place of the section with that number, which was (or whose alternatives were) `earlier` till now."""
        transports, most = self._plan.transports, self._plan.of_each_kind
        fitting = [each for each, transport in enumerate(transports) if transport.kind in (None, kind)]
        own = [each for each in fitting if transports[each].kind == kind]
        if bundled and len(own) > 1:
            # Streams of one kind side by side: the n-th has the n-th section for ever, whatever became of the others.
            nth = self._of_kind[kind] - 1
            return Place(own[nth], transports[own[nth]]) if nth < len(own) else Place(number, None)
        if not transports or (most is not None and self._made.get(kind, 0) >= most):
            return Place(number, None)
        if bundled:
            return Place(own[0], transports[own[0]]) if own else Place(number, transports[0])
        ports = {media.port for media in earlier if media.port}
        for kept in fitting:
            if transports[kept].port in ports:
                return Place(kept, transports[kept])
        if number not in fitting or number in self._taken:
            number = next((each for each in fitting if each not in self._taken), len(transports))
        return Place(number, transports[number] if number < len(transports) else None)

    def took(self, place: Place, kind: str) -> None:
        """A section was made for it."""
        self._taken.add(place.number)
        self._made[kind] = self._made.get(kind, 0) + 1
