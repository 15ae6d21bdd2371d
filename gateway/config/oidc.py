"""Configuration of sign-in through an OpenID provider."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import Field, field_validator

from gateway.config.values import Secret, Section, Text


class OidcConfig(Section):
    """OpenID provider for sign-in (authorization code with PKCE), offered on the page if `issuer` is set."""

    issuer: Text | None = None
    """URL of the provider, as in its tokens: "https://login.example.com/realms/office". Register the page's URL with
    /api/session/oidc/callback as redirect URI."""
    client_id: Text = "gateway"
    """Client id of the gateway at the provider."""
    client_secret: Secret | None = None
    """Client secret, better set by environment; none for a public client."""
    scopes: Text = "openid profile email"
    """Scopes to request."""
    claim: Text = Field(default="preferred_username", min_length=1)
    """Claim equal to a user's id or alias, compared exactly: preferred_username, email (only if verified), sub.
    Choose a claim that people cannot set themselves at the provider."""
    name: Text = ""
    """Name of the provider on the page; default: its host."""
    timeout: float = Field(default=5.0, gt=0, le=60)
    """Longest wait for each response of the provider (s)."""

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
