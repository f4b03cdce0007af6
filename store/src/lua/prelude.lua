-- What every queue script begins with. KEYS[1] is the shard's `…:meta`, ARGV[1] the
-- arguments as msgpack. docs/QUEUE.md describes the keys and the states.

local base = string.sub(KEYS[1], 1, -5)
local arg = cmsgpack.unpack(ARGV[1])
local call = redis.call

local FRESH, RETRY, DELAYED, SLOT_BASE = 0, 1, 2, 16
local END = { d = 4, f = 5, s = 6, x = 7, c = 8, q = 9 }
local END_COUNTER = { d = 'delivered', f = 'failed', s = 'suppressed', x = 'expired', c = 'cancelled', q = 'set_aside' }

local function whole(number)
  return string.format('%.0f', number)
end

-- The clock is Redis's own; only the conformance suite hands one in. It never goes
-- backwards. A silence of half a lease period means that nobody could renew: then
-- nothing expires for one period.
local meta = call('HMGET', KEYS[1], 'clock', 'grace', 'token')
local now = arg.now
if now == 0 then
  local t = call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
local last_clock = tonumber(meta[1]) or 0
local grace = tonumber(meta[2]) or 0
local last_token = tonumber(meta[3]) or 0
if now < last_clock then now = last_clock end

local function tick()
  if last_clock > 0 and now - last_clock > arg.period / 2 then
    grace = now + arg.period
    call('HSET', KEYS[1], 'clock', whole(now), 'grace', whole(grace))
  elseif now > last_clock then
    call('HSET', KEYS[1], 'clock', whole(now))
  end
end

local function unpack_indices(packed)
  local list = {}
  for i = 1, #packed, 2 do
    local lo, hi = string.byte(packed, i, i + 1)
    list[#list + 1] = lo + hi * 256
  end
  return list
end

local function pack_indices(list)
  local out = {}
  for i = 1, #list do
    out[i] = string.char(list[i] % 256, math.floor(list[i] / 256))
  end
  return table.concat(out)
end

local function pack_range(from, n)
  local out = {}
  for i = 1, n do
    local index = from + i - 1
    out[i] = string.char(index % 256, math.floor(index / 256))
  end
  return table.concat(out)
end

-- `s` with the bytes at the ascending 0-based `indices` all replaced by `byte`.
local function replace_bytes(s, indices, byte)
  local out, from = {}, 1
  for i = 1, #indices do
    local at = indices[i] + 1
    if at > from then out[#out + 1] = string.sub(s, from, at - 1) end
    out[#out + 1] = byte
    from = at + 1
  end
  out[#out + 1] = string.sub(s, from)
  return table.concat(out)
end

-- `s` with ascending ranges replaced: 0-based begin and the new bytes in turn.
local function replace_ranges(s, ranges)
  local out, from = {}, 1
  for i = 1, #ranges, 2 do
    local at = ranges[i] + 1
    if at > from then out[#out + 1] = string.sub(s, from, at - 1) end
    out[#out + 1] = ranges[i + 1]
    from = at + #ranges[i + 1]
  end
  out[#out + 1] = string.sub(s, from)
  return table.concat(out)
end

-- Whether the bytes of this 0-based range are all this one.
local function is_all(s, from, n, byte)
  return string.sub(s, from + 1, from + n) == string.rep(string.char(byte), n)
end

-- A batch's open state: l lane, st states, at attempts, cur cursor, left, s slots.
local function new_open(lane, n)
  return { l = lane, st = string.rep('\0', n), at = string.rep('\0', n), cur = 0, left = n, s = {} }
end

local function load_open(batch)
  local packed = call('HGET', base .. 'open', batch)
  return packed and cmsgpack.unpack(packed)
end

local function save_open(batch, open)
  call('HSET', base .. 'open', batch, cmsgpack.pack(open))
end

local function campaign_of(lane)
  return string.match(lane, '^(c%d+)/')
end

local function campaign_key(campaign)
  return base .. 'camp:' .. campaign
end

local states = {}
local function campaign_state(campaign)
  if not states[campaign] then
    local got = call('HMGET', campaign_key(campaign), 'state', 'priority')
    states[campaign] = { got[1] or 'held', got[2] or '1' }
  end
  return states[campaign][1], states[campaign][2]
end

local function is_leasable(state)
  return state == 'running' or state == 'cancelling'
end

local function make_ready(lane)
  local state, priority = campaign_state(campaign_of(lane))
  if is_leasable(state) then call('ZADD', base .. 'ready', priority, lane) end
end

local function has_work(lane)
  return call('EXISTS', base .. 'fresh:' .. lane) == 1 or call('EXISTS', base .. 'retry:' .. lane) == 1
end

local function rest_if_idle(lane)
  if not has_work(lane) then call('ZREM', base .. 'ready', lane) end
end

-- Retry entries are `batch:indices`, the indices packed to two bytes each.
local function retry_entry(batch, packed)
  return batch .. ':' .. packed
end

local function split_retry(entry)
  local colon = string.find(entry, ':', 1, true)
  return string.sub(entry, 1, colon - 1), unpack_indices(string.sub(entry, colon + 1))
end

local function is_known(relay)
  local deadline = tonumber(call('ZSCORE', base .. 'relays', relay) or nil)
  return deadline and (deadline >= now or now < grace)
end

local function outbox_is_full()
  return call('XLEN', base .. 'out') >= arg.outbox_max
end

-- The id of the newest event ever told here; nil before the first.
local function last_event()
  if call('EXISTS', base .. 'out') == 0 then return nil end
  local info = call('XINFO', 'STREAM', base .. 'out')
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then return info[i + 1] end
  end
end

-- Takes a lease back: what it still holds waits for a retry.
local function give_back(relay, token, place)
  call('HDEL', base .. 'lease:' .. relay, token)
  local batch, slot = string.match(place, '^(%d+):(%d+)$')
  slot = tonumber(slot)
  local open = load_open(batch)
  if not open or not open.s[slot] or whole(open.s[slot][1]) ~= token then return end
  open.s[slot] = nil
  local held, byte = {}, SLOT_BASE + slot
  for i, b in ipairs({ string.byte(open.st, 1, -1) }) do
    if b == byte then held[#held + 1] = i - 1 end
  end
  open.st = replace_bytes(open.st, held, string.char(RETRY))
  save_open(batch, open)
  if #held > 0 then
    call('RPUSH', base .. 'retry:' .. open.l, retry_entry(batch, pack_indices(held)))
    make_ready(open.l)
  end
end

-- One group of the delay index becomes ready.
local function promote_group(group)
  local packed = call('HGET', base .. 'delayed', group)
  call('HDEL', base .. 'delayed', group)
  call('ZREM', base .. 'delay', group)
  local batch = string.match(group, '^(%d+):')
  local open = load_open(batch)
  if not open or not packed then return end
  local listed, live = unpack_indices(packed), {}
  table.sort(listed)
  local previous = -1
  for _, i in ipairs(listed) do
    if i ~= previous and string.byte(open.st, i + 1) == DELAYED then live[#live + 1] = i end
    previous = i
  end
  if #live == 0 then return end
  open.st = replace_bytes(open.st, live, string.char(RETRY))
  save_open(batch, open)
  call('RPUSH', base .. 'retry:' .. open.l, retry_entry(batch, pack_indices(live)))
  make_ready(open.l)
end
