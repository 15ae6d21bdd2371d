"""Visibility of presence and calls between users."""

from __future__ import annotations

from typing import Literal

from gateway.identity.model import User

VisibleTo = Literal["users", "groups", "self"]


def may_see(watcher: User, target: User, visible_to: VisibleTo) -> bool:
    """Return True if `watcher` may see presence and calls of `target`."""
    if watcher.id == target.id or visible_to == "users":
        return True
    return visible_to == "groups" and may_pick_up(watcher, target)


def may_pick_up(watcher: User, target: User) -> bool:
    """Return True if `watcher` may take calls of `target`: its own, and calls of its pickup groups."""
    return watcher.id == target.id or bool({*watcher.pickup_groups} & {*target.pickup_groups})
