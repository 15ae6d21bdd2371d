"""Signed tokens (RFC 7519, RFC 8725): ours, for minutes, by keys that change; VAPID's; an OpenID provider's."""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.errors import GatewayError

_ALGORITHM = "HS256"
_AUDIENCE = "sip-webrtc-gateway"
_KEY_BYTES = 32
_MAX_LENGTH = 2_048
_REQUIRED = ["aud", "iss", "sub", "exp", "iat", "jti", "sid"]


class TokenError(GatewayError):
    """A token that is not ours, not for us, too old, or altered."""

    def __init__(self, reason: str, *, is_key_unknown: bool = False) -> None:
        super().__init__(reason)
        self.is_key_unknown = is_key_unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a valid token says."""

    user: str
    session: str
    """The sign-in it came from; the token ends with it."""
    id: str
    """jti: no two tokens have the same."""


@dataclass(frozen=True, slots=True)
class _Key:
    id: str
    secret: bytes
    born: float


class Tokens:
    """Issues and checks. Keys of its own live in memory only: a restart is a rotation."""

    def __init__(
        self,
        issuer: str,
        clock: Callable[[], float],
        lifetime: float = 300.0,
        rotation: float = 3_600.0,
        random: Callable[[int], bytes] = os.urandom,
        shared_key: bytes | None = None,
    ) -> None:
        """`clock` gives Unix seconds; a token is good for `lifetime` and a key signs for `rotation` seconds.

        `shared_key`: the keys are derived from it, so that all who have it sign and read alike, also after a restart.
        """
        self._shared_key = shared_key
        self.lifetime = lifetime
        self._issuer = issuer
        self._clock = clock
        self._rotation = rotation
        self._random = random
        self._keys: list[_Key] = []

    def issue(self, user: str, session: str) -> str:
        """A token for `user`, good while `session` is."""
        now = self._clock()
        key = self._signing_key(now)
        claims = {
            "iss": self._issuer,
            "aud": _AUDIENCE,
            "sub": user,
            "sid": session,
            "jti": self._random(12).hex(),
            "iat": int(now),
            "exp": int(now + self.lifetime),
        }
        return jwt.encode(claims, key.secret, algorithm=_ALGORITHM, headers={"kid": key.id})

    def verify(self, token: str) -> Claims:
        """What the token says. Raises TokenError."""
        if len(token) > _MAX_LENGTH:
            raise TokenError("the token is too long")
        try:
            key_id = jwt.get_unverified_header(token).get("kid")
            if self._shared_key is not None:
                self._signing_key(self._clock())
            key = next((key for key in self._keys if key.id == key_id), None)
            if key is None:
                raise TokenError("the token is signed by a key that is not in use")
            # Times are checked below: the library would read a clock of its own.
            claims = jwt.decode(
                token,
                key.secret,
                algorithms=[_ALGORITHM],
                audience=_AUDIENCE,
                issuer=self._issuer,
                options={"require": _REQUIRED, "verify_exp": False, "verify_iat": False},
            )
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise TokenError("the token is not valid") from None
        if not self._clock() < claims["exp"]:
            raise TokenError("the token has expired")
        return Claims(user=str(claims["sub"]), session=str(claims["sid"]), id=str(claims["jti"]))

    def _signing_key(self, now: float) -> _Key:
        # A key stays for checking until the last token it signed has expired.
        self._keys = [key for key in self._keys if now < key.born + self._rotation + self.lifetime]
        if self._shared_key is not None:
            self._keys = [self._derived(now - self._rotation), self._derived(now)]
        elif not self._keys or now >= self._keys[-1].born + self._rotation:
            self._keys.append(_Key(self._random(6).hex(), self._random(_KEY_BYTES), now))
        return self._keys[-1]

    def _derived(self, now: float) -> _Key:
        """The key of the period that this moment is in."""
        assert self._shared_key is not None
        period = int(now // self._rotation)
        secret = hmac.digest(self._shared_key, str(period).encode(), "sha256")
        return _Key(f"shared-{period}", secret, period * self._rotation)


def vapid_token(audience: str, contact: str, expires: float, key: ec.EllipticCurvePrivateKey) -> str:
    """What shows a push service who sends (RFC 8292 section 2); `audience` is its origin, `expires` Unix seconds."""
    return jwt.encode({"aud": audience, "sub": contact, "exp": int(expires)}, key, algorithm="ES256")


_LINK_AUDIENCE = "guest-link"


def sign_link(link_id: str, to: str, until: int, issuer: str, secret: bytes) -> str:
    """The token of a link for guests; `to` is there for whoever holds it to know whom it calls."""
    claims = {"iss": issuer, "aud": _LINK_AUDIENCE, "jti": link_id, "to": to, "exp": until}
    return jwt.encode(claims, secret, algorithm=_ALGORITHM)


def verify_link(token: str, issuer: str, secret: bytes, now: float) -> str:
    """The id of the link of a token. Raises TokenError."""
    if len(token) > _MAX_LENGTH:
        raise TokenError("the token is too long")
    options: Any = {"require": ["iss", "aud", "jti", "exp"], "verify_exp": False}
    try:
        claims = jwt.decode(
            token, secret, algorithms=[_ALGORITHM], audience=_LINK_AUDIENCE, issuer=issuer, options=options
        )
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise TokenError("the token is not valid") from None
    if not now < claims["exp"]:
        raise TokenError("the link is over")
    return str(claims["jti"])


_PROVIDERS_ALGORITHMS = [f"{kind}{bits}" for kind in ("RS", "PS", "ES") for bits in (256, 384, 512)] + ["EdDSA"]
_PROVIDERS_CLAIMS = ["iss", "sub", "aud", "exp", "iat"]
_LEEWAY = 60.0
"""How far a provider's clock may be off (s)."""

Keys = tuple[jwt.PyJWK, ...]


def read_keys(keys: dict[str, Any]) -> Keys:
    """A provider's public keys (RFC 7517); of kinds that are not known, none."""
    try:
        return tuple(jwt.PyJWKSet.from_dict(keys).keys)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError):
        return ()


def verify_id_token(token: str, keys: Keys, *, issuer: str, client_id: str, now: float) -> dict[str, Any]:
    """What an ID token says (OpenID Connect Core 1.0 section 3.1.3.7), but for its nonce. Raises TokenError."""
    try:
        name = jwt.get_unverified_header(token).get("kid")
        usable = [key for key in keys if key.public_key_use in (None, "sig")]
        key = next((key for key in usable if name is None or key.key_id == name), None)
        if key is None:
            raise TokenError("the token is signed by a key that the provider does not show", is_key_unknown=True)
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=_PROVIDERS_ALGORITHMS,
            audience=client_id,
            issuer=issuer,
            options={"require": _PROVIDERS_CLAIMS, "verify_exp": False, "verify_iat": False, "verify_nbf": False},
        )
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise TokenError("the provider's token is not valid") from None
    if not isinstance(claims["exp"], int | float) or now >= claims["exp"] + _LEEWAY:
        raise TokenError("the provider's token has expired")
    if claims.get("azp", client_id) != client_id or (isinstance(claims["aud"], list) and len(claims["aud"]) > 1):
        raise TokenError("the provider's token is for others as well")
    return claims


def looks_like_token(secret: str) -> bool:
    """Whether `secret` has the form of a signed token (RFC 7515 section 7.1); a password of ours never has."""
    return secret.count(".") == 2 and secret.startswith("eyJ")
