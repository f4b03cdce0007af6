-- shrink: a batch packed anew, ARGV[2], with arg.rows rows: all that were not at rest, and
-- at rest is for ever, so that no row that is still needed can be missing.
local batch = whole(arg.batch)
local open = load_open(batch)
if not open or open.keep or call('HEXISTS', base .. 'batch', batch) == 0 then return 0 end
call('HSET', base .. 'batch', batch, ARGV[2])
open.rows = arg.rows
save_open(batch, open)
return 1
