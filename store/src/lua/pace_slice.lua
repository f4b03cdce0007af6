-- pace_slice: a relay asks how much it may send to one (source, site) within the next
-- slice, and of which flows. One GCRA for all relays, by Redis's clock, keeps the rate;
-- start-time fair queueing over all flows that wait anywhere divides it. The model is
-- `mail::share::Fair`, operation for operation, so that both give the same numbers.
-- Answers connections allowed, rate, version, relays that share, milliseconds until
-- more, then flow and number in turn. Without a record the rate is the caller's.
local record = call('HMGET', KEYS[1], 'version', 'rate', 'connections', 'tat', 'held')
local version = tonumber(record[1] or '0')
local rate_text = record[2] or string.format('%.4f', arg.rate_start)
local rate, limit = tonumber(record[2] or arg.rate_start), tonumber(record[3] or arg.connections_start)

-- What an operator has fixed holds instead of what was found, but for a block.
if record[5] ~= '1' then
  if arg.rate_fixed then rate, rate_text = arg.rate_fixed, string.format('%.4f', arg.rate_fixed) end
  limit = arg.connections_fixed or limit
end

local ROUNDS, FEW, LATE_SLICES, BEHIND_SLICES, FORGOTTEN_MS, TURN_MS = 8, 8, 2.5, 10, 10000, 5000
-- The field of the claims that holds the tags; no relay is called so.
local TAGS = '='
local claims = base .. 'claims'

-- Tags: id → { finish, tenant, its weight, class, seen, id, the campaign's weight }. A relay's claim: when it expires,
-- until when it is waited for, connections, id and demand in turn.
local tags, times = {}, {}
local before, all, in_use, sharing, rank = {}, {}, 0, 1, 0
local kept = call('HGETALL', claims)
for i = 1, #kept, 2 do
  if kept[i] == TAGS then
    local packed = cmsgpack.unpack(kept[i + 1])
    for _, tag in ipairs(packed[1]) do tags[tag[6]] = tag end
    for _, time in ipairs(packed[2]) do times[time[1]] = time[2] end
  else
    local claim = cmsgpack.unpack(kept[i + 1])
    local flows, mine, live = claim[4], kept[i] == arg.relay, claim[2] >= now
    if claim[1] < now then
      call('HDEL', claims, kept[i])
    elseif not mine then
      in_use = in_use + claim[3]
      if #flows > 0 then
        sharing = sharing + 1
        if kept[i] < arg.relay then rank = rank + 1 end
      end
    end
    if live then
      for j = 1, #flows, 2 do
        before[flows[j]] = true
        if not mine then all[flows[j]] = (all[flows[j]] or 0) + flows[j + 1] end
      end
    end
  end
end
local others = next(all) ~= nil

-- A fair part of the connections each; where there are fewer than relays, each in its turn
-- (`mail::share::connections`). Whose turn it is not is granted nothing, and not waited for.
local connections = math.max(0, limit - in_use)
if limit >= sharing then
  connections = math.min(connections, math.ceil(limit / sharing))
elseif (rank + sharing - math.floor(now / TURN_MS) % sharing) % sharing < limit then
  connections = math.min(connections, 1)
else
  connections = 0
end

local here, own, waiting = {}, {}, 0
for _, flow in ipairs(arg.flows) do
  if flow[5] > 0 then
    here[flow[1]] = flow[5]
    own[#own + 1] = flow[1]
    own[#own + 1] = flow[5]
    all[flow[1]] = (all[flow[1]] or 0) + flow[5]
    waiting = waiting + flow[5]
  end
end

-- How high an amount stands in the vessels that are not full.
local function level(flows, order, full, amount)
  local width, below = 0, 0
  for _, i in ipairs(order) do
    if not full[i] then
      local flow = flows[i]
      if width > 0 and (amount + below) / width <= flow.start then break end
      width = width + flow.weight
      below = below + flow.weight * flow.start
    end
  end
  if width > 0 then return (amount + below) / width end
end

local function in_order(flows, given)
  local order, tag = {}, {}
  for i, flow in ipairs(flows) do
    order[i] = i
    tag[i] = given and flow.start + given[i] / flow.weight or flow.start
  end
  table.sort(order, function(a, b)
    if tag[a] ~= tag[b] then return tag[a] < tag[b] end
    return a < b
  end)
  return order
end

local function fill(flows, most, amount)
  local sum, got = 0, {}
  for i, flow in ipairs(flows) do
    sum = sum + flow[most]
    got[i] = flow[most]
  end
  if sum <= amount then return got end
  for i = 1, #flows do got[i] = 0 end
  local order, full, left = in_order(flows), {}, amount
  for _ = 1, ROUNDS do
    local height = level(flows, order, full, left)
    if not height then break end
    local again = false
    for _, i in ipairs(order) do
      if not full[i] then
        local flow = flows[i]
        got[i] = math.max(flow.weight * (height - flow.start), 0)
        if got[i] >= flow[most] then
          got[i], full[i], again = flow[most], true, true
          left = left - got[i]
        end
      end
    end
    if not again then break end
  end
  return got
end

local function deal_few(flows, amount)
  local given = {}
  for i = 1, #flows do given[i] = 0 end
  for _ = 1, amount do
    local first, lowest
    for i, flow in ipairs(flows) do
      local tag = flow.start + given[i] / flow.weight
      if given[i] < flow.here and (not first or tag < lowest) then first, lowest = i, tag end
    end
    if not first then break end
    given[first] = given[first] + 1
  end
  return given
end

local function deal(flows, amount)
  local sum, given = 0, {}
  for i, flow in ipairs(flows) do
    sum = sum + flow.here
    given[i] = flow.here
  end
  if sum <= amount then return given end
  if amount <= FEW then return deal_few(flows, amount) end
  local got, left = fill(flows, 'here', amount), amount
  for i, flow in ipairs(flows) do
    given[i] = math.min(math.floor(got[i] + 1e-9), flow.here)
    left = left - given[i]
  end
  while left > 0 do
    for _, i in ipairs(in_order(flows, given)) do
      if left > 0 and given[i] < flows[i].here then
        given[i] = given[i] + 1
        left = left - 1
      end
    end
  end
  return given
end

-- The flows named: those that were idle start at the virtual time, not behind it.
local function learn()
  for _, flow in ipairs(arg.flows) do
    if flow[5] > 0 then
      local id, class = flow[1], flow[4]
      local time, known = times[class] or 0, tags[id]
      local finish = time
      if known and known[4] == class then
        finish = before[id] and known[1] or math.max(known[1], time)
      end
      -- Relays from before campaigns had weights do not tell theirs.
      tags[id] = { finish, flow[2], flow[3], class, now, id, flow[6] or 1 }
    end
  end
end

-- All that wait, by class, in the order of their names; a tenant's weight is divided
-- among its campaigns by their own, summed in that order.
local function contenders(brings)
  local ids, campaigns, classes, names = {}, {}, {}, {}
  for id in pairs(all) do
    local tag = tags[id]
    if tag then
      ids[#ids + 1] = id
      tag[5] = now
    end
  end
  table.sort(ids)
  for _, id in ipairs(ids) do
    local tag = tags[id]
    local key = tag[4] .. ':' .. tag[2]
    campaigns[key] = (campaigns[key] or 0) + (tag[7] or 1)
  end
  for _, id in ipairs(ids) do
    local tag = tags[id]
    local class = classes[tag[4]]
    if not class then
      class = { weights = 0 }
      classes[tag[4]] = class
      names[#names + 1] = tag[4]
    end
    local weight = tag[3] * (tag[7] or 1) / campaigns[tag[4] .. ':' .. tag[2]]
    class.weights = class.weights + weight
    class[#class + 1] = { id = id, start = tag[1], weight = weight, all = all[id], here = here[id] or 0 }
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local class = classes[name]
    local lowest = (times[name] or 0) - BEHIND_SLICES * math.max(brings, 1) / class.weights
    for _, flow in ipairs(class) do flow.start = math.max(flow.start, lowest) end
  end
  return names, classes
end

-- How many messages are this relay's: its flows' part of what a slice brings, and what
-- others have not fetched of what slices before brought.
local function part_of(names, classes, brings, room)
  if not others then return math.min(room, waiting) end
  brings = math.max(brings, 1)
  local left, part = brings, 0
  for n, name in ipairs(names) do
    local class = classes[name]
    for i, got in ipairs(fill(class, 'all', left)) do
      left = left - got
      part = part + got * class[i].here / class[i].all
    end
    -- Slower than one a slice it is whoever holds the first, or it is nobody.
    if n == 1 and class[in_order(class)[1]].here > 0 then part = math.max(part, 1) end
    left = math.max(left, 0)
  end
  local unfetched = math.max(room - math.ceil(brings), 0)
  -- Rounded up, or slices that bring no whole number would be used in part only; whose
  -- flows are ahead for it has the less the next time.
  return math.floor(math.min(math.max(math.ceil(part - 1e-9), 0) + unfetched, room, waiting))
end

-- Drops the tags that say no more than the virtual time does; packs the rest.
local function keep_tags()
  local list, clocks = {}, {}
  for id, tag in pairs(tags) do
    local ahead = tag[1] > (times[tag[4]] or 0) and now - tag[5] < FORGOTTEN_MS
    if tag[5] == now or before[id] or ahead then list[#list + 1] = tag end
  end
  for class, time in pairs(times) do clocks[#clocks + 1] = { class, time } end
  call('HSET', claims, TAGS, cmsgpack.pack({ list, clocks }))
end

local granted, sum = {}, 0
local function grant(brings, room)
  learn()
  local names, classes = contenders(brings)
  local left = part_of(names, classes, brings, room)
  for _, name in ipairs(names) do
    local mine = {}
    for _, flow in ipairs(classes[name]) do
      if flow.here > 0 then mine[#mine + 1] = flow end
    end
    for i, given in ipairs(deal(mine, left)) do
      if given > 0 then
        local flow = mine[i]
        left = left - given
        sum = sum + given
        local finish = flow.start + given / flow.weight
        tags[flow.id][1] = finish
        times[name] = math.max(times[name] or 0, finish - 1 / flow.weight)
        granted[#granted + 1] = flow.id
        granted[#granted + 1] = given
      end
    end
  end
  keep_tags()
end

-- In tenths of microseconds, so that thousands a second are told apart; a slice of
-- history at most is forgiven, so that idling buys no burst.
local wait = 0
if rate <= 0 or connections == 0 then
  wait = arg.slice_ms
elseif waiting > 0 then
  local interval, clock, window = 1e7 / rate, now * 1e4, arg.slice_ms * 1e4
  -- What went at a slower rate, a probe while the source was blocked, does not keep a faster one waiting.
  local tat = math.max(tonumber(record[4] or '0'), clock - window)
  if tat > clock + math.max(interval, window) + 1 then tat = clock end
  local room = math.floor((clock + window - tat) / interval)
  -- Slower than one a slice: one, when its time has come.
  if room < 1 and tat <= clock then room = 1 end
  grant(window / interval, math.max(room, 0))
  if sum > 0 then
    call('HSET', KEYS[1], 'tat', whole(tat + sum * interval))
    -- A site that nobody has learnt anything about is forgotten soon.
    if version == 0 then call('PEXPIRE', KEYS[1], math.ceil(math.max(arg.expiry_ms, 2000 / rate))) end
  else
    wait = math.max(0, math.ceil((math.min(tat, tat + interval - window) - clock) / 1e4))
  end
end
local waited_for = connections > 0 and now + wait + LATE_SLICES * arg.slice_ms or 0
call('HSET', claims, arg.relay, cmsgpack.pack({ now + arg.expiry_ms, waited_for, arg.in_use, own }))
call('PEXPIRE', claims, arg.expiry_ms)

local answer = { connections, rate_text, version, sharing, wait }
for i = 1, #granted do answer[5 + i] = granted[i] end
return answer
