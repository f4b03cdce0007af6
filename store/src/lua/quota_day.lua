-- quota_day: a person says which day of its warm-up plan a source has come to at a provider, from 0.
-- Answers 1, or 0 where it follows none.
local kept = call('HGET', KEYS[1], 'state')
local state = kept and cmsgpack.unpack(kept)
local progress = state and state[3]
if not progress then return 0 end
progress[2], progress[3], progress[4], progress[5] = arg.day, now, 0, 0
call('HSET', KEYS[1], 'state', cmsgpack.pack(state))
return 1
