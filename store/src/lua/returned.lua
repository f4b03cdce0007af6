-- returned: mail that came back about a delivery. Counted once per delivery and kind,
-- however often it comes, and once more where it says that the address is dead (arg.dead);
-- ARGV[2] the frame, kept only the first time. Answers 1 or 0.
tick()
local seen = base .. arg.counter .. ':' .. arg.campaign
if call('SADD', seen, whole(arg.seq)) == 0 then return 0 end
call('EXPIRE', seen, arg.keep_s)
call('HINCRBY', campaign_key(arg.campaign), arg.counter, 1)
if arg.dead then call('HINCRBY', campaign_key(arg.campaign), 'returned_dead', 1) end
call('XADD', base .. 'out', '*', 'j', string.rep('a', arg.count), 'f', ARGV[2])
return 1
