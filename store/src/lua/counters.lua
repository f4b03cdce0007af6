-- counters: every campaign's part of the accounts, and the outbox position that they belong to.
local answer = {}
for _, campaign in ipairs(call('SMEMBERS', base .. 'camps')) do
  answer[#answer + 1] = { campaign, call('HGETALL', campaign_key(campaign)) }
end
local last = call('XREVRANGE', base .. 'out', '+', '-', 'COUNT', 1)
local info = call('HGET', KEYS[1], 'trimmed') or '0-0'
return { last[1] and last[1][1] or info, answer }
