-- enqueue: ARGV[2] the batch, ARGV[3] the frame of events.
-- Answers stored | already | gap | full.
tick()
local campaign = campaign_of(arg.lane)
local key = campaign_key(campaign)
local next_chunk = tonumber(call('HGET', key, 'chunk') or '0')
if arg.chunk < next_chunk then return 'already' end
if arg.chunk > next_chunk then return 'gap' end
if outbox_is_full() then return 'full' end

local n, skip = arg.count, arg.suppressed
call('HSET', key, 'chunk', next_chunk + 1, 'priority', arg.priority)
call('HINCRBY', key, 'accepted', n)
if #skip > 0 then call('HINCRBY', key, 'suppressed', #skip) end
call('HINCRBY', key, 'waiting', n - #skip)
call('SADD', base .. 'camps', campaign)
call('XADD', base .. 'out', '*', 'j', string.rep('a', 1 + #skip), 'f', ARGV[3])
if n == #skip then return 'stored' end

local batch = whole(arg.batch)
call('SADD', base .. 'lanes:' .. campaign, arg.lane)
call('HSET', base .. 'batch', batch, ARGV[2])
if #skip > 0 then
  local open = new_open(arg.lane, n)
  open.st = replace_bytes(open.st, skip, string.char(END.s))
  open.left = n - #skip
  save_open(batch, open)
end
call('RPUSH', base .. 'fresh:' .. arg.lane, batch .. ':' .. n)
make_ready(arg.lane)
return 'stored'
