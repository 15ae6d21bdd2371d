"""The API keeps what its description says: schemathesis makes requests of every operation, right and wrong ones."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any, cast

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import FailedHealthCheck, Unsatisfiable
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gateway.app import GatewayApp
from tests.interop.gateway import config_on_free_ports

_CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
_EXAMPLES = {schemathesis.GenerationMode.POSITIVE: 6, schemathesis.GenerationMode.NEGATIVE: 2}
"""Requests of each operation, right ones and wrong ones."""
_ADMIN = {"Authorization": "Bearer root:the-admins-own"}
_USERS = json.dumps([{"id": "root", "web": True, "role": "admin", "password": "the-admins-own"}])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a whole gateway in a thread of its own: schemathesis waits for answers."""
    config = config_on_free_ports(
        tmp_path_factory.mktemp("openapi"), USERS=_USERS, WEB__LIMITS__OFFERS_PER_SECOND="1000"
    )
    started: Future[str] = Future()
    ended, loop = asyncio.Event(), asyncio.new_event_loop()

    async def live() -> None:
        app = GatewayApp(config)
        try:
            await app.start()
        except BaseException as error:
            started.set_exception(error)
            raise
        started.set_result(app.page_url)
        await ended.wait()
        await app.stop()

    thread = threading.Thread(target=loop.run_until_complete, args=(live(),))
    thread.start()
    yield started.result(30)
    loop.call_soon_threadsafe(ended.set)
    thread.join(30)
    loop.close()


def _tried(case: Any) -> None:
    response = case.call_and_validate(headers=_ADMIN, checks=_CHECKS, timeout=30)
    assert response.status_code != 500, response.text


@pytest.mark.timeout(180)
def test_every_operation_does_what_its_description_says(base: str) -> None:
    """No error 500, no status, type, header or body that is not described; for an administrator, who may everything."""
    schema = schemathesis.openapi.from_url(f"{base}openapi.json")
    names = []
    for found in schema.get_all_operations():
        operation = cast(Any, found).ok()
        names.append(operation.label)
        for mode, count in _EXAMPLES.items():
            bounds = settings(
                max_examples=count,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.explicit, Phase.generate],
                # Of fifty tries at a wrong request one is wrong, or nothing about it can be.
                suppress_health_check=[check for check in HealthCheck if check is not HealthCheck.filter_too_much],
            )
            with contextlib.suppress(Unsatisfiable, FailedHealthCheck):
                bounds(given(case=operation.as_strategy(mode))(_tried))()
    assert len(names) > 30


def test_every_example_of_the_description_is_taken(base: str) -> None:
    """What /docs shows is what works: no body of an example is malformed."""
    schema = requests.get(f"{base}openapi.json", timeout=30).json()
    shown = 0
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
            for example in schema["components"]["schemas"].get(name, {}).get("examples", []):
                names = {"user_id": "nobody", "uri": "4711", "session_id": "none", "call_id": "none", "room": "none"}
                url = base.rstrip("/") + path.format(**names)
                answer = requests.request(method, url, json=example, headers=_ADMIN, timeout=40)
                assert answer.status_code != 400, (method, path, answer.text)
                shown += 1
    assert shown >= 6
