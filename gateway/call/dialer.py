"""Protocol of the factory of callee legs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gateway.call.leg import CalleeLeg
from gateway.call.routing import Target


class Dialer(Protocol):
    """Makes the legs for a target; the composition root supplies the implementation."""

    async def legs(self, target: Target, call_id: str, name: str = "") -> Sequence[CalleeLeg]:
        """Return callee legs for `target`; an empty list if unreachable at the moment.

        `name` prefixes the legs' tags where `call_id` alone is ambiguous.
        """
