"""The HTTP front end: an offer in the request, the answer in the response."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from typing import Any

from fastapi import Request

from gateway.call.status import Cause
from gateway.identity.model import User
from gateway.web.auth.authenticator import Authenticator, TooManyFailures, client_address, credentials, is_passed_on
from gateway.web.checks import is_identifier
from gateway.web.facade import Gateway, LeftCall, PlaceError
from gateway.web.http.errors import ApiError
from gateway.web.http.models import CandidateRequest, CloseRequest, OfferRequest
from gateway.web.http.sessions import Session, SessionEnded, SessionTable
from gateway.web.limits import SourceBuckets
from gateway.web.settings import WebSettings

log = logging.getLogger(__name__)


def http_status(status: int) -> int:
    """The HTTP status for a SIP one: 4xx and 5xx are their own, 6xx (refused everywhere) is 403."""
    return status if 400 <= status < 600 and status != 487 else 403 if status >= 600 else 500


_WHEN_FULL = 10
"""Seconds a client is asked to wait while as many sessions are there as may be: one may have ended by then."""


def _failed(cause: Cause, status: int, reason: str, session_id: str, retry_after: int | None = None) -> ApiError:
    code = http_status(status)
    text = f"Failed to process SDP offer: {reason}" if code == 500 else reason
    wait = {"Retry-After": str(retry_after)} if code == 503 and retry_after is not None else None
    return ApiError(code, text, session_id, cause.word, wait)


class SdpApi:
    """The endpoints' work, on one table of sessions."""

    def __init__(self, gateway: Gateway, authenticator: Authenticator, settings: WebSettings) -> None:
        self.sessions = SessionTable(settings)
        self._gateway = gateway
        self._authenticator = authenticator
        self._settings = settings
        self._offers = SourceBuckets(settings.offers_per_second, settings.offer_burst, time.monotonic)
        gateway.watch_left_sessions(self._resume)

    def _resume(self, left: LeftCall) -> None:
        try:
            self.sessions.resume(left, self._settings.session_lifetime)
        except (LookupError, TypeError):
            log.exception("a session of the gateway before is not known any more")

    async def offer(self, body: OfferRequest, request: Request) -> dict[str, Any]:
        """Place the call and wait for its answer. Raises ApiError."""
        session_id = body.session_id or str(uuid.uuid4())
        if not self._offers.take(client_address(request)):
            raise ApiError(503, "Too many offers, try again later", body.session_id)
        caller, owner = await self._caller(request, body.session_id)
        if self.sessions.get(session_id) is not None:
            raise ApiError(409, "A live session has this id", session_id)
        if self.sessions.full:
            most = self._settings.max_sessions
            reason = f"web.limits.max_sessions: all {most} sessions are taken"
            raise _failed(Cause.LIMIT, Cause.LIMIT.status, reason, session_id, _WHEN_FULL)
        session = self.sessions.open(session_id, owner, body.to or self._settings.default_callee, body.metadata)
        try:
            async with asyncio.timeout(self._settings.setup_timeout):
                answer = await self._set_up(session, caller, body, request)
        except TimeoutError:
            session.close(Cause.NO_ANSWER)
            raise ApiError(408, "No answer in time", session_id, Cause.NO_ANSWER.word) from None
        except SessionEnded as ended:
            limit, wait = session.limit_of(ended.cause)
            reason = f"{limit}: {ended}" if limit else str(ended)
            raise _failed(ended.cause, ended.cause.status, reason, session_id, wait) from None
        except PlaceError as error:
            session.close(error.cause)
            raise _failed(error.cause, error.status, str(error), session_id, error.retry_after) from None
        except ApiError:
            raise
        except Exception:
            session.close(Cause.ERROR)
            log.exception("an offer over HTTP failed")
            raise _failed(Cause.ERROR, 500, "internal error", session_id) from None
        except BaseException:
            session.close(Cause.CANCELLED)
            raise
        response = {"sdp": {"type": "answer", "sdp": answer}, "session_id": session_id, "ice_candidates": []}
        return response | ({} if body.metadata is None else {"metadata": body.metadata})

    async def _set_up(self, session: Session, caller: User, body: OfferRequest, request: Request) -> str:
        call = await self._gateway.place(session, caller, session.to, body.sdp.sdp, client_address(request))
        session.live(call, self._settings.session_lifetime)
        self._gateway.trace(call.id, "in", caller.id, "POST /webrtc/offer", body.sdp.sdp)
        answer = asyncio.create_task(session.answer())
        gone = asyncio.create_task(_client_gone(request))
        try:
            await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                session.close(Cause.CANCELLED)
            found = await answer
            self._gateway.trace(call.id, "out", caller.id, "200 answer", found)
            return found
        finally:
            for task in (answer, gone):
                task.cancel()
            await asyncio.gather(answer, gone, return_exceptions=True)

    async def _caller(self, request: Request, session_id: str | None) -> tuple[User, str | None]:
        """Who calls, and as whose property the session is kept."""
        header = request.headers.get("authorization")
        if header is None:
            name = f"guest-{uuid.uuid4().hex[:12]}"
            guest = await self._authenticator.guest(name, passed_on=is_passed_on(request))
            if guest is None:
                raise ApiError(401, "Authentication required", session_id)
            return guest, None
        user = await self._authenticated(header, request, session_id)
        return user, user.id

    async def _authenticated(self, header: str, request: Request, session_id: str | None) -> User:
        given = credentials(header)
        try:
            user = await self._authenticator.user(*given, client_address(request)) if given else None
        except TooManyFailures:
            raise ApiError(503, "Too many attempts, try again later", session_id) from None
        if user is None:
            raise ApiError(401, "The credentials are not valid", session_id)
        return user

    async def _owned(self, session_id: str, request: Request) -> Session:
        session = self.sessions.get(session_id)
        if session is None:
            owner, cause = self.sessions.ended(session_id) or (None, None)
            if cause is Cause.MEDIA_FAILED:
                await self._check_owner(owner, session_id, request)
                raise ApiError(408, "The session's media did not connect in time", session_id, cause.word)
            raise ApiError(404, "Session not found", session_id)
        await self._check_owner(session.owner, session_id, request)
        return session

    async def _check_owner(self, owner: str | None, session_id: str, request: Request) -> None:
        if owner is None:
            return
        user = await self.signed_in(request, session_id)
        if user.id != owner and user.role == "user":
            raise ApiError(403, "This is another user's session", session_id)

    async def signed_in(self, request: Request, session_id: str | None = None) -> User:
        """The user of the Authorization header. Raises ApiError."""
        header = request.headers.get("authorization")
        if header is None:
            challenge = {"WWW-Authenticate": "Bearer"}
            raise ApiError(401, "Authentication required", session_id, headers=challenge)
        return await self._authenticated(header, request, session_id)

    async def candidate(self, body: CandidateRequest, request: Request) -> dict[str, str]:
        """Hand one candidate on. Raises ApiError."""
        session = await self._owned(body.session_id, request)
        session.candidates += 1
        if session.candidates > self._settings.max_candidates:
            raise ApiError(400, "Too many candidates", session.id)
        if session.call is not None:
            session.call.candidate(body.candidate.candidate, body.candidate.sdpMid)
        return {"session_id": session.id, "status": "received"}

    async def list(self, request: Request) -> dict[str, Any]:
        """The sessions of who asks; all of them for operators. Raises ApiError."""
        user = await self.signed_in(request)
        sessions = [session.info() for session in self.sessions if user.role != "user" or session.owner == user.id]
        return {"sessions": sessions, "count": len(sessions)}

    async def state(self, session_id: str, unlike: str | None, seconds: float, request: Request) -> dict[str, Any]:
        """What a session is at, once that is another state than `unlike`, or `seconds` have passed. Raises ApiError."""
        session = self.sessions.get(session_id)
        if session is None:
            owner, cause = self.sessions.ended(session_id) or (None, None)
            if cause is None:
                raise ApiError(404, "Session not found", session_id if is_identifier(session_id) else None)
            await self._check_owner(owner, session_id, request)
            return _state(session_id, "ended", cause)
        await self._check_owner(session.owner, session_id, request)
        if session.state == unlike:
            changed = asyncio.create_task(session.changed.wait())
            gone = asyncio.create_task(_client_gone(request))
            try:
                await asyncio.wait({changed, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (changed, gone):
                    task.cancel()
                await asyncio.gather(changed, gone, return_exceptions=True)
        return _state(session_id, session.state, session.cause)

    async def end(self, session_id: str, request: Request) -> dict[str, str]:
        """End a session by its id, as `close` does. Raises ApiError."""
        session = await self._owned(session_id, request)
        session.close(Cause.NORMAL)
        return {"session_id": session.id, "status": "closed"}

    async def close(self, body: CloseRequest, request: Request) -> dict[str, str]:
        """End the session. Raises ApiError."""
        return await self.end(body.session_id, request)


def _state(session_id: str, state: str, cause: Cause | None) -> dict[str, Any]:
    why = {} if cause is None else {"cause": cause.word, "reason": cause.sentence}
    return {"session_id": session_id, "state": state} | why


async def _client_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
