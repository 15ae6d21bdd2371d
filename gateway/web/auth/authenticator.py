"""Who asks: passwords, access tokens, guests, and a limit on guessing for each address."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import time
import unicodedata
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket

from gateway.identity.guesses import Guesses, LockOut, TooManyGuesses
from gateway.identity.lookalike import skeleton, words_of
from gateway.identity.model import User, fold
from gateway.identity.turns import Room, Turns
from gateway.sources import source_of
from gateway.web.auth.audit import AuditLog
from gateway.web.auth.links import GuestLinks, Link
from gateway.web.auth.shared_sign_ins import SharedSignIns, SharedTexts
from gateway.web.auth.sign_ins import SignIn, SignIns
from gateway.web.auth.site import SignInAttempt, SiteSignIn, ask
from gateway.web.auth.tokens import TokenError, Tokens, looks_like_token
from gateway.web.checks import is_identifier
from gateway.web.facade import Gateway
from gateway.web.limits import SourceBuckets
from gateway.web.settings import WebSettings

_MAX_HEADER = 2_560
_OF_PROXIES = ("x-forwarded-for", "forwarded", "x-real-ip", "via")
_CONSOLE = User("console", role="operator")
"""Who commands on the gateway's own machine are."""
RESERVED = frozenset({"remotemedia-server"})
"""Peer ids that mean the server itself."""


def client_address(connection: HTTPConnection) -> str:
    """IP address of the client, "" when the server does not know it."""
    return connection.client.host if connection.client else ""


def is_passed_on(connection: HTTPConnection) -> bool:
    """Return whether a proxy has passed a request on, named by `web.proxies` or not."""
    return any(header in connection.headers for header in _OF_PROXIES)


def credentials(header: str | None) -> tuple[str, str] | None:
    """User and secret of an Authorization header: `Bearer user:secret`, `Bearer token`, or Basic (RFC 7617).

    A bearer token without a colon gives ("", token). None when there is no usable header.
    """
    if not header or len(header) > _MAX_HEADER:
        return None
    scheme, _, value = header.partition(" ")
    value = value.strip()
    if scheme.lower() == "basic":
        try:
            value = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return None
    elif scheme.lower() != "bearer":
        return None
    user, colon, secret = value.partition(":")
    if not colon:
        user, secret = "", value
    return (user, secret) if secret else None


class TooManyFailures(Exception):
    """Too many wrong passwords from this source, or for this user; ask again later."""


@asynccontextmanager
async def _patient(turn: AbstractAsyncContextManager[None]) -> AsyncIterator[None]:
    """Hold the turn of a guess. Raises TooManyFailures where none may be made yet."""
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(turn)
        except TooManyGuesses:
            raise TooManyFailures from None
        yield


class Authenticator:
    """Authentication in front of the gateway's own."""

    def __init__(
        self,
        gateway: Gateway,
        settings: WebSettings,
        clock: Callable[[], float] = time.monotonic,
        site: SiteSignIn | None = None,
        links: GuestLinks | None = None,
        shared: SharedTexts | None = None,
    ) -> None:
        """`site` is asked for whom the gateway's own passwords do not let in; `links` let in guests.

        `shared` has the sign-ins of other gateways as well.
        """
        self.links = links
        self._gateway = gateway
        self._site = site
        self._clock = clock
        self._guesses = _guesses(gateway, settings, clock)
        """Wrong passwords, by source and by user."""
        self._failures = SourceBuckets(settings.failures_per_second, settings.failure_burst, clock)
        """Refused credentials that name no user of ours: refresh tokens, answers of a provider, programs."""
        self._site_asked = SourceBuckets(settings.failures_per_second, settings.failure_burst, clock)
        """What the site did not know is no guess: it takes nobody's tries at passwords."""
        self._site_turns = Turns()
        self.tokens = Tokens(settings.issuer, time.time, settings.token_lifetime, shared_key=settings.token_key)
        self.sign_ins = SignIns(time.time, settings.sign_in_file, lifetime=settings.sign_in_lifetime)
        self._shared = SharedSignIns(self.sign_ins, shared)
        self.audit = AuditLog()
        self._console = settings.console_token.encode()
        self._guests_from_here, self._rooms_from_here = settings.guests_from_here, settings.rooms_from_here
        self._open_rooms = settings.open_rooms
        self._staff = frozenset(map(skeleton, settings.staff_names))

    async def written(self) -> None:
        """Wait until sign-ins and wrong passwords are in their files."""
        await self.sign_ins.written()
        await self._guesses.written()

    async def user(self, name: str, secret: str, address: str) -> User | None:
        """The user who proves to be `name` ("": whoever the token says); None when refused. Raises TooManyFailures."""
        if looks_like_token(secret):
            # A token cannot be guessed: it counts for nothing, or a late page locks itself out.
            user = await self._of_token(name, secret)
        else:
            async with _patient(self._guesses.turn(address, self._meant(name), self._clock)):
                user = await self._of_password(name, secret)
                if user is None:
                    self._wrong_password(name, address)
        if user is not None:
            self._guesses.succeeded(address, user.id)
        return user

    def _room_at_site(self, address: str) -> Room:
        """Return how often the site may fail to know somebody of this source; raises TooManyGuesses."""
        if self._site_asked.empty(address):
            raise TooManyGuesses
        return {source_of(address): self._site_asked.left(address)}

    def _wrong_password(self, name: str, address: str) -> None:
        self._guesses.failed(address, self._meant(name), self._clock())
        self.audit.add("sign-in refused", name[:64], address)

    def _meant(self, name: str) -> str:
        """The user that a name counts for, in whatever spelling."""
        found = self._gateway.find_user(name) if name else None
        return found.id if found is not None else fold(name[:64])

    async def _of_password(self, name: str, secret: str) -> User | None:
        if (not name or is_identifier(name)) and secret.isprintable():
            return await self._gateway.authenticate(name, secret)
        return None

    def guesses_too_often(self, address: str) -> bool:
        """Whether this address is not listened to for a while."""
        return self._failures.empty(address)

    def refused(self, name: str, address: str, **details: Any) -> None:
        """Count and write down that somebody without a password was not let in."""
        self._failures.take(address)
        self.audit.add("sign-in refused", name[:64], address, **details)

    async def bearer(self, connection: HTTPConnection) -> User | None:
        """The user of an Authorization header; None without one or when it is refused. Raises TooManyFailures."""
        given = credentials(connection.headers.get("authorization"))
        return await self.user(*given, client_address(connection)) if given else None

    async def administering(self, connection: HTTPConnection) -> User | None:
        """The same, or a command on the gateway's own machine, which is an operator."""
        scheme, _, secret = (connection.headers.get("authorization") or "").partition(" ")
        if scheme == "Bearer" and self._console and hmac.compare_digest(secret.encode(), self._console):
            return _CONSOLE
        return await self.bearer(connection)

    async def of_websocket(self, websocket: WebSocket) -> User | None:
        """Return the user of a handshake: by Authorization, or for browsers by the subprotocols "bearer", TOKEN.

        A token in the address would stand in every log on the way.
        """
        offered = websocket.scope.get("subprotocols") or []
        try:
            if len(offered) == 2 and offered[0] == "bearer" and looks_like_token(offered[1]):
                return await self._of_token("", offered[1])
            return await self.bearer(websocket)
        except TooManyFailures:
            return None

    async def _of_token(self, name: str, token: str) -> User | None:
        try:
            claims = self.tokens.verify(token)
        except TokenError:
            return None
        await self._shared.fetch(claims.session)
        lives = self.sign_ins.lives(claims.session, self._gateway.credential_mark)
        user = self._gateway.find_user(claims.user) if lives else None
        if user is None or not name:
            return user
        named = self._gateway.find_user(name)
        return user if named is not None and named.id == user.id else None

    async def guest(self, name: str, *, passed_on: bool) -> User | None:
        """Return a guest; None when guests are not allowed, or the name may be a user's, a number or a URI.

        `passed_on` by a proxy: from elsewhere, though the connection is this machine's own.
        """
        if (passed_on and self._guests_from_here) or not self._may_be_guest(name):
            return None
        return await self._gateway.authenticate(name, None)

    def has_open_rooms(self, connection: HTTPConnection) -> bool:
        """Return whether the rooms are open to the sender of a request."""
        return self._open_rooms and not (self._rooms_from_here and is_passed_on(connection))

    async def guest_by_link(self, name: str, token: str) -> tuple[User, Link] | None:
        """A guest of that name with the rights of a link and nothing beside them; None where it is not good."""
        link = await self.links.read(token) if self.links is not None and self._may_be_guest(name) else None
        if link is None:
            return None
        exactly = re.sub(r"[*?[]", lambda found: f"[{found[0]}]", link.to)
        return User(name, display_name=link.name, web=True, may_call=(exactly,), max_calls=1), link

    def _may_be_guest(self, name: str) -> bool:
        number = not any(char.isalpha() for char in name)
        if number or "@" in name or ":" in name or unicodedata.normalize("NFKC", name) != name:
            return False
        return self._is_nobodys(name)

    async def lets_into_room(self, peer: str, websocket: WebSocket) -> bool:
        """Return whether a handshake opens a signalling room, by an id of the user's own, or one like nobody's."""
        user = await self.of_websocket(websocket)
        if user is None and not self.has_open_rooms(websocket):
            return False
        return (user is not None and peer in (user.id, user.display_name)) or self._is_nobodys(peer)

    def _is_nobodys(self, name: str) -> bool:
        """Return whether a name neither is nor looks like that of a user, of staff, or of the server."""
        if self._gateway.is_configured(name) or fold(name) in RESERVED or self._gateway.resembles_user(name):
            return False
        return self._staff.isdisjoint(words_of(name))

    # Signing in, for as long as the browser keeps its cookie.

    @property
    def has_site(self) -> bool:
        """Whether the site signs people in by its own means as well."""
        return self._site is not None

    async def sign_in(
        self, name: str, password: str, address: str, headers: Mapping[str, str]
    ) -> tuple[User, SignIn, str] | None:
        """The user, the new sign-in and its refresh token; by the gateway's password, then by the site.

        Without a name the site alone is asked, by `headers`. Raises TooManyFailures.
        """
        if name:
            turn = self._guesses.turn(address, self._meant(name), self._clock)
        else:
            turn = self._site_turns.turn(lambda: self._room_at_site(address))
        async with _patient(turn):
            user = None if not name or looks_like_token(password) else await self._of_password(name, password)
            if user is not None:
                return await self._begun(user, address)
            if self._site is not None:
                attempt = SignInAttempt(user=name, password=password, headers=headers, address=address)
                found = await ask(self._site, attempt)
                if found is not None:
                    return await self.vouched(found, address, "site")
            if name:
                self._wrong_password(name, address)
            else:
                self._site_asked.take(address)
            return None

    async def vouched(self, name: str, address: str, by: str) -> tuple[User, SignIn, str] | None:
        """Sign in whom somebody we trust vouches for: by exactly a user's id, or one of its identities.

        What is only like them (another case, a rule) is nobody: who may choose a name there would choose a user here.
        """
        user = self._gateway.find_user(name)
        if user is None or name not in (user.id, *user.aliases, *(one.removeprefix("sip:") for one in user.aliases)):
            self.refused(name, address, by=by)
            return None
        return await self._begun(user, address, by=by)

    async def _begun(self, user: User, address: str, **details: str) -> tuple[User, SignIn, str]:
        self._guesses.succeeded(address, user.id)
        entry, token = self.sign_ins.begin(user.id, self._gateway.credential_mark(user.id) or "")
        await self._shared.share(entry.id, entry.expires_at)
        self.audit.add("sign-in", user.id, address, **details)
        return user, entry, token

    async def refresh(self, token: str, address: str) -> tuple[User, SignIn, str | None] | None:
        """The user of a refresh token, and the next one (None: keep it). Raises TooManyFailures."""
        if self._failures.empty(address):
            raise TooManyFailures
        session_id = token.partition(".")[0]
        await self._shared.fetch(session_id)
        known = self.sign_ins.entry(session_id)
        used = self.sign_ins.use(token, self._gateway.credential_mark)
        if known is not None and (used is None or used[1] is not None):
            await self._shared.share(session_id, known.expires_at)
        user = self._gateway.find_user(used[0].user) if used else None
        if used is None or user is None:
            self._failures.take(address)
            return None
        self._guesses.succeeded(address, user.id)
        return user, *used

    async def sign_out(self, token: str, address: str) -> None:
        """End the sign-in of a refresh token and every access token made from it."""
        await self._shared.fetch(token.partition(".")[0])
        entry = self.sign_ins.find(token)
        if entry is not None:
            self.sign_ins.end(entry.id)
            await self._shared.share(entry.id, entry.expires_at)
            self.audit.add("sign-out", entry.user, address)


def _guesses(gateway: Gateway, settings: WebSettings, clock: Callable[[], float]) -> Guesses:
    policy = LockOut(
        failures=settings.failure_burst,
        seconds=settings.failure_burst / settings.failures_per_second,
        user_failures=settings.user_failures,
        longest_delay=settings.longest_login_delay,
    )
    made = Guesses(policy, lambda name: gateway.find_user(name) is not None)
    if settings.guesses_file is not None:
        made.keep_in(settings.guesses_file, clock, time.time)
    return made
