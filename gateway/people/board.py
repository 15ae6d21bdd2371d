"""What is known of each user, and who is told when it changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

Listener = Callable[[T], None]


class Board(Generic[T]):
    """One value a user; listeners are told of changes only, in the order they came."""

    def __init__(self, nothing: T) -> None:
        """`nothing` is the value of a user of whom nothing is known; it takes no memory."""
        self._nothing = nothing
        self._values: dict[str, T] = {}
        self._listeners: dict[str, list[Listener[T]]] = {}

    def of(self, user: str) -> T:
        """The value now."""
        return self._values.get(user, self._nothing)

    def set(self, user: str, value: T) -> None:
        """It is this from now on."""
        if value == self.of(user):
            return
        if value == self._nothing:
            del self._values[user]
        else:
            self._values[user] = value
        for listener in tuple(self._listeners.get(user, ())):
            listener(value)

    def watch(self, user: str, listener: Listener[T]) -> Callable[[], None]:
        """Have `listener` told of changes, until what is returned is called; once more does nothing."""
        listeners = self._listeners.setdefault(user, [])
        entry: Listener[T] = lambda value: listener(value)  # noqa: E731  # the same listener may watch twice
        listeners.append(entry)

        def stop() -> None:
            if entry in listeners:
                listeners.remove(entry)
            if not listeners and self._listeners.get(user) is listeners:
                del self._listeners[user]

        return stop

    @property
    def watched(self) -> frozenset[str]:
        """Users of whom anybody would be told."""
        return frozenset(self._listeners)

    def is_watched(self, user: str) -> bool:
        """Whether anybody would be told."""
        return user in self._listeners
