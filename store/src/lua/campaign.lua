-- campaign: sets its state here; its lanes enter or leave the ready index.
tick()
call('HSET', campaign_key(arg.campaign), 'state', arg.state, 'priority', arg.priority)
call('SADD', base .. 'camps', arg.campaign)
for _, lane in ipairs(call('SMEMBERS', base .. 'lanes:' .. arg.campaign)) do
  if is_leasable(arg.state) and has_work(lane) then
    call('ZADD', base .. 'ready', arg.priority, lane)
  else
    call('ZREM', base .. 'ready', lane)
  end
end
return 'ok'
