-- suppress: one address's history and suppression, changed together if the history, and
-- with arg.listing what stands in the list, is still what it was when the decision was made.
-- ARGV[2] history before, ARGV[3] after, ARGV[4] suppression to write ('' leaves it, '-' lifts
-- it), ARGV[5] the frame or '', ARGV[6] what stood in the list or ''.
-- Answers changed | ok.
local history, listed = base .. 'hist:' .. arg.tenant, base .. 'sup:' .. arg.tenant
if (call('HGET', history, arg.address) or '') ~= ARGV[2] then return 'changed' end
if arg.listing and (call('HGET', listed, arg.address) or '') ~= ARGV[6] then return 'changed' end
if ARGV[3] == '' then call('HDEL', history, arg.address) else call('HSET', history, arg.address, ARGV[3]) end
if ARGV[4] == '-' then
  call('HDEL', listed, arg.address)
elseif ARGV[4] ~= '' then
  call('HSET', listed, arg.address, ARGV[4])
end
if ARGV[5] ~= '' then call('XADD', base .. 'out', '*', 'j', string.rep('a', arg.count), 'f', ARGV[5]) end
return 'ok'
