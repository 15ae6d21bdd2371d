"""What a request to the engine raises where the fault is our own, or the plane's."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from gateway.media.embedded.plane.protocol import PlaneError
from gateway.media.engine import MediaError

logger = logging.getLogger("gateway.media")


@contextlib.contextmanager
def own_faults() -> Iterator[None]:
    """A fault of ours is logged and becomes MediaError 500, which does not repeat its text."""
    try:
        yield
    except MediaError:
        raise
    except PlaneError as error:
        raise MediaError(str(error), 503) from None
    except Exception as error:
        logger.exception("a request met an error of our own")
        raise MediaError("internal error of the media engine", 500) from error
