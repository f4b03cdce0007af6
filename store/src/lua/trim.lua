-- trim: the ledger has stored everything up to and including a position. Not while a backup
-- runs: it has copied an earlier history, which still needs what lies here. The next trim
-- after it takes all.
if call('EXISTS', base .. 'hold') == 1 then return 0 end
local removed = call('XTRIM', base .. 'out', 'MINID', arg.after)
call('HSET', KEYS[1], 'trimmed', arg.upto)
return removed
