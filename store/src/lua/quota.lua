-- quota: a relay takes messages out of what one source may send to one provider in any hour and any
-- day, gives back what it took and did not send, and tells how often it was objected to. The model is
-- `mail::quota::Quota`, operation for operation.
-- State: for hour and day spans of the clock and what was counted in each, in turn, the oldest first;
-- then the progress with a warm-up plan: its name, day, since when, sent, bad, sent at.
-- Answers granted, when there is more or 0, ceilings of hour and day or -1, the plan's day or 0, what
-- follows when a day ended, or '', and 1 for a new record.
local MINUTES, QUARTERS, DAY_MS = { 60000, 60 }, { 900000, 96 }, 86400000
local FORGOTTEN_MS, BAD_MIN, BAD_ONE_IN = 30 * DAY_MS, 5, 20
local KEEP_MS, KEEP_PROGRESS_MS = DAY_MS + 3600000, 90 * DAY_MS

local kept = call('HGET', KEYS[1], 'state')
local hour, day, progress = {}, {}, nil
if kept then
  local state = cmsgpack.unpack(kept)
  hour, day, progress = state[1], state[2], state[3]
end

local days, turned = arg.plan and #arg.plan.ceilings or 0, ''
local function turn()
  if not arg.plan then return end
  if not progress or progress[1] ~= arg.plan.name then
    progress, turned = { arg.plan.name, 0, now, 0, 0, now }, 'began'
    return
  end
  progress[5] = progress[5] + arg.bad
  progress[3], progress[6] = math.min(progress[3], now), math.min(progress[6], now)
  if now - progress[6] >= FORGOTTEN_MS then
    progress, turned = { progress[1], 0, now, 0, 0, now }, 'began'
    return
  end
  if progress[2] >= days or now - progress[3] < DAY_MS then return end
  if progress[4] > 0 then
    if progress[5] >= BAD_MIN and progress[5] * BAD_ONE_IN > progress[4] then
      turned = 'repeats'
    else
      progress[2] = progress[2] + 1
      turned = progress[2] >= days and 'warm' or 'rose'
    end
  end
  progress[3], progress[4], progress[5] = now, 0, 0
end

local function lower(a, b)
  if a < 0 then return b end
  if b < 0 then return a end
  return math.min(a, b)
end

local function those(spans, is_kept)
  local left = {}
  for i = 1, #spans, 2 do
    if is_kept(spans[i], spans[i + 1]) then
      left[#left + 1] = spans[i]
      left[#left + 1] = spans[i + 1]
    end
  end
  return left
end

local function advance(spans, shape)
  local at = math.floor(now / shape[1])
  return those(spans, function(span) return span + shape[2] >= at and span <= at + shape[2] end)
end

local function take_back(spans, back)
  for i = #spans - 1, 1, -2 do
    local of_it = math.min(back, spans[i + 1])
    spans[i + 1] = spans[i + 1] - of_it
    back = back - of_it
  end
  return those(spans, function(_, counted) return counted > 0 end)
end

local function sum(spans)
  local total = 0
  for i = 2, #spans, 2 do total = total + spans[i] end
  return total
end

local function count(spans, shape, number)
  if number == 0 then return end
  local at, n = math.floor(now / shape[1]), #spans
  if n > 0 and spans[n - 1] >= at then
    spans[n] = spans[n] + number
  else
    spans[n + 1], spans[n + 2] = at, number
  end
end

local function room_at(spans, shape, most)
  local total = sum(spans)
  if most < 0 or total < most then return 0 end
  for i = 1, #spans, 2 do
    total = total - spans[i + 1]
    if total < most then return (spans[i] + shape[2] + 1) * shape[1] end
  end
  return 0
end

turn()
local hour_most, day_most = arg.hour, arg.day
if arg.plan and progress[2] < days then
  local most = arg.plan.ceilings[progress[2] + 1]
  if arg.plan.by_hour then
    hour_most = lower(hour_most, most)
  else
    day_most = lower(day_most, most)
  end
end

hour, day = advance(hour, MINUTES), advance(day, QUARTERS)
hour, day = take_back(hour, arg.back), take_back(day, arg.back)
local granted = arg.wanted
if hour_most >= 0 then granted = math.min(granted, math.max(hour_most - sum(hour), 0)) end
if day_most >= 0 then granted = math.min(granted, math.max(day_most - sum(day), 0)) end
count(hour, MINUTES, granted)
count(day, QUARTERS, granted)
if progress then
  progress[4] = math.max(progress[4] - arg.back, 0) + granted
  if granted > 0 then progress[6] = now end
end
local till = 0
if granted < arg.wanted then
  till = math.max(room_at(hour, MINUTES, hour_most), room_at(day, QUARTERS, day_most))
end

call('HSET', KEYS[1], 'state', cmsgpack.pack({ hour, day, progress }))
call('PEXPIRE', KEYS[1], progress and KEEP_PROGRESS_MS or KEEP_MS)
local of_plan = arg.plan and progress[2] < days and progress[2] + 1 or 0
return { granted, whole(till), hour_most, day_most, of_plan, turned, kept and 0 or 1 }
