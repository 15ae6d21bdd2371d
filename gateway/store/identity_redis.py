"""Identity store in Redis: shared by several gateways, with expiry by Redis.

An address of record is one hash. Operations atomic across gateways (the limit, replacing a binding) are scripts inside
Redis. A value is a line "sequence expires identity", read by the scripts, and the binding as JSON. A flow's identity
(RFC 5626) also names its field; a plain contact has identity "-" and its contact as field. Older fields of flows, named
by contact, are still read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import redis.asyncio as redis
import structlog
from pydantic import TypeAdapter

from gateway.identity.model import Binding, Credential
from gateway.identity.store import StoreError
from gateway.store.redis_database import RedisDatabase

log = structlog.get_logger(__name__)

_EXPIRE_BATCH = 500
_BINDING, _DIGESTS = TypeAdapter(Binding), TypeAdapter(dict[str, str])

# KEYS: hash, expiry index, sequence. ARGV: aor, field, now, limit, expires_at, identity, JSON.
_PUT = """
local now, expires = tonumber(ARGV[3]), tonumber(ARGV[5])
local entries = redis.call('HGETALL', KEYS[1])
local gone, live, last = {}, 0, expires
for i = 1, #entries, 2 do
  local _, at, identity = string.match(entries[i + 1], '^(%d+) (%S+) (%S+)\\n')
  at = tonumber(at)
  if identity == '-' then identity = entries[i] end
  if at <= now or identity == ARGV[2] then
    gone[#gone + 1] = entries[i]
  else
    live = live + 1
    if at > last then last = at end
  end
end
if expires > now and live >= tonumber(ARGV[4]) then return 0 end
for _, field in ipairs(gone) do
  redis.call('HDEL', KEYS[1], field)
  redis.call('ZREM', KEYS[2], ARGV[1] .. '\\n' .. field)
end
if expires > now then
  local head = redis.call('INCR', KEYS[3]) .. ' ' .. ARGV[5] .. ' ' .. ARGV[6] .. '\\n'
  redis.call('HSET', KEYS[1], ARGV[2], head .. ARGV[7])
  redis.call('ZADD', KEYS[2], ARGV[5], ARGV[1] .. '\\n' .. ARGV[2])
  redis.call('PEXPIRE', KEYS[1], math.ceil((last - now) * 1000))
end
return 1
"""

# KEYS: directory. ARGV: entry, old text, new text.
_SWAP = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
"""

# KEYS: hash, expiry index, sequence. ARGV: aor, now; number expected, with field and JSON each; number removed, with
# fields; number put, with field, expires_at, identity and JSON each.
_CHANGE = """
local now, place = tonumber(ARGV[2]), 3
local function take()
  place = place + 1
  return ARGV[place - 1]
end
local entries = redis.call('HGETALL', KEYS[1])
local live, count, last = {}, 0, now
for i = 1, #entries, 2 do
  local at, identity, text = string.match(entries[i + 1], '^%d+ (%S+) (%S+)\\n(.*)$')
  if tonumber(at) > now then
    if identity == '-' then identity = entries[i] end
    live[identity] = {tonumber(at), text, entries[i]}
    count = count + 1
  end
end
local function drop(name)
  local old = live[name]
  if not old then return end
  live[name] = nil
  redis.call('HDEL', KEYS[1], old[3])
  redis.call('ZREM', KEYS[2], ARGV[1] .. '\\n' .. old[3])
end
local expected = tonumber(take())
if expected ~= count then return 0 end
for _ = 1, expected do
  local found, text = live[take()], take()
  if not found or found[2] ~= text then return 0 end
end
for _ = 1, tonumber(take()) do
  drop(take())
end
for _ = 1, tonumber(take()) do
  local field, at, identity, text = take(), take(), take(), take()
  drop(field)
  redis.call('HSET', KEYS[1], field, redis.call('INCR', KEYS[3]) .. ' ' .. at .. ' ' .. identity .. '\\n' .. text)
  redis.call('ZADD', KEYS[2], at, ARGV[1] .. '\\n' .. field)
  live[field] = {tonumber(at), text, field}
end
for _, one in pairs(live) do
  if one[1] > last then last = one[1] end
end
if last > now then redis.call('PEXPIRE', KEYS[1], math.ceil((last - now) * 1000)) end
return 1
"""

# KEYS: hash, expiry index. ARGV: aor.
_REMOVE = """
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  redis.call('ZREM', KEYS[2], ARGV[1] .. '\\n' .. field)
end
redis.call('DEL', KEYS[1])
"""

# KEYS: expiry index. ARGV: prefix of the hashes, now, batch size.
_EXPIRE = """
local members = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[2], 'LIMIT', 0, ARGV[3])
for _, member in ipairs(members) do
  local aor, contact = string.match(member, '^([^\\n]*)\\n(.*)$')
  redis.call('HDEL', ARGV[1] .. aor, contact)
  redis.call('ZREM', KEYS[1], member)
end
return #members
"""


class RedisStore:
    """IdentityStore over Redis."""

    def __init__(self, url: str, prefix: str = "gateway:", timeout: float = 2.0) -> None:
        """`url`: as for `RedisDatabase`. `prefix`: common prefix of all keys. `timeout`: bound of every command, in
        seconds."""
        self._database = RedisDatabase(url, timeout, "the Redis store", StoreError)
        self._prefix = self._database.prefix(prefix)
        self.close = self._database.close

    async def open(self) -> None:
        await self._database.open()
        client = self._database.client
        self._put = client.register_script(_PUT)
        self._swap = client.register_script(_SWAP)
        self._change = client.register_script(_CHANGE)
        self._remove = client.register_script(_REMOVE)
        self._expire = client.register_script(_EXPIRE)

    async def bindings(self, aor: str, now: float) -> Sequence[Binding]:
        entries: list[str] = await self._database.answered(self._opened().hvals(self._hash(aor)))
        found = [read for entry in entries if (read := _parse(entry)) is not None]
        live = [(sequence, binding) for sequence, binding in found if binding.expires_at > now]
        return [binding for _, binding in sorted(live, key=lambda pair: (-pair[1].q, -pair[0]))]

    async def put_binding(self, binding: Binding, now: float, limit: int) -> None:
        self._opened()
        stored = await self._database.answered(
            self._put(
                keys=[self._hash(binding.aor), self._index, f"{self._prefix}sequence"],
                args=[
                    binding.aor,
                    _field(binding),
                    repr(float(now)),
                    limit,
                    repr(float(binding.expires_at)),
                    _identity(binding),
                    _text(binding),
                ],
            )
        )
        if not stored:
            raise StoreError(f"more than {limit} contacts are not kept for one address")

    async def change_bindings(
        self, aor: str, expected: Sequence[Binding], removed: Sequence[Binding], put: Sequence[Binding], now: float
    ) -> bool:
        self._opened()
        arguments = [aor, repr(float(now)), str(len(expected))]
        for binding in expected:
            arguments += [_field(binding), _text(binding)]
        arguments += [str(len(removed)), *map(_field, removed), str(len(put))]
        for binding in put:
            expires = repr(float(binding.expires_at))
            arguments += [_field(binding), expires, _identity(binding), _text(binding)]
        keys = [self._hash(aor), self._index, f"{self._prefix}sequence"]
        return bool(await self._database.answered(self._change(keys=keys, args=arguments)))

    async def remove_all(self, aor: str) -> None:
        self._opened()
        await self._database.answered(self._remove(keys=[self._hash(aor), self._index], args=[aor]))

    async def expire(self, now: float) -> int:
        self._opened()
        dropped = 0
        while True:
            args = [f"{self._prefix}bindings:", repr(float(now)), str(_EXPIRE_BATCH)]
            batch: int = await self._database.answered(self._expire(keys=[self._index], args=args))
            dropped += batch
            if batch < _EXPIRE_BATCH:
                return dropped

    async def credential(self, username: str, realm: str) -> Credential | None:
        text: str | None = await self._database.answered(self._opened().hget(self._credentials(realm), username))
        if text is None:
            return None
        try:
            return Credential(username, realm, _DIGESTS.validate_json(text))
        except ValueError:
            raise StoreError("a credential in the Redis store cannot be read") from None

    async def put_credential(self, credential: Credential) -> None:
        """Store a credential; without any HA1 remove the present credential."""
        client, key = self._opened(), self._credentials(credential.realm)
        if credential.ha1:
            await self._database.answered(client.hset(key, credential.username, json.dumps(credential.ha1)))
        else:
            await self._database.answered(client.hdel(key, credential.username))

    async def text(self, name: str, now: float) -> str | None:
        text: str | None = await self._database.answered(self._opened().get(f"{self._prefix}text:{name}"))
        return text

    async def put_text(self, name: str, text: str, expires_at: float, now: float) -> None:
        client, key, left = self._opened(), f"{self._prefix}text:{name}", int((expires_at - now) * 1000)
        await self._database.answered(client.set(key, text, px=left) if left > 0 else client.delete(key))

    async def entries(self) -> Mapping[str, str]:
        found: dict[str, str] = await self._database.answered(self._opened().hgetall(self._directory))
        return found

    async def put_entry(self, name: str, text: str | None, *, new: bool = False, old: str | None = None) -> bool:
        client = self._opened()
        if text is None:
            return bool(await self._database.answered(client.hdel(self._directory, name)))
        if old is not None:
            return bool(await self._database.answered(self._swap(keys=[self._directory], args=[name, old, text])))
        if new:
            return bool(await self._database.answered(client.hsetnx(self._directory, name, text)))
        await self._database.answered(client.hset(self._directory, name, text))
        return True

    def _opened(self) -> redis.Redis:
        return self._database.client

    @property
    def _index(self) -> str:
        return f"{self._prefix}expiry"

    @property
    def _directory(self) -> str:
        return f"{self._prefix}directory"

    def _hash(self, aor: str) -> str:
        return f"{self._prefix}bindings:{aor}"

    def _credentials(self, realm: str) -> str:
        return f"{self._prefix}credentials:{realm}"


def _text(binding: Binding) -> str:
    """Return the binding as JSON, comparable with older versions: newer fields appear only if set."""
    values = asdict(binding)
    if not binding.node:
        del values["node"]
    return json.dumps(values)


def _field(binding: Binding) -> str:
    """Return the field name of the binding."""
    identity = _identity(binding)
    return binding.contact if identity == "-" else identity


def _identity(binding: Binding) -> str:
    """Return a hash of instance and reg-id, "-" without a flow (RFC 5626)."""
    if binding.instance is None or binding.reg_id is None:
        return "-"
    return hashlib.sha256(f"{binding.reg_id} {binding.instance}".encode()).hexdigest()


def _parse(entry: str) -> tuple[int, Binding] | None:
    """Return sequence number and binding of a hash field; None for an unreadable one, e.g. of another version."""
    head, _, text = entry.partition("\n")
    try:
        return int(head.partition(" ")[0]), _BINDING.validate_json(text)
    except ValueError:
        log.warning("a binding in the store cannot be read")
        return None
