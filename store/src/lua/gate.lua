-- gate: what the gates found of a campaign that runs, written if nobody was faster; with arg.pause
-- it is paused by the same step, once. ARGV[2] the memory as it was read, ARGV[3] as it is.
-- Answers 1, or 0 where it does not run or the memory is another.
if call('HGET', KEYS[1], 'status') ~= 'running' then return 0 end
if (call('HGET', KEYS[1], 'gate') or '') ~= ARGV[2] then return 0 end
call('HSET', KEYS[1], 'gate', ARGV[3])
if arg.pause then call('HSET', KEYS[1], 'status', 'paused', 'changed_at', whole(arg.at)) end
return 1
