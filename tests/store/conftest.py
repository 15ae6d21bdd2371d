"""The Redis of the identity stores' tests, for every store."""

from __future__ import annotations

from tests.identity.conftest import redis_url as redis_url
