"""Recovery of calls after the death of the packet plane: each party gets a new transport with new keys."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence

from gateway.media.embedded.plane.protocol import Plane, PlaneError
from gateway.media.embedded.resources import Resources
from gateway.media.embedded.resuming import renewed
from gateway.media.embedded.session import Session
from gateway.media.embedded.webrtc.port import WebRtcPort
from gateway.media.engine import MediaError, MediaFailed, MediaLost

logger = logging.getLogger("gateway.media")

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
"""Shortest and longest pause between attempts to bind the browsers' port in a new plane, in seconds."""
LONGEST_WITHOUT = 5.0
"""Seconds without a plane after which calls end."""


class PlaneLoss:
    """A `flows.LossListener` that closes all transports when the plane dies and recreates them in the next plane.

    No SRTP key outlives its plane: the certificate, browsers' ICE credentials and `tls-id`, phones' ports and SDES
    keys are all new. MediaLost reports the loss, once for each party.
    """

    def __init__(self, sessions: Callable[[], Sequence[Session]], resources: Callable[[], Resources | None]) -> None:
        """Take accessors of the engine's sessions and resources; resources are None while the engine is stopped."""
        self._sessions = sessions
        self._resources = resources
        self._renewing: asyncio.Future[None] | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._is_over = asyncio.Event()
        self._is_over.set()
        self.deaths = 0
        """Number of planes that have died."""
        self.is_without_plane = False
        """True from the death of a plane until the browsers' port is bound in the next."""

    @contextlib.asynccontextmanager
    async def held(self, *sessions: Session) -> AsyncIterator[None]:
        """Wait for a plane and the sessions' transports in the plane, then hold the sessions' locks.

        The wait ends without a plane after LONGEST_WITHOUT.
        """
        async with contextlib.AsyncExitStack() as locks:
            deaths = -1
            while deaths != self.deaths:
                await locks.aclose()
                deaths = self.deaths
                await self._over(*sessions)
                # A fixed order of locks prevents a deadlock of two calls that adopt parties from each other.
                for each in sorted(sessions, key=lambda session: session.call_id):
                    await locks.enter_async_context(each.lock)
            yield

    async def _over(self, *sessions: Session) -> None:
        await self._is_over.wait()
        resources, renewing = self._resources(), self._renewing
        if resources is None or renewing is None or renewing.done():
            return
        for session in sessions:
            await self._renew_call(resources, session)

    def close(self) -> None:
        """Stop recovering, and release waiting requests."""
        if self._renewing is not None:
            self._renewing.cancel()
            self._renewing = None
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        self._is_over.set()

    def plane_lost(self) -> None:
        """Close all transports and wait for the next plane."""
        self.deaths += 1
        if self._renewing is not None:
            self._renewing.cancel()
            self._renewing = None
        if self._resources() is None:
            return
        self._is_over.clear()
        self.is_without_plane = True
        for session in self._sessions():
            session.lose()
        if self._patience is None:
            loop = asyncio.get_running_loop()
            self._patience = loop.call_later(LONGEST_WITHOUT, self._give_up)

    def _give_up(self) -> None:
        self._patience = None
        self._is_over.set()
        for session in self._sessions():
            self._fail(session, "the packet plane ended, and no other came")

    def _fail(self, session: Session, reason: str) -> None:
        resources = self._resources()
        if resources is not None:
            for party in session.lost:
                resources.emit(MediaFailed(session.call_id, party.party.tag, reason))

    def plane_restarted(self) -> None:
        """Start recovery in the new, empty plane."""
        resources = self._resources()
        if resources is not None:
            if self._renewing is not None:
                self._renewing.cancel()
            self._renewing = asyncio.ensure_future(self._renew(resources))

    async def _renew(self, resources: Resources) -> None:
        resources.port.renew()
        await asyncio.to_thread(resources.port.keep_certificates)
        await _bind_again(resources.port)
        # Release requests now: recovering many calls takes long, and a request recovers its own call first.
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        self.is_without_plane = False
        self._is_over.set()
        for session in self._sessions():
            await self._renew_call(resources, session)

    async def _renew_call(self, resources: Resources, session: Session) -> None:
        """Recover a call; a second, concurrent run finds nothing lost."""
        async with session.lock:
            if session.closed:
                return
            try:
                parties = await renewed(resources, session)
            except Exception as error:
                if await _is_gone(resources.plane):
                    return  # the next plane's recovery handles the call
                reason = "internal error of the media engine"
                if isinstance(error, MediaError):
                    reason = error.reason
                    logger.warning("a call's media cannot be made anew: %s", error)
                else:
                    logger.exception("a call's media could not be made anew")
                self._fail(session, reason)
            else:
                for party in parties:
                    resources.emit(MediaLost(session.call_id, party.party.tag))


async def _is_gone(plane: Plane) -> bool:
    try:
        await plane.counters()
    except PlaneError:
        return True
    return False


async def _bind_again(port: WebRtcPort) -> None:
    """Retry until the port is bound: the kernel releases the sockets of a killed plane with a delay."""
    pause, bound = FIRST_PAUSE, False
    while True:
        try:
            if not bound:
                await port.start()
                bound = True
            await port.gather()
        except (MediaError, PlaneError) as error:
            logger.warning("the browsers' port cannot be bound again yet: %s", error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        else:
            return
