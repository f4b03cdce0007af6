-- restore: what was set aside of a batch waits again; ARGV[2] the frame that tells of
-- arg.count recipients. Answers how many there were: nothing was done when it is not arg.count.
tick()
local packed = call('HGET', base .. 'aside', whole(arg.batch))
if not packed then return 0 end
local batch, entry = whole(arg.batch), cmsgpack.unpack(packed)
local open = load_open(batch)
local kept = call('HGET', base .. 'kept', batch)
if not open and kept then
  kept = cmsgpack.unpack(kept)
  open = kept.open
end
if not open then return 0 end

local listed, live = unpack_indices(entry.i), {}
table.sort(listed)
for _, i in ipairs(listed) do
  if string.byte(open.st, i + 1) == END.q then live[#live + 1] = i end
end
if #live ~= arg.count then return #live end

if type(kept) == 'table' then
  if kept.blob ~= '' then call('HSET', base .. 'batch', batch, kept.blob) end
  call('HDEL', base .. 'kept', batch)
end
open.st = replace_bytes(open.st, live, string.char(RETRY))
open.left = open.left + #live
open.keep = nil
save_open(batch, open)
call('HDEL', base .. 'aside', batch)
call('RPUSH', base .. 'retry:' .. open.l, retry_entry(batch, pack_indices(live)))
call('HINCRBY', campaign_key(campaign_of(open.l)), 'set_aside', -#live)
call('HINCRBY', campaign_key(campaign_of(open.l)), 'waiting', #live)
call('SADD', base .. 'lanes:' .. campaign_of(open.l), open.l)
call('XADD', base .. 'out', '*', 'j', 'a', 'f', ARGV[2])
make_ready(open.l)
return #live
