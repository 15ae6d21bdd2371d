"""Sets up structlog and the standard library's logging to write through one redacting formatter."""

from __future__ import annotations

import json
import logging
import os
import queue
import re
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from logging.handlers import QueueHandler, QueueListener
from pathlib import Path
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from gateway.errors import ConfigError
from gateway.log.redact import clean, clean_text

QUEUE_LENGTH = 10_000
"""Lines that may wait for a slow disk or terminal; further ones are dropped and counted."""

CLOSE_TIMEOUT = 5.0
"""How long closing waits for a writer that hangs (s)."""

_COLOURS = {"debug": "\033[2m", "warning": "\033[33m", "error": "\033[31m", "critical": "\033[31m"}
_RESET = "\033[0m"

_QUOTED = re.compile('[ "=]')
"""What a value is shown in quotes for."""
_FRAMES = ("uvicorn.error", "websockets")
"""Loggers that write WebSocket frames at debug level, shortened in the middle: the name of a password is cut off and
its value may stay."""


def configure(
    level: Literal["debug", "info", "warning", "error"] = "info",
    format: Literal["console", "json"] = "console",
    file: Path | None = None,
    max_line_length: int = 8_192,
    stream: TextIO | None = None,
) -> Callable[[], None]:
    """Route structlog and logging to `file`, else to `stream`, else to standard error.

    Lines are written by a thread of their own. Returns a function that writes what is left and puts the former
    handlers back. Raises ConfigError (key log.file) when the file cannot be opened.
    """
    target = _open(file) if file is not None else logging.StreamHandler(stream or sys.stderr)
    target.setFormatter(logging.Formatter("%(message)s"))
    out = stream or sys.stderr
    render = _Json(max_line_length) if format == "json" else _Console(max_line_length, file is None and out.isatty())
    handler = _Handler(_formatter(render, max_line_length))
    listener = _Listener(handler.queue, target)
    restore = _take_over(handler, level.upper())
    _configure_structlog(level.upper(), max_line_length)
    listener.start()

    def close() -> None:
        restore()
        structlog.reset_defaults()
        try:
            listener.stop()
        except queue.Full:
            # The writer hangs for good; its thread is a daemon and must not hold up the end.
            return
        handler.close()
        if file is not None:
            target.close()

    return close


def set_level(level: Literal["debug", "info", "warning", "error"]) -> None:
    """Write messages of that level and above from now on, where `configure` has been called."""
    root = logging.getLogger()
    if not any(isinstance(handler, _Handler) for handler in root.handlers):
        return
    number = logging.getLevelNamesMapping()[level.upper()]
    root.setLevel(number)
    for name in _FRAMES:
        logging.getLogger(name).setLevel(max(logging.INFO, number))
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(number))


@contextmanager
def silenced() -> Iterator[None]:
    """Log nothing in the block: the output is a command's own."""
    disabled, before = logging.root.manager.disable, structlog.get_config()
    logging.disable(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        logging.disable(disabled)
        structlog.configure(**before)


def call_context(call_id: str) -> AbstractContextManager[None]:
    """Within it every line of this task carries the call's id."""
    return structlog.contextvars.bound_contextvars(call_id=call_id)


def _make_private(file: Path) -> None:
    """Make the file the gateway's alone; one of ours that is there loses what everybody may."""
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and status.st_mode & stat.S_IRWXO and status.st_uid == os.geteuid():
            os.fchmod(descriptor, stat.S_IMODE(status.st_mode) & ~stat.S_IRWXO)
    finally:
        os.close(descriptor)


def _open(file: Path) -> logging.StreamHandler[Any]:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        _make_private(file)
        return logging.FileHandler(file, encoding="utf-8")
    except OSError as error:
        raise ConfigError("log.file", f"{file} cannot be written: {error.strerror}") from None


def _take_over(handler: logging.Handler, level: str) -> Callable[[], None]:
    """Make `handler` the only one of the process, and return what undoes it."""
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    frames = [(verbose, verbose.level) for verbose in map(logging.getLogger, _FRAMES)]
    for verbose, _ in frames:
        verbose.setLevel(max(logging.INFO, logging.getLevelName(level)))
    named: dict[logging.Logger, tuple[list[logging.Handler], bool]] = {}
    for logger in list(logging.Logger.manager.loggerDict.values()):
        # A library that brought its own handlers (uvicorn does) would write past the redaction.
        if isinstance(logger, logging.Logger) and logger.handlers:
            named[logger] = (list(logger.handlers), logger.propagate)
            logger.handlers, logger.propagate = [], True
    root.handlers = [handler]
    root.setLevel(level)
    logging.captureWarnings(True)
    # No line names the place in the code that it is of, which would be looked for through all frames of the stack.
    logging._srcfile, source = None, logging._srcfile

    def restore() -> None:
        logging._srcfile = source
        logging.captureWarnings(False)
        root.handlers, level_before = before
        root.setLevel(level_before)
        for verbose, level_of_frames in frames:
            verbose.setLevel(level_of_frames)
        for logger, (handlers, propagate) in named.items():
            logger.handlers, logger.propagate = handlers, propagate

    return restore


def _configure_structlog(level: str, limit: int) -> None:
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            *_common(limit),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _common(limit: int) -> list[Processor]:
    return [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        _Redactor(limit),
    ]


def _formatter(render: Processor, limit: int) -> structlog.stdlib.ProcessorFormatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.contextvars.merge_contextvars, *_common(limit)],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
    )


class _Handler(QueueHandler):
    """Formats where the line is logged (there the context is known), and never waits for the writer."""

    def __init__(self, formatter: logging.Formatter) -> None:
        self.queue: queue.Queue[Any]
        super().__init__(queue.Queue(QUEUE_LENGTH))
        self.setFormatter(formatter)
        self._dropped = 0

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self._dropped += 1
            return
        if self._dropped and self.queue.qsize() < QUEUE_LENGTH // 2:
            dropped, self._dropped = self._dropped, 0
            logging.getLogger("gateway.log").warning("log lines dropped: %d", dropped)

    def handleError(self, record: logging.LogRecord) -> None:
        """A line that cannot be formatted is dropped: the standard's way prints it unredacted."""
        self._dropped += 1


class _Listener(QueueListener):
    """Waits for room when it is told to stop: a full queue is no reason to lose what it holds."""

    def __init__(self, waiting: queue.Queue[Any], target: logging.Handler) -> None:
        super().__init__(waiting, target)
        self._waiting = waiting

    def enqueue_sentinel(self) -> None:
        self._waiting.put(None, timeout=CLOSE_TIMEOUT)


def redactor(limit: int) -> Processor:
    """Mask secrets in every field, and cut it at `limit` characters."""
    return _Redactor(limit)


class _Redactor:
    """The processor that cleans every field; a traceback keeps its lines as a list."""

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def __call__(self, logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
        trusted = {key: event.pop(key) for key in ("_record", "_from_structlog", "timestamp", "level") if key in event}
        for key in ("exception", "stack"):
            text = event.pop(key, None)
            if text:
                # Redacted as a whole, since a secret may spread over lines, then escaped line by line.
                whole = clean_text(str(text), 8 * self._limit)
                trusted[key] = whole.split("\\n")
        cleaned: dict[str, Any] = clean(event, self._limit)
        return {**cleaned, **trusted}


class _Json:
    """One object a line; a line too long keeps its beginning and stays an object."""

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def __call__(self, logger: WrappedLogger, name: str, event: EventDict) -> str:
        line = json.dumps(event, default=str)
        if len(line) <= self._limit:
            return line
        short = {key: event.get(key) for key in ("timestamp", "level", "logger", "call_id") if key in event}
        short["truncated"] = len(line)
        # One character may take six in JSON (\uNNNN).
        room = max(0, self._limit - len(json.dumps(short, default=str)) - 16) // 6
        return json.dumps({**short, "event": str(event.get("event", ""))[:room]}, default=str)[: self._limit]


class _Console:
    """Time, level, event, then key=value; a traceback below, every line of it marked."""

    def __init__(self, limit: int, colours: bool) -> None:
        self._limit = limit
        self._colours = colours

    def __call__(self, logger: WrappedLogger, name: str, event: EventDict) -> str:
        event = dict(event)
        stamp = str(event.pop("timestamp", ""))[11:23]
        level = str(event.pop("level", ""))
        source = str(event.pop("logger", None) or "")
        text = str(event.pop("event", ""))
        below = [*event.pop("stack", []), *event.pop("exception", [])]
        fields = "".join(f" {key}={shown(value)}" for key, value in event.items())
        head = f"{stamp} {level:<7} {source + ': ' if source else ''}{text}{fields}"
        lines = [head, *(f"    | {line}" for line in below)]
        cut = [line if len(line) <= self._limit else f"{line[: self._limit - 4]} ..." for line in lines]
        colour = _COLOURS.get(level) if self._colours else None
        if colour is not None:
            cut[0] = f"{colour}{cut[0]}{_RESET}"
        return "\n".join(cut)


def shown(value: Any) -> str:
    """A field's value as text, in quotes where it needs them."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False) if not value or _QUOTED.search(value) else value
    return json.dumps(value, default=str, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
