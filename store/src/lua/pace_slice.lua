-- pace_slice: a relay asks how much it may send to one (source, site) within the next
-- slice. One GCRA for all relays, by Redis's clock; a relay's part is at most its part of
-- the demand. Answers granted, connections allowed, rate, version, relays that share,
-- milliseconds until more. Without a record: version 0 and nothing granted.
local record = call('HMGET', KEYS[1], 'version', 'rate', 'connections', 'tat')
if not record[1] then return { 0, 0, '0', 0, 0, 0 } end
local rate, limit = tonumber(record[2]), tonumber(record[3])

local shares = base .. 'shares'
local demand, in_use, sharing = arg.demand, 0, 1
local all = call('HGETALL', shares)
for i = 1, #all, 2 do
  local expires, theirs, used = string.match(all[i + 1], '^(%d+):(%d+):(%d+)$')
  if tonumber(expires) < now then
    call('HDEL', shares, all[i])
  elseif all[i] ~= arg.relay then
    demand = demand + tonumber(theirs)
    in_use = in_use + tonumber(used)
    if tonumber(theirs) > 0 then sharing = sharing + 1 end
  end
end
call('HSET', shares, arg.relay, whole(now + arg.expiry_ms) .. ':' .. whole(arg.demand) .. ':' .. whole(arg.in_use))
call('PEXPIRE', shares, arg.expiry_ms * 2)

local fair = math.ceil(limit / sharing)
local connections = math.max(0, math.min(limit - in_use, fair))
if rate <= 0 or arg.demand == 0 then return { 0, connections, record[2], tonumber(record[1]), sharing, arg.slice_ms } end

-- In tenths of microseconds, so that thousands a second are told apart; a slice of
-- history at most is forgiven, so that idling buys no burst.
local interval = 1e7 / rate
local clock = now * 1e4
local window = arg.slice_ms * 1e4
local tat = math.max(tonumber(record[4] or '0'), clock - window)
local room = math.floor((clock + window - tat) / interval)
-- Slower than one a slice: one, when its time has come.
if room < 1 and tat <= clock then room = 1 end
-- A relay's part of what a slice brings, not of what
-- is left, or whoever asks first would have twice as much as the next.
local part = room
if sharing > 1 then part = math.max(1, math.ceil(window / interval * arg.demand / demand)) end
local granted = math.max(0, math.min(room, part, arg.demand))
call('HSET', KEYS[1], 'tat', whole(tat + granted * interval))
local wait = 0
if granted == 0 then wait = math.ceil((math.min(tat, tat + interval - window) - clock) / 1e4) end
return { granted, connections, record[2], tonumber(record[1]), sharing, wait }
