-- audit: every batch that exists, as its bytes say: lane, batch, states, attempts; and
-- the index entries, for the conformance suite and for `queue show`.
local open_all = call('HGETALL', base .. 'open')
local open = {}
for i = 1, #open_all, 2 do
  local o = cmsgpack.unpack(open_all[i + 1])
  open[#open + 1] = { open_all[i], o.l, o.st, o.at, o.left, o.cur }
end
local fresh = {}
for _, campaign in ipairs(call('SMEMBERS', base .. 'camps')) do
  for _, lane in ipairs(call('SMEMBERS', base .. 'lanes:' .. campaign)) do
    for _, entry in ipairs(call('LRANGE', base .. 'fresh:' .. lane, 0, -1)) do
      fresh[#fresh + 1] = { lane, entry }
    end
  end
end
return { open, fresh, call('ZRANGE', base .. 'ready', 0, -1), call('ZRANGE', base .. 'delay', 0, -1), call('HLEN', base .. 'batch') }
