"""A real redis-server on a free port, and one fixture that is each store in turn."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.identity.store import IdentityStore
from gateway.store.identity_memory import MemoryStore
from gateway.store.identity_redis import RedisStore
from gateway.store.identity_sqlite import SqliteStore
from tests import peers
from tests.ports import free_port, free_ports
from tests.virtual import outside


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.2) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


@contextmanager
def redis_server(port: int, folder: Path, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    """A redis-server of our own; skips, or fails in CI, where there is none.

    `more` are options; "FILE --sentinel" makes it a Sentinel. It keeps nothing on disk without "--appendonly".
    """
    binary = peers.program("redis-server", "redis-server")
    options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    if "--sentinel" not in more:
        options += ["--save", "", *(() if "--appendonly" in more else ("--appendonly", "no"))]
    server = subprocess.Popen([binary, *more, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while not _answers(port):
            assert server.poll() is None, "redis-server ended at its start"
            assert time.monotonic() < deadline, "redis-server did not answer within 10 s"
            time.sleep(0.02)
        yield server
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Redis that all tests share."""
    port = free_port()
    with redis_server(port, tmp_path_factory.mktemp("redis")):
        yield f"redis://127.0.0.1:{port}/0"


@pytest.fixture(scope="session")
def redis_cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Redis Cluster of one server that all tests share."""
    [port] = free_ports(1)
    bus = free_port()
    options = ("--cluster-enabled", "yes", "--cluster-port", str(bus))
    with redis_server(port, tmp_path_factory.mktemp("cluster"), *options):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(b"CLUSTER ADDSLOTSRANGE 0 16383\r\n")
            assert connection.recv(64) == b"+OK\r\n"
        yield f"redis+cluster://127.0.0.1:{port}"


@pytest_asyncio.fixture(params=["memory", "sqlite", outside("redis"), outside("cluster")])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[IdentityStore]:
    """An open, empty store of each kind."""
    opened: IdentityStore
    if request.param == "memory":
        opened = MemoryStore()
    elif request.param == "sqlite":
        opened = SqliteStore(tmp_path / "identity.sqlite")
    elif request.param == "redis":
        opened = RedisStore(request.getfixturevalue("redis_url"), prefix=f"{tmp_path}:")
    else:
        # The driver of a Cluster computes much at first, maybe beside other work.
        opened = RedisStore(request.getfixturevalue("redis_cluster_url"), prefix=f"{tmp_path}:", timeout=10.0)
    await opened.open()
    yield opened
    await opened.close()
