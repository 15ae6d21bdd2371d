"""MediaErrors for faults of the engine itself or of the packet plane."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from gateway.media.embedded.plane.protocol import PlaneError
from gateway.media.engine import WHEN_FULL, MediaError

logger = logging.getLogger("gateway.media")


def refused_by_plane(error: PlaneError, doing: str = "", otherwise: int = 503) -> MediaError:
    """Return the MediaError for a request that the packet plane refused.

    `otherwise` is the status unless a limit or the loss of the plane is the reason.
    """
    if error.code == "full":
        return MediaError(f"{doing}{error}", 503, limit="open files", retry_after=WHEN_FULL)
    return MediaError(f"{doing}{error}", 503 if error.code == "lost" else otherwise)


@contextlib.contextmanager
def own_faults() -> Iterator[None]:
    """Log an unexpected exception and raise MediaError 500 without its text; PlaneError becomes a refusal."""
    try:
        yield
    except MediaError:
        raise
    except PlaneError as error:
        raise refused_by_plane(error) from None
    except Exception as error:
        logger.exception("a request met an error of our own")
        raise MediaError("internal error of the media engine", 500) from error
