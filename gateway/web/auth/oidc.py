"""Signing in at an OpenID provider: authorization code with PKCE (OpenID Connect Core 1.0 section 3.1, RFC 7636)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import secrets
import time
import urllib.error
import urllib.request
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from gateway.errors import GatewayError
from gateway.sources import source_of
from gateway.web.auth.tokens import Keys, TokenError, read_keys, verify_id_token

_ATTEMPT_SECONDS = 600.0
"""How long somebody may take at the provider."""
_MAX_ATTEMPTS, _MAX_ATTEMPTS_PER_ADDRESS = 1_000, 20
"""Beyond them the oldest give way, those of the same address first: nobody ends the attempts of others."""
_MAX_ANSWER = 262_144
_METADATA_SECONDS = 3_600.0
_FAILURE_SECONDS = 5.0
"""So long after a provider did not describe itself it is not asked again."""
_THREADS = 2
_KEYS_SECONDS = 60.0
"""How often keys are asked for again where a token names one that is not known."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class OidcError(GatewayError):
    """Nobody is signed in; `is_refusal`: the provider or its token says so, else it did not answer as it should."""

    def __init__(self, reason: str, *, is_refusal: bool) -> None:
        super().__init__(reason)
        self.is_refusal = is_refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcSettings:
    """One provider, and us as its client."""

    issuer: str
    """URL of the provider, as its tokens say it."""
    client_id: str
    client_secret: str = ""
    """ "" for a public client."""
    scopes: str = "openid profile email"
    claim: str = "preferred_username"
    """Which claim is the id, or an identity, of one of our users."""
    name: str = ""
    """What the page calls it."""
    timeout: float = 5.0
    """For each answer of the provider (s)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    verifier: str
    nonce: str
    redirect_uri: str
    address: str
    ends: float


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """A code and a secret go nowhere but where the provider's own description says."""


class OpenIdProvider:
    """The provider as we use it. State, nonce and verifier are good once, and for ten minutes."""

    def __init__(
        self,
        settings: OidcSettings,
        clock: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """`clock` gives Unix seconds."""
        self.settings = settings
        self._clock = clock
        self._random = random
        self._attempts: OrderedDict[str, _Attempt] = OrderedDict()
        self._metadata: dict[str, Any] = {}
        self._metadata_until = 0.0
        self._describing: asyncio.Task[None] | None = None
        self._failure = OidcError("the provider was not asked", is_refusal=False)
        self._failed_until = 0.0
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="oidc")
        self._keys: Keys = ()
        self._keys_asked = 0.0
        self._opener = urllib.request.build_opener(_NoRedirect)

    async def begin(self, redirect_uri: str, address: str) -> tuple[str, str]:
        """Where the browser at that IP address goes, and the state it comes back with to `redirect_uri`.

        Raises OidcError.
        """
        endpoint = (await self._described())["authorization_endpoint"]
        now, state = self._clock(), self._word()
        self._make_room(address, now)
        attempt = _Attempt(
            verifier=self._word(),
            nonce=self._word(),
            redirect_uri=redirect_uri,
            address=address,
            ends=now + _ATTEMPT_SECONDS,
        )
        self._attempts[state] = attempt
        challenge = base64.urlsafe_b64encode(hashlib.sha256(attempt.verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": self.settings.client_id,
            "redirect_uri": redirect_uri,
            "scope": self.settings.scopes,
            "state": state,
            "nonce": attempt.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}", state

    def close(self) -> None:
        """End the threads that ask the provider; idempotent."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def finish(self, answer: Mapping[str, str]) -> str:
        """Whom the provider vouches for, by the claim of the settings. `answer`: what the browser came back with.

        Raises OidcError.
        """
        attempt = self._attempts.pop(answer.get("state", ""), None)
        if attempt is None or self._clock() >= attempt.ends:
            raise OidcError("nobody was sent to the provider with this state", is_refusal=True)
        if answer.get("iss", self.settings.issuer) != self.settings.issuer:
            raise OidcError("another provider has answered", is_refusal=True)  # RFC 9207
        if not answer.get("code"):
            raise OidcError("the provider has refused", is_refusal=True)
        tokens = await self._exchange(answer["code"], attempt)
        claims = await self._verified(str(tokens.get("id_token", "")), attempt.nonce)
        if self.settings.claim not in claims:
            claims = await self._with_userinfo(claims, str(tokens.get("access_token", "")))
        value = claims.get(self.settings.claim)
        if not isinstance(value, str) or not value:
            raise OidcError(f"the provider says no {self.settings.claim}", is_refusal=True)
        if self.settings.claim == "email" and claims.get("email_verified") is not True:
            raise OidcError("the provider has not verified the address", is_refusal=True)
        return value

    def _make_room(self, address: str, now: float) -> None:
        while self._attempts and next(iter(self._attempts.values())).ends <= now:
            self._attempts.popitem(last=False)
        source = source_of(address)
        same = [state for state, attempt in self._attempts.items() if source_of(attempt.address) == source]
        if len(same) >= _MAX_ATTEMPTS_PER_ADDRESS:
            del self._attempts[same[0]]
        elif len(self._attempts) >= _MAX_ATTEMPTS:
            self._attempts.popitem(last=False)

    def _word(self) -> str:
        return base64.urlsafe_b64encode(self._random(32)).rstrip(b"=").decode()

    async def _described(self) -> dict[str, Any]:
        """The provider's metadata (OpenID Connect Discovery 1.0 section 4); however many ask, it is asked once."""
        if self._clock() >= max(self._metadata_until, self._failed_until):
            if self._describing is None:
                self._describing = asyncio.create_task(self._describe())
            await asyncio.shield(self._describing)
        if self._clock() >= self._metadata_until:
            raise OidcError(str(self._failure), is_refusal=self._failure.is_refusal)
        return self._metadata

    async def _describe(self) -> None:
        try:
            self._metadata = await self._description()
            self._metadata_until = self._clock() + _METADATA_SECONDS
        except OidcError as error:
            self._failure, self._failed_until = error, self._clock() + _FAILURE_SECONDS
        finally:
            self._describing = None

    async def _description(self) -> dict[str, Any]:
        found = await self._ask(self.settings.issuer.rstrip("/") + "/.well-known/openid-configuration")
        if found.get("issuer") != self.settings.issuer:
            raise OidcError("the provider calls itself otherwise", is_refusal=False)
        wanted = ("authorization_endpoint", "token_endpoint", "jwks_uri")
        if not all(is_safe_url(found.get(name)) for name in wanted):
            raise OidcError("the provider's description lacks an endpoint", is_refusal=False)
        return found

    async def _exchange(self, code: str, attempt: _Attempt) -> dict[str, Any]:
        """The tokens for a code (RFC 6749 section 4.1.3)."""
        settings, metadata = self.settings, await self._described()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": attempt.redirect_uri,
            "code_verifier": attempt.verifier,
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        methods = metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        if settings.client_secret and "client_secret_basic" in methods:
            pair = f"{quote(settings.client_id, safe='')}:{quote(settings.client_secret, safe='')}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        else:
            form["client_id"] = settings.client_id
            if settings.client_secret:
                form["client_secret"] = settings.client_secret
        return await self._ask(metadata["token_endpoint"], urlencode(form).encode(), headers)

    async def _verified(self, token: str, nonce: str) -> dict[str, Any]:
        """What an ID token says (OpenID Connect Core 1.0 section 3.1.3.7)."""
        settings = self.settings
        for is_last in (False, True):
            if not self._keys or (is_last and self._clock() >= self._keys_asked + _KEYS_SECONDS):
                self._keys_asked = self._clock()
                self._keys = read_keys(await self._ask((await self._described())["jwks_uri"]))
            try:
                claims = verify_id_token(
                    token, self._keys, issuer=settings.issuer, client_id=settings.client_id, now=self._clock()
                )
            except TokenError as error:
                if is_last or not error.is_key_unknown:
                    raise OidcError(str(error), is_refusal=True) from None
            else:
                if not secrets.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
                    raise OidcError("the token was made for another sign-in", is_refusal=True)
                return claims
        raise AssertionError("the last attempt returns or raises")

    async def _with_userinfo(self, claims: dict[str, Any], token: str) -> dict[str, Any]:
        """Claims that are not in the ID token (OpenID Connect Core 1.0 section 5.3)."""
        endpoint = (await self._described()).get("userinfo_endpoint")
        if not is_safe_url(endpoint) or not token:
            return claims
        more = await self._ask(str(endpoint), headers={"Authorization": f"Bearer {token}"})
        if more.get("sub") != claims["sub"]:
            raise OidcError("the provider speaks of somebody else", is_refusal=True)
        return more | claims

    async def _ask(self, url: str, body: bytes | None = None, headers: Mapping[str, str] = {}) -> dict[str, Any]:
        try:
            loop = asyncio.get_running_loop()
            status, text = await loop.run_in_executor(self._threads, self._fetch, url, body, dict(headers))
            answer = json.loads(text)
        except (OSError, HTTPException, ValueError, RuntimeError) as error:  # RuntimeError: the threads have ended, too
            raise OidcError(f"the provider did not answer ({type(error).__name__})", is_refusal=False) from None
        if not isinstance(answer, dict):
            raise OidcError("the provider did not answer with an object", is_refusal=False)
        if status != 200:
            raise OidcError(f"the provider answered {status}", is_refusal=400 <= status < 500)
        return answer

    def _fetch(self, url: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        request = urllib.request.Request(url, body, {"Accept": "application/json"} | headers)
        try:
            with self._opener.open(request, timeout=self.settings.timeout) as response:
                return int(response.status), response.read(_MAX_ANSWER)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read(_MAX_ANSWER)


def is_safe_url(url: object) -> bool:
    """Whether a provider may be asked there: https, or http on this machine."""
    if not isinstance(url, str):
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    )
