"""Outgoing connections: one attempt for each far end, and the messages waiting for it."""

from __future__ import annotations

import asyncio
import logging
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable

from gateway.net.connections import Connection, Connections
from gateway.sip.flow import Flow

logger = logging.getLogger(__name__)

MAX_WAITING = 64
"""Largest number of messages waiting for one connection."""


class Dialer(ABC):
    """Sends on the flow's connection, or opens a connection for a flow without `local`."""

    def __init__(self, connections: Connections, failed: Callable[[Flow], None]) -> None:
        self._connections = connections
        self._failed = failed
        self._dialling: dict[tuple[str, str, int, str], list[bytes]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @abstractmethod
    async def connect(self, flow: Flow) -> Connection:
        """Open a connection to `flow` and register it in `Connections`; raises OSError or ssl.SSLError."""

    def send(self, data: bytes, flow: Flow) -> None:
        """Send one message now or after the connection is up."""
        connection = self._connections.find(flow)
        if connection is not None:
            connection.send(data)
        elif flow.local:
            self._failed(flow)
        else:
            self._dial(data, flow)

    def _dial(self, data: bytes, flow: Flow) -> None:
        waiting = self._dialling.get(_place(flow))
        if waiting is not None:
            if len(waiting) < MAX_WAITING:
                waiting.append(data)
            return
        if not self._connections.may_dial():
            self._failed(flow)
            return
        self._dialling[_place(flow)] = [data]
        task = asyncio.ensure_future(self._connect(flow))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, flow: Flow) -> None:
        try:
            async with asyncio.timeout(self._connections.limits.connect):
                connection = await self.connect(flow)
        except (OSError, TimeoutError, ssl.SSLError) as error:
            # The log names the fault in the certificate, because only the operator can mend it.
            reason = getattr(error, "verify_message", None) or type(error).__name__
            logger.warning("no %s connection to %s: %s", flow.transport, flow, reason)
            self._not_connected(flow)
            return
        except Exception:
            logger.exception("no %s connection to %s", flow.transport, flow)
            self._not_connected(flow)
            return
        for data in self._dialling.pop(_place(flow), []):
            connection.send(data)

    def _not_connected(self, flow: Flow) -> None:
        self._dialling.pop(_place(flow), None)
        self._failed(flow)

    async def close(self) -> None:
        """Stop connecting."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _place(flow: Flow) -> tuple[str, str, int, str]:
    """Key of a connection attempt. Messages to different domains never share an attempt: the certificate must match."""
    return flow.transport, flow.host, flow.port, flow.name
