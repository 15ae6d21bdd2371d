"""HTTP errors of the API: always {error, code, session_id?, cause?}."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.web.checks import is_identifier
from gateway.web.facade import AccountError

RETRY = {"Retry-After": "1"}


class ErrorResponse(BaseModel):
    """Every error of the API."""

    error: str
    code: int = Field(description="The HTTP status.")
    session_id: str | None = None
    cause: str | None = Field(None, description="Why a call was not possible: not-found, busy, declined, no-answer, …")


ERROR_CONTENT = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorResponse"}}}


def refusal(description: str) -> dict[str, Any]:
    """How a status that is an error is described: always by ErrorResponse, which the description names once.

    With `"model": ErrorResponse` FastAPI would build a model for each status of each operation.
    """
    return {"description": description, "content": ERROR_CONTENT}


class ApiError(HTTPException):
    """Answered as {error, code, session_id?, cause?}; a 503 says when to try again."""

    def __init__(
        self,
        code: int,
        error: str,
        session_id: str | None = None,
        cause: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(code, error, headers=headers or (RETRY if code == 503 else None))
        self.session_id = session_id
        self.cause = cause


def _body(code: int, error: str, session_id: str | None = None, cause: str | None = None) -> dict[str, Any]:
    body: dict[str, Any] = {"error": error, "code": code}
    if session_id is not None:
        body["session_id"] = session_id
    if cause is not None:
        body["cause"] = cause
    return body


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    session_id = getattr(error, "session_id", None)
    body = _body(error.status_code, str(error.detail), session_id, getattr(error, "cause", None))
    return JSONResponse(body, error.status_code, error.headers)


async def _on_refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, AccountError)
    return JSONResponse(_body(error.status, str(error)), error.status, RETRY if error.status == 503 else None)


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    body = error.body if isinstance(error.body, dict) else {}
    session_id = body.get("session_id")
    return JSONResponse(
        _body(400, _first_problem(error), session_id if is_identifier(session_id) else None), status_code=400
    )


def _first_problem(error: RequestValidationError) -> str:
    """One sentence that names the field, and nothing of what was sent."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:] if isinstance(part, str | int))
    if len(where) > 80 or not where.isprintable():
        where = ""
    message = str(first["msg"]).removeprefix("Value error, ")
    return f"{where}: {message}" if where else message


async def _on_crash(request: Request, error: Exception) -> Response:
    return JSONResponse(_body(500, "Internal error"), 500)


def install(app: FastAPI) -> None:
    """Have every error of `app` answered in the API's shape."""
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(AccountError, _on_refused)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(Exception, _on_crash)
