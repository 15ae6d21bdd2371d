"""Records of calls in Redis, sealed, for the other gateways of a cluster: who goes on with those of one that is gone.

Each gateway has a hash of records by the id of the call, and one hash says of every web leg which gateway has it. What
must be done by one alone is a script inside Redis: all records of a gateway that is gone go to one other at once.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.call.journal import JournalError
from gateway.store.journal_shared import Begun
from gateway.store.redis_database import RedisDatabase

log = structlog.get_logger(__name__)

_NONCE = 12
_REMEMBERED = 86_400
"""Seconds that a gateway which comes back is told which of its calls others have taken."""

# KEYS: our records, gateways by leg, gateways. ARGV: our name, then id and text of each, "" for one that is over. A
# text begins with a line of the names of its web legs.
_WRITE = """
for i = 2, #ARGV, 2 do
  local id, text = ARGV[i], ARGV[i + 1]
  local old = redis.call('HGET', KEYS[1], id)
  for tag in string.gmatch(string.match(old or '', '^[^\\n]*'), '%S+') do redis.call('HDEL', KEYS[2], tag) end
  if text == '' then
    redis.call('HDEL', KEYS[1], id)
  else
    redis.call('HSET', KEYS[1], id, text)
    for tag in string.gmatch(string.match(text, '^[^\\n]*'), '%S+') do redis.call('HSET', KEYS[2], tag, ARGV[1]) end
  end
end
redis.call('SADD', KEYS[3], ARGV[1])
return 1
"""

# KEYS: their records, ours, gateways by leg, gateways, the word that they are starting, what was taken of them.
# ARGV: their name, ours, how long they are told (s). Whose first answer was lost is given the same once more.
_TAKE = """
if redis.call('EXISTS', KEYS[5]) == 1 then return {} end
local entries = redis.call('HGETALL', KEYS[1])
for i = 1, #entries, 2 do
  redis.call('HSET', KEYS[2], entries[i], entries[i + 1])
  redis.call('SADD', KEYS[6], entries[i])
  for tag in string.gmatch(string.match(entries[i + 1], '^[^\\n]*'), '%S+') do
    redis.call('HSET', KEYS[3], tag, ARGV[2])
  end
end
if #entries > 0 then redis.call('EXPIRE', KEYS[6], ARGV[3]) end
redis.call('DEL', KEYS[1])
redis.call('SREM', KEYS[4], ARGV[1])
redis.call('SADD', KEYS[4], ARGV[2])
local taken = {}
for _, id in ipairs(redis.call('SMEMBERS', KEYS[6])) do
  local text = redis.call('HGET', KEYS[2], id)
  if text then
    taken[#taken + 1] = id
    taken[#taken + 1] = text
  end
end
return taken
"""

# KEYS: our records, the word that we are starting, what was taken of us. ARGV: how long that word stands (ms).
_BEGIN = """
redis.call('SET', KEYS[2], '1', 'PX', ARGV[1])
local taken, entries = redis.call('SMEMBERS', KEYS[3]), redis.call('HGETALL', KEYS[1])
redis.call('DEL', KEYS[3])
return {taken, entries}
"""


class RedisJournal:
    """The SharedStore contract over Redis."""

    def __init__(
        self,
        url: str,
        node: str,
        key: bytes,
        random: Callable[[int], bytes],
        *,
        prefix: str = "gateway:",
        timeout: float = 2.0,
    ) -> None:
        """`url` as `RedisDatabase` has it; `node` is our name; `key` has 32 octets; `timeout` bounds commands (s)."""
        self._database = RedisDatabase(url, timeout, "the journal of the cluster", JournalError)
        self._prefix = f"{self._database.prefix(prefix)}journal:"
        self._node = node
        self._cipher = AESGCM(key)
        self._random = random
        self.close = self._database.close

    async def open(self) -> None:
        await self._database.open()
        client = self._database.client
        self._write = client.register_script(_WRITE)
        self._take = client.register_script(_TAKE)
        self._begin = client.register_script(_BEGIN)

    async def begin(self, seconds: float) -> Begun:
        keys = [self._records(self._node), self._starting(self._node), self._taken(self._node)]
        taken, entries = await self._database.answered(self._begin(keys=keys, args=[int(seconds * 1000)]))
        return Begun(frozenset(taken), self._opened(entries))

    async def hold(self, seconds: float) -> None:
        client = self._database.client
        await self._database.answered(client.set(self._starting(self._node), "1", px=int(seconds * 1000)))

    async def started(self) -> None:
        await self._database.answered(self._database.client.delete(self._starting(self._node)))

    async def write(self, changes: Mapping[str, tuple[bytes, Sequence[str]] | None]) -> None:
        arguments = [self._node]
        for call_id, change in changes.items():
            text = ""
            if change is not None:
                record, tags = change
                nonce = self._random(_NONCE)
                sealed = nonce + self._cipher.encrypt(nonce, record, call_id.encode())
                text = f"{' '.join(tags)}\n{base64.b64encode(sealed).decode()}"
            arguments += [call_id, text]
        await self._database.answered(
            self._write(keys=[self._records(self._node), self._tags, self._nodes], args=arguments)
        )

    async def nodes(self) -> frozenset[str]:
        return frozenset(await self._database.answered(self._database.client.smembers(self._nodes)))

    async def node_of(self, tag: str) -> str | None:
        node: str | None = await self._database.answered(self._database.client.hget(self._tags, tag))
        return node

    async def take(self, node: str) -> dict[str, bytes]:
        keys = [self._records(node), self._records(self._node), self._tags, self._nodes]
        keys += [self._starting(node), self._taken(node)]
        return self._opened(await self._database.answered(self._take(keys=keys, args=[node, self._node, _REMEMBERED])))

    def _opened(self, entries: Sequence[str]) -> dict[str, bytes]:
        """Of fields and values in turns; what does not open with the key is left out."""
        found = {}
        for call_id, text in zip(entries[::2], entries[1::2], strict=True):
            try:
                sealed = base64.b64decode(text.partition("\n")[2], validate=True)
                found[call_id] = self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], call_id.encode())
            except (binascii.Error, InvalidTag, ValueError):
                log.warning("a call in the journal of the cluster cannot be read", call_id=call_id[:100])
        return found

    @property
    def _tags(self) -> str:
        return f"{self._prefix}legs"

    @property
    def _nodes(self) -> str:
        return f"{self._prefix}nodes"

    def _records(self, node: str) -> str:
        return f"{self._prefix}calls:{node}"

    def _starting(self, node: str) -> str:
        return f"{self._prefix}starting:{node}"

    def _taken(self, node: str) -> str:
        return f"{self._prefix}taken:{node}"
