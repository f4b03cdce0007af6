-- tls_count: sessions of a day to one domain, added to what is there. ARGV[2..]: for each policy
-- its id, itself, the id and the policy that stand for many of its kind, the number of its counts;
-- for each of those its name, the name that stands for many of its kind, how many. Where a domain
-- has too many names already, new ones are counted under those that stand for many.
-- Answers counted | full: the shard has too many domains that day.
local index, due = base .. 'tlsrpt:' .. arg.day, base .. 'tlsrpt:due'
local counts = index .. ':' .. arg.domain
if call('HSETNX', index, arg.domain, '') == 1 then
  if call('HLEN', index) > arg.domains_max then
    call('HDEL', index, arg.domain)
    return 'full'
  end
  call('ZADD', due, whole(arg.due), arg.day .. ' ' .. arg.domain)
end
local at = 1
local function take()
  at = at + 1
  return ARGV[at]
end
local function is_strange(field)
  return call('HLEN', counts) >= arg.fields_max and call('HEXISTS', counts, field) == 0
end
while at < #ARGV do
  local id, policy, joined_id, joined, names = take(), take(), take(), take(), tonumber(take())
  if is_strange('p' .. id) then id, policy = joined_id, joined end
  call('HSETNX', counts, 'p' .. id, policy)
  for _ = 1, names do
    local name, of_many, count = take(), take(), take()
    local field = 'n' .. id .. name
    if is_strange(field) then field = 'n' .. id .. of_many end
    call('HINCRBY', counts, field, count)
  end
end
for _, key in ipairs({ counts, index, due }) do
  call('PEXPIREAT', key, whole(arg.expires))
end
return 'counted'
