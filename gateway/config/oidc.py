"""Configuration of signing in at an OpenID provider."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import Field, field_validator

from gateway.config.values import Secret, Section, Text


class OidcConfig(Section):
    """An OpenID provider people may sign in at (authorization code with PKCE); with an `issuer` the page offers it."""

    issuer: Text | None = None
    """Its URL, as its tokens say it: "https://login.example.com/realms/office". The redirect URI to tell it is the
    page's, with /api/session/oidc/callback."""
    client_id: Text = "gateway"
    """What it calls us."""
    client_secret: Secret | None = None
    """Better set by environment; none for a public client."""
    scopes: Text = "openid profile email"
    """What we ask for."""
    claim: Text = Field(default="preferred_username", min_length=1)
    """The claim that is, letter by letter, a user's id or one of its aliases: preferred_username, email (a verified one
    only), sub. Take one that people cannot choose for themselves at the provider."""
    name: Text = ""
    """What the page calls it; default: its host."""
    timeout: float = Field(default=5.0, gt=0, le=60)
    """How long each of its answers may take (s)."""

    @field_validator("issuer")
    @classmethod
    def _safe(cls, issuer: str | None) -> str | None:
        if issuer is not None:
            parts = urlsplit(issuer)
            here = parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1")
            if not parts.hostname or not (parts.scheme == "https" or here) or parts.query or parts.fragment:
                raise ValueError(f"{issuer!r} must be a URL that begins with https://")
        return issuer

    @field_validator("scopes")
    @classmethod
    def _open(cls, scopes: str) -> str:
        if "openid" not in scopes.split():
            raise ValueError(f"{scopes!r} must contain openid")
        return scopes
