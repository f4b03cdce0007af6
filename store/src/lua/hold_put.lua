-- hold_put: the record of one hold (ARGV[2] its key), if nobody was faster. ARGV[3] as it was read
-- ('' for none), ARGV[4] as it is ('' takes it out). Answers ok, changed, or full (arg.max are there).
if (call('HGET', KEYS[1], ARGV[2]) or '') ~= ARGV[3] then return 'changed' end
if ARGV[4] == '' then
  call('HDEL', KEYS[1], ARGV[2])
  return 'ok'
end
if ARGV[3] == '' and call('HLEN', KEYS[1]) >= arg.max then return 'full' end
call('HSET', KEYS[1], ARGV[2], ARGV[4])
return 'ok'
