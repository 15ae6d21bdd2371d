"""Sealed records of calls in Redis, from which other gateways of a cluster resume the calls of a lost gateway.

Each gateway has a hash of records by call id, and one hash maps web legs to gateways. Exclusive operations are scripts
inside Redis: a record moves to one other gateway, not before its owner's lease has expired, and stays listed as taken
on both sides until each has acknowledged.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Collection, Mapping, Sequence

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.call.journal import JournalError
from gateway.store.journal_shared import Begun
from gateway.store.redis_database import RedisDatabase

log = structlog.get_logger(__name__)

_NONCE = 12
_REMEMBERED = 86_400
"""Seconds for which a returning gateway is told of its calls taken by others, and of its earlier starts."""

_LONGEST = 180_000
"""Longest total time in milliseconds for which repeated starts reserve a gateway's calls without a lease."""
_MOVED = 200
"""Records per move, so that Redis serves others in between."""
_TOLD = 1_000
"""Call ids reported to a gateway at a time."""

# KEYS: our records, gateways by leg, gateways, records taken from us, records taken by us and not written yet, read
# counts. ARGV: our name, then id and text of each record, "" for an ended call. The first line of a text lists its web
# legs.
_WRITE = """
for i = 2, #ARGV, 2 do
  local id, text = ARGV[i], ARGV[i + 1]
  if redis.call('SISMEMBER', KEYS[4], id) == 0 then
    local old = redis.call('HGET', KEYS[1], id)
    for tag in string.gmatch(string.match(old or '', '^[^\\n]*'), '%S+') do redis.call('HDEL', KEYS[2], tag) end
    if text == '' then
      redis.call('HDEL', KEYS[1], id)
    else
      redis.call('HSET', KEYS[1], id, text)
      for tag in string.gmatch(string.match(text, '^[^\\n]*'), '%S+') do redis.call('HSET', KEYS[2], tag, ARGV[1]) end
    end
    redis.call('SREM', KEYS[5], id)
    if old or text ~= '' then redis.call('HDEL', KEYS[6], id) end
  end
end
redis.call('SADD', KEYS[3], ARGV[1])
return 1
"""

# KEYS: their records, ours, gateways by leg, gateways; their start reservation, lease, taken and claimed sets; our
# taken and claimed sets. ARGV: their name, our name, lifetime of the taken set (s), most records to move.
_TAKE = """
if redis.call('EXISTS', KEYS[5]) == 1 or redis.call('EXISTS', KEYS[6]) == 1 then return 0 end
local ids = redis.call('HKEYS', KEYS[1])
local moved = math.min(#ids, tonumber(ARGV[4]))
for i = 1, moved do
  local id = ids[i]
  local text = redis.call('HGET', KEYS[1], id)
  redis.call('HSET', KEYS[2], id, text)
  redis.call('HDEL', KEYS[1], id)
  redis.call('SADD', KEYS[7], id)
  redis.call('SREM', KEYS[8], id)
  redis.call('SREM', KEYS[9], id)
  redis.call('SADD', KEYS[10], id)
  for tag in string.gmatch(string.match(text, '^[^\\n]*'), '%S+') do redis.call('HSET', KEYS[3], tag, ARGV[2]) end
end
if moved > 0 then
  redis.call('EXPIRE', KEYS[7], ARGV[3])
  redis.call('SADD', KEYS[4], ARGV[2])
end
if moved == #ids then redis.call('SREM', KEYS[4], ARGV[1]) end
return moved
"""

# KEYS: our records, read counts. ARGV: ids.
_READ = """
local found = {}
for i, id in ipairs(ARGV) do
  local text = redis.call('HGET', KEYS[1], id)
  found[i] = {text or '', text and redis.call('HINCRBY', KEYS[2], id, 1) or 0}
end
return found
"""

# KEYS: records of gateways. ARGV: ids. Returns the ids found at one of the gateways.
_HAVE = """
local found = {}
for _, id in ipairs(ARGV) do
  for _, records in ipairs(KEYS) do
    if redis.call('HEXISTS', records, id) == 1 then found[#found + 1] = id break end
  end
end
return found
"""

# KEYS: our records, our start reservation, time of the first start, records taken from us, records taken by us. ARGV:
# length of the reservation, its limit over all starts, lifetime of the time of the first start (ms).
_BEGIN = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local since = tonumber(redis.call('GET', KEYS[3]) or now)
redis.call('SET', KEYS[3], string.format('%d', since), 'PX', ARGV[3])
local left = math.min(tonumber(ARGV[1]), since + tonumber(ARGV[2]) - now)
if left > 0 then redis.call('SET', KEYS[2], '1', 'PX', left) else redis.call('DEL', KEYS[2]) left = 0 end
return {left, redis.call('SMEMBERS', KEYS[4]), redis.call('HKEYS', KEYS[1]), redis.call('SMEMBERS', KEYS[5])}
"""

# KEYS: our lease, our start reservation, time of the first start, records taken from us. ARGV: length of the lease
# (ms), 1 once the start is long over, most ids to report, then the ids acknowledged.
_RENEW = """
redis.call('SET', KEYS[1], '1', 'PX', ARGV[1])
redis.call('DEL', KEYS[2])
if ARGV[2] == '1' then redis.call('DEL', KEYS[3]) end
for i = 4, #ARGV do redis.call('SREM', KEYS[4], ARGV[i]) end
return redis.call('SRANDMEMBER', KEYS[4], ARGV[3])
"""


class RedisJournal:
    """SharedStore over Redis."""

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
        """`url`: as for `RedisDatabase`. `node`: our name. `key`: 32 octets. `timeout`: bound of commands, in
        seconds."""
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
        self._read = client.register_script(_READ)
        self._have = client.register_script(_HAVE)
        self._begin = client.register_script(_BEGIN)
        self._renew = client.register_script(_RENEW)

    async def begin(self, seconds: float) -> Begun:
        node = self._node
        keys = [self._records(node), self._key("starting", node), self._key("since", node)]
        keys += [self._key("taken", node), self._key("claimed", node)]
        held, taken, ids, claimed = await self._database.answered(
            self._begin(keys=keys, args=[int(seconds * 1000), _LONGEST, 1000 * _REMEMBERED])
        )
        return Begun(frozenset(taken), frozenset(ids), frozenset(claimed), held / 1000)

    async def hold(self, seconds: float) -> None:
        client = self._database.client
        await self._database.answered(client.set(self._key("starting", self._node), "1", px=int(seconds * 1000)))

    async def renew(self, seconds: float, let_go: Collection[str], *, is_up: bool) -> frozenset[str]:
        keys = [self._key(name, self._node) for name in ("lease", "starting", "since", "taken")]
        arguments: list[str | int] = [int(seconds * 1000), int(is_up), _TOLD, *let_go]
        return frozenset(await self._database.answered(self._renew(keys=keys, args=arguments)))

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
        keys = [self._records(self._node), self._tags, self._nodes]
        keys += [self._key("taken", self._node), self._key("claimed", self._node), self._times]
        await self._database.answered(self._write(keys=keys, args=arguments))

    async def nodes(self) -> frozenset[str]:
        return frozenset(await self._database.answered(self._database.client.smembers(self._nodes)))

    async def node_of(self, tag: str) -> str | None:
        node: str | None = await self._database.answered(self._database.client.hget(self._tags, tag))
        return node

    async def take(self, node: str) -> int:
        keys = [self._records(node), self._records(self._node), self._tags, self._nodes]
        keys += [self._key(name, node) for name in ("starting", "lease", "taken", "claimed")]
        keys += [self._key(name, self._node) for name in ("taken", "claimed")]
        arguments: list[str | int] = [node, self._node, _REMEMBERED, _MOVED]
        moved: int = await self._database.answered(self._take(keys=keys, args=arguments))
        return moved

    async def claimed(self) -> frozenset[str]:
        client = self._database.client
        return frozenset(await self._database.answered(client.smembers(self._key("claimed", self._node))))

    async def elsewhere(self, call_ids: Sequence[str]) -> frozenset[str]:
        found, asked, nodes = await self.claimed() & frozenset(call_ids), frozenset[str](), await self._others()
        while nodes - asked:
            # A record moves atomically: a record not found may have moved to a gateway not asked yet.
            keys, asked = [self._records(node) for node in sorted(nodes)], nodes
            found |= frozenset(await self._database.answered(self._have(keys=keys, args=list(call_ids))))
            nodes = await self._others()
        return found

    async def _others(self) -> frozenset[str]:
        return await self.nodes() - {self._node}

    async def records(self, call_ids: Sequence[str]) -> dict[str, tuple[bytes, int]]:
        if not call_ids:
            return {}
        keys = [self._records(self._node), self._times]
        texts = await self._database.answered(self._read(keys=keys, args=list(call_ids)))
        found = {}
        for call_id, (text, times) in zip(call_ids, texts, strict=True):
            try:
                sealed = base64.b64decode(text.partition("\n")[2], validate=True)
                found[call_id] = self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], call_id.encode()), times
            except (binascii.Error, InvalidTag, ValueError):
                log.warning("a call in the journal of the cluster cannot be read", call_id=call_id[:100])
        return found

    @property
    def _tags(self) -> str:
        return f"{self._prefix}legs"

    @property
    def _nodes(self) -> str:
        return f"{self._prefix}nodes"

    @property
    def _times(self) -> str:
        return f"{self._prefix}read"

    def _records(self, node: str) -> str:
        return self._key("calls", node)

    def _key(self, name: str, node: str) -> str:
        return f"{self._prefix}{name}:{node}"
