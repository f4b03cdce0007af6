-- dump: what moves in the shard, at one moment. Not what is read in pages: batches that are
-- known already (arg.known), the outbox, suppressions and the histories of addresses. A cursor
-- walks the names of this whole server; only names are compared.
-- Answers lapsed, or held; rows of name, milliseconds left (-1: for ever) and what DUMP says;
-- the names of all batches; rows of the batches that are not known; the outbox's last id.
local hold = base .. 'hold'
if call('GET', hold) ~= arg.token then return { 'lapsed' } end
local apart = { hold = true, batch = true, out = true }

local cursor, seen, rows = '0', {}, {}
repeat
  local page = call('SCAN', cursor, 'MATCH', base .. '*', 'COUNT', 1000)
  cursor = page[1]
  for _, key in ipairs(page[2]) do
    local name = string.sub(key, #base + 1)
    local is_list = string.match(name, '^sup:') or string.match(name, '^hist:')
    -- SCAN may name a key twice.
    if not apart[name] and not is_list and not seen[key] then
      seen[key] = true
      rows[#rows + 1] = { name, call('PTTL', key), call('DUMP', key) }
    end
  end
until cursor == '0'

local known, batches, news = {}, call('HKEYS', base .. 'batch'), {}
for _, batch in ipairs(arg.known) do known[batch] = true end
for _, batch in ipairs(batches) do
  if not known[batch] then news[#news + 1] = { batch, call('HGET', base .. 'batch', batch) } end
end
return { 'held', rows, batches, news, last_event() or '' }
