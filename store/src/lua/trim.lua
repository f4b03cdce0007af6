-- trim: the ledger has stored everything up to and including a position.
local removed = call('XTRIM', base .. 'out', 'MINID', arg.after)
call('HSET', KEYS[1], 'trimmed', arg.upto)
return removed
