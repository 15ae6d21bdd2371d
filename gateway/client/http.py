"""Requests and answers of the HTTP API, typed; no media here."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Iterable
from dataclasses import fields
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx

from gateway.client.call import Call
from gateway.client.errors import ClientError
from gateway.client.values import Answer, IceCandidate, IceServer, SessionInfo, SessionState

_WAITS = 50
"""Requests at once that wait for a state; where more would, each waits a second only, and the next has its turn."""
_EARLY = 30.0
"""Seconds before its end that a token is renewed."""
Read = TypeVar("Read")


class GatewayClient:
    """One gateway. Without `user` and `password` a guest; use it as an async context manager."""

    def __init__(
        self,
        base_url: str,
        *,
        user: str | None = None,
        password: str | None = None,
        timeout: float = 30.0,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        """`timeout` in seconds for every request; `http` where the requests need a client of their own."""
        self._http = http or httpx.AsyncClient(base_url=base_url.rstrip("/"), timeout=timeout)
        self._longest_wait = min(20.0, timeout / 2)
        self._waits = asyncio.Semaphore(_WAITS)
        self._user = user
        self._password = password
        self._token = ""
        self._expires = 0.0
        self._signing = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Sign out, if signed in, and close the connections."""
        if self._token:
            try:
                await self._http.delete("/api/session")
            except httpx.HTTPError:
                pass  # the gateway forgets us by itself
        await self._http.aclose()

    async def sign_in(self) -> None:
        """Done by itself before the first request. Raises ClientError for a wrong password."""
        await self._take_token("/api/session", {"user": self._user, "password": self._password})

    async def _take_token(self, path: str, body: dict[str, Any]) -> None:
        answer = await self._send("POST", path, body)
        self._token, self._expires = answer["access_token"], time.monotonic() + answer["expires_in"]

    async def _valid_token(self) -> str:
        """By the cookie of our sign-in while it lasts, else by the password."""
        async with self._signing:
            if time.monotonic() <= self._expires - _EARLY:
                return self._token
            if self._token:
                try:
                    await self._take_token("/api/session/refresh", {})
                    return self._token
                except ClientError as error:
                    if error.code != 401:
                        raise
            await self.sign_in()
            return self._token

    async def send_offer(
        self, sdp: str, *, to: str | None = None, session_id: str | None = None, metadata: Any = None
    ) -> Answer:
        """Place a call: `to` a number, a user or a SIP URI, the echo without one. Raises ClientError."""
        body: dict[str, Any] = {"sdp": {"type": "offer", "sdp": sdp}}
        body |= {
            name: value
            for name, value in (("to", to), ("session_id", session_id), ("metadata", metadata))
            if value is not None
        }
        answer = await self._ask("POST", "/webrtc/offer", body)
        return Answer(session_id=answer["session_id"], sdp=answer["sdp"]["sdp"], metadata=answer.get("metadata"))

    async def send_ice_candidate(self, session_id: str, candidate: IceCandidate) -> None:
        """Trickle one candidate. Raises ClientError."""
        init = {
            "candidate": candidate.candidate,
            "sdpMid": candidate.sdp_mid,
            "sdpMLineIndex": candidate.sdp_m_line_index,
        }
        await self._ask("POST", "/webrtc/ice-candidate", {"session_id": session_id, "candidate": init})

    async def close_session(self, session_id: str, reason: str | None = None) -> None:
        """End a session and its call. Raises ClientError (404 for one that has ended)."""
        body = {"session_id": session_id} | ({} if reason is None else {"reason": reason})
        await self._ask("POST", "/webrtc/close", body)

    async def exchange_sdp(self, sdp: str) -> tuple[str, str]:
        """Session id and answer of an offer to the echo. Raises ClientError."""
        answer = await self.send_offer(sdp)
        return answer.session_id, answer.sdp

    async def setup_session(self, sdp: str, candidates: Iterable[IceCandidate] = ()) -> tuple[str, str]:
        """An offer, then candidates one by one; one that is refused is no reason to give up. Raises ClientError."""
        session_id, answer = await self.exchange_sdp(sdp)
        for candidate in candidates:
            try:
                await self.send_ice_candidate(session_id, candidate)
            except ClientError:
                continue
        return session_id, answer

    async def ice_servers(self) -> list[IceServer]:
        """STUN and TURN servers, with the passwords that are ours for a while. Raises ClientError."""
        return [_read(IceServer, server) for server in await self._ask("GET", "/iceservers")]

    async def sessions(self) -> list[SessionInfo]:
        """Our live sessions. Raises ClientError."""
        return [_read(SessionInfo, session) for session in (await self._ask("GET", "/webrtc/sessions"))["sessions"]]

    async def session(self, session_id: str, *, unlike: str | None = None) -> SessionState:
        """What a session of ours is at, also one that ended lately. Raises ClientError (404 for none).

        `unlike`: if it is at that, wait up to 20 s for another state.
        """
        path = f"/webrtc/sessions/{quote(session_id, safe='')}"
        if unlike is None:
            return _read(SessionState, await self._ask("GET", path))
        async with self._waits:
            seconds = 1.0 if self._waits.locked() else self._longest_wait
            return _read(SessionState, await self._ask("GET", f"{path}?while={unlike}&seconds={seconds}"))

    async def call(self, to: str, *, audio: Any = None, metadata: Any = None) -> Call:
        """A whole call: its media is connected when it returns. `audio` is an aiortc track; without one we only listen.

        The other side may ring still: `Call.answered` waits for it. Raises ClientError, also when the media does not
        connect.
        """
        servers = await self.ice_servers()
        call = Call([(server.urls, server.username, server.credential) for server in servers], audio)
        try:
            await self._place(call, to, metadata)
        except BaseException:
            with contextlib.suppress(ClientError):  # it is told why the call was given up
                await call.hang_up()
            raise
        return call

    async def _place(self, call: Call, to: str, metadata: Any) -> None:
        offer = await call.offer()
        # Known before the answer: whoever gives up meanwhile can end it.
        call.attach(str(uuid.uuid4()), self)
        answer = await self.send_offer(offer, to=to, session_id=call.session_id, metadata=metadata)
        try:
            await call.connect(answer.sdp)
        except TimeoutError:
            await call.look()
            if call.state == "ended" and call.reason is not None:
                raise ClientError(call.reason, 408, call.session_id, call.cause) from None
            raise ClientError("the media could not be connected in time", 408, call.session_id) from None

    async def _ask(self, method: str, path: str, body: Any = None) -> Any:
        if self._user is None:
            return await self._send(method, path, body)
        token = await self._valid_token()
        try:
            return await self._send(method, path, body, token)
        except ClientError as error:
            if error.code != 401:
                raise
        if self._token == token:
            self._expires = 0.0  # it has ended early: signed out elsewhere, or the gateway has started again
        return await self._send(method, path, body, await self._valid_token())

    async def _send(self, method: str, path: str, body: Any, token: str = "") -> Any:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            response = await self._http.request(method, path, json=body, headers=headers)
            answer = response.json() if response.content else None
        except httpx.TimeoutException:
            raise ClientError("the gateway did not answer in time") from None
        except (httpx.HTTPError, ValueError) as error:
            raise ClientError(f"the gateway cannot be reached: {type(error).__name__}") from None
        if response.is_error:
            found = answer if isinstance(answer, dict) else {}
            raise ClientError(
                found.get("error", f"HTTP {response.status_code}"),
                response.status_code,
                found.get("session_id"),
                found.get("cause"),
            )
        return answer


def _read(kind: type[Read], answer: Any) -> Read:
    """What we know of an answer: newer gateways may say more. Raises ClientError where something of it is missing."""
    try:
        return kind(**{each.name: answer[each.name] for each in fields(kind) if each.name in answer})  # type: ignore[arg-type]
    except TypeError:
        raise ClientError("the gateway's answer cannot be read") from None
