"""Types of the web API, compiled once a process: gateways of tests have the same ones, half of the work of a start."""

from __future__ import annotations

import sys
from typing import Any

_made: dict[tuple[Any, ...], Any] = {}


def pytest_collection_finish() -> None:
    """Take over where a test module has imported the web framework."""
    if (compat := sys.modules.get("fastapi._compat.v2")) is None:
        return
    make = compat.TypeAdapter

    def adapter(annotated: Any, *, config: Any = None) -> Any:
        # The adapter that is kept keeps the functions alive that its key names by their addresses.
        key = annotated.__origin__, repr(annotated.__metadata__), repr(config)
        try:
            return _made[key]
        except KeyError:
            return _made.setdefault(key, make(annotated, config=config))
        except TypeError:  # an origin without a hash
            return make(annotated, config=config)

    compat.TypeAdapter = adapter  # type: ignore[attr-defined]
