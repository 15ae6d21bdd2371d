"""Assignment of a plan's transports to the sections of one description."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sdp.description import MediaDescription
from sdp.plan import Plan, TransportPlan


@dataclass(frozen=True, slots=True)
class Place:
    """Transport assigned to one section."""

    number: int
    """Index of the stream in the plan, from 0."""
    transport: TransportPlan | None
    """Transport; None if none is left."""


class Places:
    """Assigns the transports of one description: the n-th section of carried kinds gets the n-th transport.

    A live section keeps its transport. The transport of an unusable section serves a later one, so that a peer with an
    unusable first audio line is heard on its second.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._counted = 0
        self._of_kind: dict[str, int] = {}
        """Sections of each kind so far, including rejected ones."""
        self._made: dict[str, int] = {}
        live = {media.port for media in plan.previous.media if media.port} if plan.previous is not None else set()
        self._taken = {number for number, transport in enumerate(plan.transports) if transport.port in live}

    def carries(self, kind: str) -> bool:
        """Return True if sections of a kind are carried."""
        return kind in self._plan.media or (kind == "application" and self._plan.data_channel is not None)

    @property
    def counted(self) -> int:
        """Sections of carried kinds so far; rejected ones count too."""
        return self._counted

    def count(self, kind: str) -> int:
        """Start the next section of a carried kind; return its number."""
        self._counted += 1
        self._of_kind[kind] = self._of_kind.get(kind, 0) + 1
        return self._counted - 1

    def uncount(self, kind: str) -> None:
        """Undo the start of the last section, which is omitted."""
        self._counted -= 1
        self._of_kind[kind] -= 1

    def of(self, number: int, kind: str, *, bundled: bool, earlier: Sequence[MediaDescription]) -> Place:
        """Return the place of a section by number; `earlier`: its previous form or alternatives."""
        transports, most = self._plan.transports, self._plan.of_each_kind
        fitting = [each for each, transport in enumerate(transports) if transport.kind in (None, kind)]
        own = [each for each in fitting if transports[each].kind == kind]
        if bundled and len(own) > 1:
            # Streams of one kind in parallel: the n-th stream permanently has the n-th section.
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
        """Record a section made for the place."""
        self._taken.add(place.number)
        self._made[kind] = self._made.get(kind, 0) + 1
