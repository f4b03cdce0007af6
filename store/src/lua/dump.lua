-- dump: every key of the shard at one moment, as name, milliseconds left (-1: for ever) and
-- what DUMP says; and whether the outbox was held all the time. A cursor walks the whole
-- keyspace of this server, but only names are compared, and lanes are its many.
local hold = base .. 'hold'
if call('GET', hold) ~= arg.token then return { 'lapsed' } end
local pattern = string.gsub(base, '[%*%?%[%]\\]', '\\%0') .. '*'
local cursor, seen, rows = '0', {}, {}
repeat
  local page = call('SCAN', cursor, 'MATCH', pattern, 'COUNT', 1000)
  cursor = page[1]
  for _, key in ipairs(page[2]) do
    -- SCAN may name a key twice.
    if key ~= hold and not seen[key] then
      seen[key] = true
      rows[#rows + 1] = { string.sub(key, #base + 1), call('PTTL', key), call('DUMP', key) }
    end
  end
until cursor == '0'
return { 'held', rows }
