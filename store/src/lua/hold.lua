-- hold: keeps the outbox from being trimmed while a backup runs; `release` ends it.
-- Answers held | busy (another backup holds it) | lapsed (it was ours, and ran out).
local key = base .. 'hold'
local holder = call('GET', key)
if arg.verb == 'release' then
  if holder == arg.token then call('DEL', key) end
  return 'held'
end
if holder and holder ~= arg.token then return 'busy' end
if not holder and arg.verb == 'extend' then return 'lapsed' end
call('SET', key, arg.token, 'PX', arg.period_ms)
return 'held'
