"""What runs inside the server, each script as one step that nothing interleaves with.

`COMMIT` alone writes what is kept. The writers' turn, the images of what records were, and the feed are left out of
the append-only file (`REPL_NONE`): they serve those who are connected, and a restarted server does without them.
The turn only keeps writers from working in vain; that nothing came between is decided by the commit number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

SLOTS = 1024
"""So many of the last commits are known by the token of who made them."""

IMAGES_BYTES = 16_000_000
"""So much is kept of what records were before the last commits, for readers that began before them."""

WAITER_MILLIS = 1_000
"""A waiting writer that has not asked for so long has gone."""


class Script(msgspec.Struct, frozen=True):
    """Lua text with the digest by which a server knows it."""

    text: str
    digest: str


def _script(text: str) -> Script:
    return Script(text, hashlib.sha1(text.encode()).hexdigest())  # noqa: S324 - the name Redis gives it


def packed(value: bytes | str | int | Sequence[Any]) -> bytes:
    """Return MessagePack as the server's library reads it, which knows no other kind than raw strings and arrays."""
    parts: list[bytes] = []
    _pack(value, parts)
    return b"".join(parts)


def _pack(value: Any, parts: list[bytes]) -> None:
    if type(value) in _ARRAYS:
        parts.append(b"\xdd" + len(value).to_bytes(4, "big"))
        for part in value:
            if type(part) is bytes:
                parts.append(_STRING + len(part).to_bytes(4, "big") + part)
            else:
                _pack(part, parts)
        return
    if type(value) is int and value == 0:
        parts.append(_ZERO)
        return
    data = value if type(value) is bytes else str(value).encode()
    parts.append(_STRING + len(data).to_bytes(4, "big") + data)


_ARRAYS = frozenset({list, tuple})
_STRING = b"\xdb"
_ZERO = _STRING + (1).to_bytes(4, "big") + b"0"


TAKE = _script(f"""
-- Stand in line for the turn to write: KEYS meta, line, alive, ticket; ARGV token, lease in milliseconds.
redis.set_repl(redis.REPL_NONE)
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now)) do
  redis.call('ZREM', KEYS[2], gone)
  redis.call('ZREM', KEYS[3], gone)
end
if not redis.call('ZSCORE', KEYS[2], ARGV[1]) then
  redis.call('ZADD', KEYS[2], redis.call('INCR', KEYS[4]), ARGV[1])
end
local place = redis.call('ZRANK', KEYS[2], ARGV[1])
redis.call('ZADD', KEYS[3], now + (place == 0 and ARGV[2] or {WAITER_MILLIS}), ARGV[1])
local found = redis.call('HMGET', KEYS[1], 'commit', 'last', 'seq', 'now', 'format', 'indexes')
return {{place, unpack(found, 1, 6)}}
""")

DROP = _script("""
-- Leave the line: KEYS line, alive; ARGV token.
redis.set_repl(redis.REPL_NONE)
redis.call('ZREM', KEYS[1], ARGV[1])
return redis.call('ZREM', KEYS[2], ARGV[1])
""")

COMMIT = _script(f"""
-- Apply a batch if nothing was committed since it was read for, and it is nobody else's turn; leave the line.
-- KEYS meta, images, weight, feed, line, alive; ARGV expected and its token, next, slot, token, line's token,
-- seq, now, format, indexes, batch. The first write is one that a full or read-only server refuses, before any other.
local found = redis.call('HMGET', KEYS[1], 'commit', 'last')
if (found[1] or '0') ~= ARGV[1] or (found[2] or '') ~= ARGV[2] then return 0 end
local head = redis.call('ZRANGE', KEYS[5], 0, 0)[1]
if head and head ~= ARGV[6] then
  local clock = redis.call('TIME')
  local ends = tonumber(redis.call('ZSCORE', KEYS[6], head) or 0)
  if ends > clock[1] * 1000 + math.floor(clock[2] / 1000) then return 0 end
end
local batch = cmsgpack.unpack(ARGV[11])
local function each(name, key, items)
  for i = 1, #items, 1000 do redis.call(name, key, unpack(items, i, math.min(i + 999, #items))) end
end
local images, size = {{}}, 0
local function remember(collection, key, fields)
  for i = 1, #fields, 1000 do
    local held = redis.call('HMGET', key, unpack(fields, i, math.min(i + 999, #fields)))
    for j = 1, #held do
      images[#images + 1] = {{collection, fields[i + j - 1], held[j]}}
      size = size + #fields[i + j - 1] + (held[j] and #held[j] or 0) + #collection
    end
  end
end
for _, part in ipairs(batch[1]) do
  local fields = {{}}
  for i = 1, #part[3], 2 do fields[#fields + 1] = part[3][i] end
  for i = 1, #part[4] do fields[#fields + 1] = part[4][i] end
  remember(part[1], part[2], fields)
end
local before = redis.call('HGET', KEYS[1], 'seq') or '0'
redis.call('HSET', KEYS[1], ARGV[4], ARGV[5], 'commit', ARGV[3], 'last', ARGV[5], 'seq', ARGV[7], 'now', ARGV[8],
  'format', ARGV[9], 'indexes', ARGV[10])
for _, key in ipairs(batch[3]) do redis.call('DEL', key) end
for _, part in ipairs(batch[1]) do
  each('HSET', part[2], part[3])
  each('HDEL', part[2], part[4])
end
for _, part in ipairs(batch[2]) do
  each('ZREM', part[1], part[3])
  each('ZADD', part[1], part[2])
end
redis.set_repl(redis.REPL_NONE)
if size < {IMAGES_BYTES // 4} then
  local image = cmsgpack.pack({{ARGV[2], ARGV[5], images}})
  local weight = (tonumber(redis.call('GET', KEYS[3])) or 0) + #image
  while weight > {IMAGES_BYTES} do
    local gone = redis.call('ZPOPMIN', KEYS[2])
    if not gone[1] then weight = #image break end
    weight = weight - #gone[1]
  end
  redis.call('ZADD', KEYS[2], ARGV[3], image)
  redis.call('SET', KEYS[3], string.format('%.0f', weight))
end
if before ~= ARGV[7] then redis.call('XADD', KEYS[4], 'MAXLEN', 16, '*', 'seq', ARGV[7]) end
redis.call('ZREM', KEYS[5], ARGV[6])
redis.call('ZREM', KEYS[6], ARGV[6])
return 1
""")

READ = _script("""
-- Return the replies to commands that read: ARGV the commands.
local replies = {}
for i, command in ipairs(cmsgpack.unpack(ARGV[1])) do replies[i] = redis.call(unpack(command)) end
return replies
""")

SETTLE = _script(f"""
-- Say what became of a commit whose answer was lost: 1 it is in, 0 it is not and will not be, -1 nobody knows.
-- KEYS meta; ARGV expected and its token, next, slot, token. One still under way is kept out by a commit of nothing.
local found = redis.call('HMGET', KEYS[1], 'commit', 'last', ARGV[4])
if found[3] == ARGV[5] then return 1 end
if tonumber(found[1] or 0) - tonumber(ARGV[1]) >= {SLOTS} then return -1 end
if (found[1] or '0') == ARGV[1] and (found[2] or '') == ARGV[2] then
  redis.call('HSET', KEYS[1], 'commit', ARGV[3], 'last', ARGV[5] .. ' was nothing')
end
return 0
""")

PROBE = _script("""
-- Do once, on a key of its own, what a commit does, which would else stop half way: KEYS probe.
redis.set_repl(redis.REPL_NONE)
redis.call('HSET', KEYS[1], 'a', 1)
redis.call('HGET', KEYS[1], 'a')
redis.call('HMGET', KEYS[1], 'a')
redis.call('HDEL', KEYS[1], 'a')
redis.call('ZADD', KEYS[1], 0, 'a')
redis.call('ZREM', KEYS[1], 'a')
redis.call('ZPOPMIN', KEYS[1])
redis.call('SET', KEYS[1], 'a')
redis.call('GET', KEYS[1])
redis.call('DEL', KEYS[1])
redis.call('XADD', KEYS[1], 'MAXLEN', 16, '*', 'a', 1)
return redis.call('DEL', KEYS[1])
""")
