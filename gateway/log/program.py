"""The log of gateways in a program that may have a log of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

import structlog
from structlog.typing import EventDict, WrappedLogger

from gateway.log.setup import configure, redactor, shown


class LogSettings(Protocol):
    """Level, format and file of a gateway's log."""

    @property
    def level(self) -> Literal["debug", "info", "warning", "error"]: ...
    @property
    def format(self) -> Literal["console", "json"]: ...
    @property
    def file(self) -> Path | None: ...
    @property
    def max_line_length(self) -> int: ...


class ProgramLog:
    """Logging of one process while gateways run in it; the first one's settings hold until the last has ended."""

    def __init__(self) -> None:
        self._gateways = 0
        self._close: Callable[[], None] = _nothing

    def begin(self, settings: LogSettings, *, wanted: bool) -> None:
        """Log as `settings` say where they are `wanted`, or the program has no log of its own; ConfigError for a file.

        Else lines go to the program's handlers, with secrets masked, and nowhere else.
        """
        if not self._gateways:
            self._close = _begun(settings, wanted=wanted)
        self._gateways += 1

    def end(self) -> None:
        """Put the program's log back after the last gateway."""
        self._gateways -= 1
        if not self._gateways:
            close, self._close = self._close, _nothing
            close()


def _begun(settings: LogSettings, *, wanted: bool) -> Callable[[], None]:
    if wanted or not (structlog.is_configured() or logging.getLogger().handlers):
        return configure(settings.level, settings.format, settings.file, settings.max_line_length)
    if structlog.is_configured():
        return _nothing
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.format_exc_info,
            redactor(settings.max_line_length),
            _as_text,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLogger().level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    return structlog.reset_defaults


def _as_text(logger: WrappedLogger, name: str, event: EventDict) -> str:
    text, below = str(event.pop("event", "")), event.pop("exception", [])
    fields = "".join(f" {key}={shown(value)}" for key, value in event.items())
    return "\n".join([f"{text}{fields}", *below])


def _nothing() -> None:
    """No log is ours."""
