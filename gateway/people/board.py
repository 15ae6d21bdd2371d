"""Current value of each user, with change listeners."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

Listener = Callable[[T], None]


class Board(Generic[T]):
    """A value for each user; listeners get changes only, in order."""

    def __init__(self, nothing: T) -> None:
        """`nothing` is the default value; users with the default take no memory."""
        self._nothing = nothing
        self._values: dict[str, T] = {}
        self._listeners: dict[str, list[Listener[T]]] = {}

    def of(self, user: str) -> T:
        """Return the user's current value."""
        return self._values.get(user, self._nothing)

    def set(self, user: str, value: T) -> None:
        """Set the user's value and notify its listeners of a change."""
        if value == self.of(user):
            return
        if value == self._nothing:
            del self._values[user]
        else:
            self._values[user] = value
        for listener in tuple(self._listeners.get(user, ())):
            listener(value)

    def watch(self, user: str, listener: Listener[T]) -> Callable[[], None]:
        """Call `listener` on changes; return a function that stops, and is idempotent."""
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
        """Users with listeners."""
        return frozenset(self._listeners)

    def is_watched(self, user: str) -> bool:
        """Return True if the user has listeners."""
        return user in self._listeners
