"""Who may see whom."""

from __future__ import annotations

from typing import Literal

from gateway.identity.model import User

VisibleTo = Literal["users", "groups", "self"]


def may_see(watcher: User, target: User, visible_to: VisibleTo) -> bool:
    """Whether `watcher` is told of the presence and the calls of `target`."""
    if watcher.id == target.id or visible_to == "users":
        return True
    return visible_to == "groups" and may_pick_up(watcher, target)


def may_pick_up(watcher: User, target: User) -> bool:
    """Whether `watcher` may take calls of `target`: its own, and those of its pick-up groups."""
    return watcher.id == target.id or bool({*watcher.pickup_groups} & {*target.pickup_groups})
