"""Certificates that were renewed: their files are looked at every minute, and taken up without a word of anybody."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import structlog

from gateway import reading
from gateway.errors import ConfigError
from gateway.net.tls import Tls
from gateway.reading import Reading

log = structlog.get_logger(__name__)

T = TypeVar("T")


async def certificates_of(section: str, asked: Reading, read: Callable[[], T]) -> T:
    """What `read` gives, by a thread. Raises what it raises, and ConfigError where the files do not answer."""
    try:
        return await asked.ask(read)
    except TimeoutError:
        reason = f"its files do not answer: they were not read within {reading.PATIENCE:g} s"
        raise ConfigError(section, reason) from None


class Renewals:
    """Has renewed files count for every handshake after it; those that cannot be used change nothing, and are named."""

    def __init__(self, *certificates: Tls) -> None:
        self._certificates = [(tls, Reading()) for tls in certificates]
        self._refused: dict[str, str] = {}

    async def look(self, now: float) -> int:
        """How many were taken up."""
        taken = 0
        for tls, asked in self._certificates:
            try:
                is_renewed = await certificates_of(tls.section, asked, tls.is_renewed_and_answers)
                if is_renewed:
                    tls.load()
            except ConfigError as error:
                if error.reason != self._refused.get(tls.section):
                    log.error("certificates were not renewed", key=error.key, reason=error.reason)
                self._refused[tls.section] = error.reason
                continue
            self._refused.pop(tls.section, None)
            if is_renewed:
                log.info("certificates were read again", section=tls.section)
                taken += 1
        return taken

    def conditions(self) -> list[str]:
        """A sentence for each that still shows the certificate of before."""
        return [
            f"New files of {section} cannot be used, the certificate before them is: {reason}."
            for section, reason in self._refused.items()
        ]
