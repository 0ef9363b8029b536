"""What Redis itself does to one key, in one atomic step: compare, then write. Lua, run by EVALSHA.

Belongs here: the scripts; each answers 0 older, 1 written, 2 equal, 3 removed. Does not: sending them (write.py).
Orders are microseconds since 1970 as decimal text; Lua's numbers are exact up to the year 2255.
"""

from __future__ import annotations

_COMPARE = """
local stored = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '')
local order = tonumber(ARGV[2])
if stored and stored > order then return 0 end
"""
# ARGV: order field, order, then name and value of each field.
WRITE = (
    _COMPARE
    + """
redis.call('HSET', KEYS[1], unpack(ARGV))
if stored == order then return 2 end
return 1
"""
)
# ARGV: order field, order, then the names of the view's fields. The order stays: an older snapshot must not bring the row back.
REMOVE = (
    _COMPARE
    + """
local gone = redis.call('HDEL', KEYS[1], unpack(ARGV, 3))
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if gone > 0 then return 3 end
return 2
"""
)
# Rows of Feast's own interface. ARGV: order field, created ('' when not given), event seconds, event nanos, expiry in seconds
# ('' for none), '1' to write whatever is there; then _ts field and value, then name and value of each feature.
# Created times compare with the order; where one side has none, event times do. A varint of ten bytes is negative.
FEAST = """
local function parts(data)
  local found, position = {0, 0}, 1
  while position <= #data do
    local number = (string.byte(data, position) - string.byte(data, position) % 8) / 8
    local groups = {}
    repeat
      position = position + 1
      local byte = string.byte(data, position)
      groups[#groups + 1] = byte % 128
    until byte < 128
    position = position + 1
    local value, scale = 0, 1
    for index = 1, math.min(#groups, 9) do
      value = value + (#groups == 10 and 127 - groups[index] or groups[index]) * scale
      scale = scale * 128
    end
    found[number] = #groups == 10 and -value - 1 or value
  end
  return found
end
local order = tonumber(ARGV[2])
if ARGV[6] ~= '1' then
  local stored = redis.call('HMGET', KEYS[1], ARGV[1], ARGV[7])
  local before = tonumber(stored[1] or '')
  if order and before and order < before then return 0 end
  if stored[2] and not (order and before and order > before) then
    local event = parts(stored[2])
    local seconds, nanos = tonumber(ARGV[3]), tonumber(ARGV[4])
    if seconds < event[1] or (seconds == event[1] and nanos < event[2]) then return 0 end
  end
end
redis.call('HSET', KEYS[1], unpack(ARGV, 7))
if order then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
if ARGV[5] ~= '' then redis.call('EXPIRE', KEYS[1], ARGV[5]) end
return 1
"""
