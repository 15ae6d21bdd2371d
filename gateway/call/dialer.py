"""What makes the legs of those who are called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gateway.call.leg import CalleeLeg
from gateway.call.routing import Target


class Dialer(Protocol):
    """Makes the legs that stand for a target; the composition root knows the concrete ones."""

    async def legs(self, target: Target, call_id: str, name: str = "") -> Sequence[CalleeLeg]:
        """Callee legs of a call for `target`; an empty list when nobody stands for it at the moment.

        `name` begins their tags, where `call_id` does not make them unique.
        """
