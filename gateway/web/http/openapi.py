"""The description of the API as it really is: one error object, no 422, and how to show who one is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "An access token of POST /api/session; `user:password` is taken too.",
    },
    "basic": {"type": "http", "scheme": "basic", "description": "User and password (RFC 7617)."},
}
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


def _corrected(schema: dict[str, Any]) -> dict[str, Any]:
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            # Malformed bodies are answered 400 with our error object (see errors.install).
            operation["responses"].pop("422", None)
            if not path.startswith(_OPEN):
                operation["security"] = [{}, {"bearer": []}, {"basic": []}]
    components = schema.setdefault("components", {})
    components["securitySchemes"] = _SCHEMES
    for name in ("HTTPValidationError", "ValidationError"):
        components.get("schemas", {}).pop(name, None)
    return schema
