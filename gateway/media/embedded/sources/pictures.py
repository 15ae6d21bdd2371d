"""Who sees whom in a conference: everybody the one who speaks, and that one who spoke before; browsers see more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, Self

from gateway.media.embedded.sources.pacer import TICK_MS
from sdp.levels import Limits, all_take, of_many

_HELD_TICKS = 600 // TICK_MS
"""Ticks that somebody must be the loudest before it is seen: who coughs is not."""
_LOOK_TICKS = 500 // TICK_MS
"""Ticks between two looks at who waits for a key frame."""
_PATIENCE = 6
"""Looks without a key frame after which another one is shown instead."""
_WITHOUT = 120
"""Looks for which who did not get the key frames of somebody does not try that one again."""
_STRAINED, _EASY = 4, 20
"""Looks at somebody who is sent more than it can take after which it sees one less, and without that one more."""


_Pair = tuple[str, str]
"""Names of who looks and of whom it is shown."""


class Picture(Protocol):
    """One party's picture, as the others may see it, and what it sees itself."""

    changed: Callable[[], None]
    waits: bool

    @property
    def heard(self) -> Self | None:
        """Whom it sees."""

    @property
    def streams(self) -> Sequence[Self]:
        """By which the party can see one picture each; the first its own, where it wants to see any."""

    @property
    def mid(self) -> str | None:
        """Of its section, of a browser's."""

    @property
    def most_seen(self) -> int:
        """Pictures that the party could be offered to see at once."""

    @property
    def overrun(self) -> bool:
        """Whether what it sees is more than it can take."""

    def want(self, count: int) -> None:
        """Have it offered to see as many pictures, where it was not yet."""

    @property
    def shows(self) -> bool: ...

    def be_among_many(self) -> None: ...

    def leave_many(self) -> None: ...

    def can_be_seen_by(self, other: Self) -> bool: ...

    def see(self, shown: Sequence[Self]) -> None:
        """Show it the first of these, as many as it can see."""

    def ask_key_frame(self) -> None: ...

    @property
    def can_turn(self) -> bool:
        """Whether the party turns those it sees, which lie on their sides."""

    @property
    def takes(self) -> Limits:
        """How large the pictures may be that the party sees, as far as it has said."""

    def suit(self, all_can: bool, takes: Limits) -> None:
        """Whether all can turn pictures who are shown one, else each is to turn its own; and what all those take."""


@dataclass(slots=True)
class _Share:
    """How many pictures a party is shown while it cannot take all."""

    most: int
    looks: int = 0
    """In a row that were all alike, strained or not."""
    strained: bool = False

    def look(self, shown: int, *, overrun: bool) -> bool:
        """Whether another number is to be shown than `shown` from now on."""
        self.looks = self.looks + 1 if overrun is self.strained else 1
        self.strained = overrun
        if self.looks < (_STRAINED if overrun else _EASY):
            return False
        self.looks, before = 0, self.most
        self.most = max(1, min(before, shown) - 1) if overrun else before + 1
        return self.most != before


class Pictures:
    """Those of one conference, by the names of their parties."""

    def __init__(self, most: int = 1, told: Callable[[str], None] | None = None) -> None:
        """`most` that anybody sees at once; `told` hears the name of each who sees others than before."""
        self._most = most
        self._told = told or _nobody
        self._wanted: dict[str, int] = {}
        """How many each party could see now."""
        self._shares: dict[str, _Share] = {}
        """Of those who see several."""
        self._seen: dict[str, dict[str, str]] = {}
        """What `all_seen_by` was of each."""
        self._groups: dict[str, str] = {}
        self._pictures: dict[str, Picture] = {}
        self._order: list[str] = []
        """Names, who spoke last first, then who came first."""
        self._speaker: str | None = None
        self._held = 0
        """Ticks for which that one has been the loudest."""
        self._waited: dict[_Pair, int] = {}
        """Looks for which a party has waited for whom it is to see."""
        self._without: dict[_Pair, int] = {}
        """Looks for which a party is not shown whose key frame it did not get; the others may see that one."""
        self._ticks = 0

    def __len__(self) -> int:
        return len(self._pictures)

    def take(self, name: str, picture: Picture, group: str | None = None) -> None:
        """This is the picture of a party from now on; or it has agreed to something else.

        Who has the same `group` does not see each other here.
        """
        before = self._pictures.get(name)
        if before is not None and before is not picture:
            self.drop(name)
        if name not in self._order:
            self._order.append(name)
        self._pictures[name], self._groups[name] = picture, group or name
        self._try_again(name)
        picture.be_among_many()
        picture.changed = self.arrange
        self.arrange()

    def drop(self, name: str) -> None:
        """A party shows and sees nothing here any more; idempotent."""
        picture = self._pictures.pop(name, None)
        self._try_again(name)
        for known in (self._wanted, self._shares, self._seen, self._groups):
            known.pop(name, None)
        if picture is not None:
            self._order.remove(name)
            picture.changed = _nothing
            picture.leave_many()
            self.arrange()

    def speaks(self, name: str | None) -> None:
        """Somebody speaks; None: nobody does, and all see whom they saw."""
        self._speaker, self._held = name, 0

    def seen_by(self, name: str) -> str | None:
        """Name of whom a party sees."""
        picture = self._pictures.get(name)
        shown = picture.heard if picture is not None else None
        return next((each for each, one in self._pictures.items() if one is shown), None) if shown else None

    def all_seen_by(self, name: str) -> dict[str, str]:
        """Names of all whom a browser sees, by the mid of the section."""
        return dict(self._seen.get(name, {}))

    def arrange(self) -> None:
        """Have each see the first of the order whom it can, as many as it can."""
        names = {id(picture): name for name, picture in self._pictures.items()}
        all_can, limits = True, list[Limits]()
        for name, picture in tuple(self._pictures.items()):
            able = (
                self._pictures[other]
                for other in self._order
                if self._groups[other] != self._groups[name]
                and (name, other) not in self._without
                and self._pictures[other].can_be_seen_by(picture)
            )
            shown = list(islice(able, min(self._most, picture.most_seen)))
            self._wanted[name] = len(shown)
            picture.want(len(shown))
            all_can &= picture.can_turn or not shown
            limits += [picture.takes] if shown else []
            share = self._shares.get(name)
            picture.see(shown[: share.most] if share is not None else shown)
            self._note(name, picture, names)
        takes = of_many(all_take(limits))
        for picture in tuple(self._pictures.values()):
            picture.suit(all_can, takes)

    def _note(self, name: str, picture: Picture, names: dict[int, str]) -> None:
        seen = {
            each.mid: names[id(each.heard)]
            for each in picture.streams
            if each.mid is not None and each.heard is not None and id(each.heard) in names
        }
        if seen != self._seen.get(name, {}):
            self._seen[name] = seen
            self._told(name)

    def tick(self) -> None:
        """20 ms have passed: show who has spoken for long enough, and look after those who wait."""
        if not self._pictures:
            return
        self._held += 1
        if self._held == _HELD_TICKS and self._speaker in self._pictures and self._order[0] != self._speaker:
            self._order.remove(self._speaker)
            self._order.insert(0, self._speaker)
            self.arrange()
        self._ticks += 1
        if not self._ticks % _LOOK_TICKS:
            self._look()

    def _look(self) -> None:
        """Ask again for key frames that do not come, and show others instead to those who do not get them."""
        before = set(self._without)
        has_changed = False
        self._without = {pair: left - 1 for pair, left in self._without.items() if left > 1}
        waited, self._waited = self._waited, {}
        names = {id(picture): name for name, picture in self._pictures.items()}
        for name, picture in self._pictures.items():
            picture.want(self._wanted.get(name, 0))
            has_changed |= self._share(name, picture)
            for stream in picture.streams:
                shown = stream.heard
                seen = names.get(id(shown))
                if shown is None or seen is None or not stream.waits:
                    continue
                shown.ask_key_frame()
                looks = self._waited[name, seen] = waited.get((name, seen), 0) + 1
                if looks > _PATIENCE:
                    self._without[name, seen] = _WITHOUT
        if has_changed or set(self._without) != before:
            self.arrange()

    def _share(self, name: str, picture: Picture) -> bool:
        """Whether the party is to be shown more or less of them, since it cannot take all, or can again."""
        shown = sum(each.heard is not None for each in picture.streams)
        share = self._shares.get(name)
        if share is None:
            if not picture.overrun:
                return False
            share = self._shares[name] = _Share(shown)
        has_changed = share.look(shown, overrun=picture.overrun)
        if share.most > self._most:
            del self._shares[name]
        return has_changed

    def _try_again(self, name: str) -> None:
        """What was not got from a party, or by it, says nothing any more."""
        self._without = {pair: left for pair, left in self._without.items() if name not in pair}


def _nothing() -> None:
    """Nobody is told."""


def _nobody(name: str) -> None:
    """Nobody is told."""
