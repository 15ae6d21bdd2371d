"""Certificates that were renewed: their files are looked at every minute, and taken up without a word of anybody."""

from __future__ import annotations

import structlog

from gateway.errors import ConfigError
from gateway.net.tls import Tls

log = structlog.get_logger(__name__)


class Renewals:
    """Has renewed files count for every handshake after it; those that cannot be used change nothing, and are named."""

    def __init__(self, *certificates: Tls) -> None:
        self._certificates = certificates
        self._refused: dict[str, str] = {}

    async def look(self, now: float) -> int:
        """How many were taken up."""
        taken = 0
        for tls in self._certificates:
            refused = self._refused.pop(tls.section, None)
            if not tls.is_renewed:
                continue
            try:
                tls.load()
            except ConfigError as error:
                self._refused[tls.section] = error.reason
                if error.reason != refused:
                    log.error("certificates were not renewed", key=error.key, reason=error.reason)
            else:
                log.info("certificates were read again", section=tls.section)
                taken += 1
        return taken

    def conditions(self) -> list[str]:
        """A sentence for each that still shows the certificate of before."""
        return [
            f"New files of {section} cannot be used, the certificate before them is: {reason}."
            for section, reason in self._refused.items()
        ]
