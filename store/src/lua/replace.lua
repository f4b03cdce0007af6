-- Writes a field of a hash if it still holds what the writer read.
-- KEYS[1] the hash; ARGV: the field, its value as it was read ('' for none), the new value.
-- Returns 1, or 0 when somebody else was faster.
local held = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if held ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
