"""Message store in Redis: shared by several gateways, with one of them delivering each message."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import asdict, replace

import structlog
from pydantic import TypeAdapter

from gateway.people.messages import InstantMessage, MessageStoreError
from gateway.store.redis_database import RedisDatabase

log = structlog.get_logger(__name__)

_EXPIRE_BATCH = 500
_MESSAGE = TypeAdapter(InstantMessage)

# KEYS: the recipient's hash, owners, expiry index, sequence. ARGV: id, recipient, expires_at, limit, JSON.
_PUT = """
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 then return -1 end
if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], redis.call('INCR', KEYS[4]) .. ' ' .. ARGV[5])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[3], ARGV[3], ARGV[1])
return 1
"""

# KEYS: owners, expiry index. ARGV: prefix of the hashes, prefix of the claims, now or "", batch size or the id. Removes
# the named message, or all expired ones.
_REMOVE = """
local ids
if ARGV[3] == '' then
  ids = {ARGV[4]}
else
  ids = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[3], 'LIMIT', 0, ARGV[4])
end
for _, id in ipairs(ids) do
  local owner = redis.call('HGET', KEYS[1], id)
  if owner then redis.call('HDEL', ARGV[1] .. owner, id) end
  redis.call('HDEL', KEYS[1], id)
  redis.call('ZREM', KEYS[2], id)
  redis.call('DEL', ARGV[2] .. id)
end
return #ids
"""


# KEYS: owners, the claim. ARGV: id, milliseconds. A delivered message cannot be claimed.
_CLAIM = """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
return redis.call('SET', KEYS[2], '1', 'NX', 'PX', ARGV[2]) and 1 or 0
"""


class RedisMessages:
    """MessageStore over Redis."""

    is_shared = True

    def __init__(self, url: str, prefix: str = "gateway:", timeout: float = 2.0) -> None:
        """`url`: as for `RedisDatabase`. `prefix`: common prefix of all keys. `timeout`: bound of every command, in
        seconds."""
        self._database = RedisDatabase(url, timeout, "the message store", MessageStoreError)
        self._prefix = f"{self._database.prefix(prefix)}message"
        self.close = self._database.close

    async def open(self) -> None:
        await self._database.open()
        self._put = self._database.client.register_script(_PUT)
        self._remove = self._database.client.register_script(_REMOVE)
        self._take = self._database.client.register_script(_CLAIM)

    async def put(self, message: InstantMessage, limit: int) -> bool:
        self._database.client  # noqa: B018  # raises where it is not open
        text = json.dumps(asdict(message) | {"body": base64.b64encode(message.body).decode()})
        keys = [self._of(message.recipient), self._owners, self._expiry, f"{self._prefix}:sequence"]
        arguments: list[str | int] = [message.id, message.recipient, repr(float(message.expires_at)), limit, text]
        stored = await self._database.answered(self._put(keys=keys, args=arguments))
        if stored < 0:
            raise MessageStoreError("a message of that id is kept already")
        return bool(stored)

    async def pending(self, user: str, now: float) -> Sequence[InstantMessage]:
        entries: list[str] = await self._database.answered(self._database.client.hvals(self._of(user)))
        parts = [entry.partition(" ") for entry in entries]
        found = sorted((int(head) if head.isdecimal() else 0, text) for head, _, text in parts)
        messages = [_read(text) for _, text in found]
        return [message for message in messages if message is not None and message.expires_at > now]

    async def recipients(self) -> set[str]:
        return set(await self._database.answered(self._database.client.hvals(self._owners)))

    async def remove(self, message_id: str) -> None:
        await self._removed("", message_id)

    async def expire(self, now: float) -> int:
        dropped = 0
        while True:
            batch = await self._removed(repr(float(now)), str(_EXPIRE_BATCH))
            dropped += batch
            if batch < _EXPIRE_BATCH:
                return dropped

    async def claim(self, message_id: str, seconds: float) -> bool:
        self._database.client  # noqa: B018  # raises where it is not open
        keys = [self._owners, self._claim(message_id)]
        arguments: list[str | int] = [message_id, int(seconds * 1000)]
        return bool(await self._database.answered(self._take(keys=keys, args=arguments)))

    async def release(self, message_id: str) -> None:
        await self._database.answered(self._database.client.delete(self._claim(message_id)))

    async def _removed(self, now: str, what: str) -> int:
        self._database.client  # noqa: B018  # raises where it is not open
        arguments = [self._of(""), self._claim(""), now, what]
        removed: int = await self._database.answered(self._remove(keys=[self._owners, self._expiry], args=arguments))
        return removed

    @property
    def _owners(self) -> str:
        return f"{self._prefix}:owners"

    @property
    def _expiry(self) -> str:
        return f"{self._prefix}:expiry"

    def _of(self, user: str) -> str:
        return f"{self._prefix}s:{user}"

    def _claim(self, message_id: str) -> str:
        return f"{self._prefix}:claim:{message_id}"


def _read(text: str) -> InstantMessage | None:
    """Return the message of a value; None for an unreadable value, which is logged."""
    try:
        message = _MESSAGE.validate_json(text)
        return replace(message, body=base64.b64decode(message.body), kept=True)
    except ValueError:
        log.warning("a message in the store cannot be read")
        return None
