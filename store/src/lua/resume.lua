-- resume: the ledger has stored everything up to arg.position (arg.ms, arg.n). Where the
-- outbox ends before that, its end was lost: new events shall come after the position, or
-- nobody would read them. Answers where to go on: the position, or where this run began.
local function is_below(id)
  local ms, n = string.match(id, '^(%d+)-(%d+)$')
  ms, n = tonumber(ms), tonumber(n)
  return ms < arg.ms or (ms == arg.ms and n < arg.n)
end

local out, last = base .. 'out', last_event()
if last and not is_below(last) then return arg.position end
if not last then
  -- Nothing is left of it, not even its name.
  call('XADD', out, arg.position, 'j', '', 'f', '')
  call('XTRIM', out, 'MAXLEN', 0)
  return arg.position
end
call('XSETID', out, arg.position)
local resumed = call('HGET', KEYS[1], 'resumed') or arg.position
return is_below(resumed) and resumed or arg.position
