"""The description of the API as it really is: one error object, no 422, and how to show who one is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from gateway.web.http.errors import ErrorResponse, refusal

_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "An access token of POST /api/session; `user:password` is taken too.",
    },
    "basic": {"type": "http", "scheme": "basic", "description": "User and password (RFC 7617)."},
}
_PLAIN = ("/healthz", "/readyz", "/api/session/oidc", "/api/session/oidc/callback")
_OPEN = ("/healthz", "/iceservers", "/api/session")
"""Paths that ask for nothing."""


def describe(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """What `app.openapi` is to be: made once, from the routes."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            app.openapi_schema = _corrected(schema)
        return app.openapi_schema

    return openapi


def _refusals(path: str, method: str, operation: dict[str, Any]) -> dict[str, str]:
    """What every operation may answer before it is looked at (see bounded.BoundedRoute), by status."""
    if path in _PLAIN:
        return {}
    found = {"403": "A page of a foreign origin"}
    if method != "get" or "parameters" in operation:
        found["400"] = "Malformed: the type, the body or a parameter"
    if "requestBody" in operation:
        found |= {"408": "The body did not come in time", "413": "The body is too large"}
    return found


def _corrected(schema: dict[str, Any]) -> dict[str, Any]:
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            # Malformed bodies are answered 400 with our error object (see errors.install).
            operation["responses"].pop("422", None)
            for status, meaning in _refusals(path, method, operation).items():
                operation["responses"].setdefault(status, refusal(meaning))
            if not path.startswith(_OPEN):
                operation["security"] = [{}, {"bearer": []}, {"basic": []}]
    components = schema.setdefault("components", {})
    components["securitySchemes"] = _SCHEMES
    schemas = components.setdefault("schemas", {})
    schemas["ErrorResponse"] = ErrorResponse.model_json_schema(mode="serialization")
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    return schema
