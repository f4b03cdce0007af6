-- renew: a relay says that it lives. Reaps the dead and promotes what is due.
-- Answers known | lost, the clock, lanes that are ready.
tick()
local known = arg.fresh or is_known(arg.relay)
if known then call('ZADD', base .. 'relays', whole(now + arg.period), arg.relay) end

local function reap()
  local budget = arg.reap_max
  for _, relay in ipairs(call('ZRANGEBYSCORE', base .. 'relays', '-inf', '(' .. whole(now))) do
    local held = call('HGETALL', base .. 'lease:' .. relay)
    local leases = {}
    for i = 1, #held, 2 do leases[#leases + 1] = { tonumber(held[i]), held[i], held[i + 1] } end
    table.sort(leases, function(a, b) return a[1] < b[1] end)
    for _, lease in ipairs(leases) do
      if budget == 0 then return end
      budget = budget - 1
      give_back(relay, lease[2], lease[3])
    end
    call('ZREM', base .. 'relays', relay)
  end
end

if now >= grace then reap() end
for _, group in ipairs(call('ZRANGEBYSCORE', base .. 'delay', '-inf', whole(now), 'LIMIT', 0, arg.promote_max)) do
  promote_group(group)
end
return { known and 'known' or 'lost', now, call('ZCARD', base .. 'ready') }
