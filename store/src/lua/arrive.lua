-- arrive: the first words of a connection to this shard. In a new run of the server the
-- newest writes may be gone: numbers skip ahead, and events begin beyond what the last run
-- may have told. `resumed` is where the outbox ended when the run began. Answers 1 then.
local run = string.match(call('INFO', 'server'), 'run_id:(%w+)')
if call('HGET', KEYS[1], 'run') == run then return 0 end
if tonumber(call('GET', base .. 'seq') or '0') > 0 then
  call('INCRBY', base .. 'seq', whole(arg.skip * (1 + tonumber(string.sub(run, 1, 3), 16))))
end
local last = last_event()
if last then
  local ms = tonumber(string.match(last, '^(%d+)-'))
  call('XSETID', base .. 'out', whole(math.max(ms + 1, now + arg.ahead_ms)) .. '-0')
end
call('HSET', KEYS[1], 'run', run, 'resumed', last or '0-0')
return 1
