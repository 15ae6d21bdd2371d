"""Delivery of call detail records to a file or a web address, each in its own thread."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import sqlite3
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from gateway.observe.ledger import SqliteLedger, after, connect, mark, set_mark

logger = logging.getLogger(__name__)

_AT_ONCE = 100
_TAIL = 1 << 20
"""Octets at the end of the file searched for records written before a crash."""
_LOOK_AGAIN = 5.0
_FIRST_RETRY, _LAST_RETRY = 1.0, 300.0
"""Seconds before the first and the longest retry; the delay doubles each time."""
_PATIENCE = 10.0
_AGAIN = frozenset((408, 425, 429))


class Sink(Protocol):
    """Receiver of records; its progress is stored under `name`."""

    name: str
    at_once: int

    def take(self, records: Sequence[tuple[str, str]]) -> None:
        """Take records in order, each as call id and JSON; may repeat earlier records.

        Any exception, such as OSError, delays the whole batch.
        """


class Delivery:
    """Passes every record of the ledger to a sink, ordered by the end of the call, over restarts."""

    def __init__(self, path: Path, ledger: SqliteLedger, sink: Sink) -> None:
        self._path = path
        self._ledger = ledger
        self._sink = sink
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"cdr-{sink.name}", daemon=True)

    def start(self) -> None:
        """Start with the first unsent record."""
        self._thread.start()

    def close(self, timeout: float = _PATIENCE) -> None:
        """Stop after the current record; the rest is sent after the next start."""
        self._closing.set()
        with self._ledger.written:
            self._ledger.written.notify_all()
        self._thread.join(timeout)

    def _work(self) -> None:
        with closing(connect(self._path)) as connection:
            pause = _FIRST_RETRY
            while True:
                last = self._closing.is_set()
                try:
                    while self._some(connection):
                        pause = _FIRST_RETRY
                except Exception as error:  # any failure may be temporary
                    logger.warning("call records wait for %s: %s", self._sink.name, error)
                    if self._closing.wait(pause):
                        return
                    pause = min(2 * pause, _LAST_RETRY)
                    continue
                if last:
                    return
                with self._ledger.written:
                    if not self._closing.is_set():
                        self._ledger.written.wait(_LOOK_AGAIN)

    def _some(self, connection: sqlite3.Connection) -> bool:
        """Send the next records; return True if any existed."""
        rows = after(connection, mark(connection, self._sink.name), self._sink.at_once)
        if rows:
            self._sink.take([(call_id, text) for _, call_id, text in rows])
            set_mark(connection, self._sink.name, rows[-1][0])
        return bool(rows)


class FileSink:
    """Appends one JSON object per line; records already in the file are skipped."""

    name = "file"
    at_once = _AT_ONCE

    def __init__(self, path: Path) -> None:
        self._path = path
        self._there: set[str] | None = None
        """Ids in the file that may be repeated; None until the end of the file is read."""

    def take(self, records: Sequence[tuple[str, str]]) -> None:
        with open(self._path, "ab+", opener=_private) as file:
            if self._there is None:
                self._there = _tail(file.fileno())
            there, self._there = self._there, None
            lines = [text for call_id, text in records if call_id not in there]
            file.write("".join(f"{line}\n" for line in lines).encode())
            file.flush()
            os.fsync(file.fileno())
        # The batch is repeated if its mark cannot be stored.
        self._there = {call_id for call_id, _ in records}


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _tail(descriptor: int) -> set[str]:
    """Return the ids of the last records; a line cut by a crash is removed."""
    size = os.fstat(descriptor).st_size
    data = os.pread(descriptor, _TAIL, max(0, size - _TAIL))
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        os.ftruncate(descriptor, size - (len(data) - len(whole)))
    found = set()
    for line in whole.splitlines():
        try:
            found.add(str(json.loads(line)["id"]))
        except (ValueError, TypeError, KeyError):
            continue  # first line cut in two, or a foreign line
    return found


class WebhookSink:
    """Posts records one by one.

    The body is the record; `Idempotency-Key` is its call id, so that the receiver can recognise a repetition after a
    crash. With a secret, `X-Signature-256` is "sha256=" and the HMAC-SHA256 of the body in hex.
    """

    name = "webhook"
    at_once = 1

    def __init__(self, url: str, secret: str | None = None) -> None:
        self._url = url
        self._secret = secret
        self._host = urlsplit(url).hostname
        self._opener = urllib.request.build_opener(_NoRedirect)

    def take(self, records: Sequence[tuple[str, str]]) -> None:
        for call_id, text in records:
            body = text.encode()
            headers = {"Content-Type": "application/json", "Idempotency-Key": call_id}
            if self._secret is not None:
                digest = hmac.new(self._secret.encode(), body, hashlib.sha256).hexdigest()
                headers["X-Signature-256"] = f"sha256={digest}"
            request = urllib.request.Request(self._url, body, headers, method="POST")
            try:
                with self._opener.open(request, timeout=_PATIENCE):
                    pass
            except urllib.error.HTTPError as error:
                error.close()
                if error.code >= 500 or error.code in _AGAIN:
                    raise OSError(f"{self._host} answers {error.code}") from None
                logger.error("%s refuses the record of call %s: %d", self._host, call_id, error.code)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuses redirects: records go only to the configured address."""

    def redirect_request(self, *arguments: object, **named: object) -> None:
        return None
