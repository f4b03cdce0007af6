-- settle: outcomes of leases, and the frame of events about them in ARGV[2].
-- Answers one letter per outcome, in order: applied, late, twice, refused.
tick()
local last_key = base .. 'last:' .. arg.relay
local last = call('GET', last_key)
if last then
  local colon = string.find(last, ':', 1, true)
  if tonumber(string.sub(last, 1, colon - 1)) == arg.number then return string.sub(last, colon + 1) end
end

local letters, told = {}, {}

-- What is handed back or waits is no news: no event goes with it.
local function say(letter, outcome)
  letters[#letters + 1] = letter
  if outcome ~= 'b' and outcome ~= 'w' then told[#told + 1] = letter end
end

local function at_rest(outcome)
  return outcome == 'd' and 't' or 'r'
end

-- The table of docs/QUEUE.md. `mine` is the byte of the settling lease while it lives.
local function judge(byte, mine, outcome)
  if byte >= SLOT_BASE then
    if byte == mine then return 'a' end
    return outcome == 'd' and 'l' or 'r'
  end
  if byte >= END.d then return at_rest(outcome) end
  if END[outcome] then return 'a' end
  return outcome == 'r' and byte == RETRY and 'a' or 'r'
end

local function bump(campaign, name, by)
  if by ~= 0 then call('HINCRBY', campaign_key(campaign), name, by) end
end

local function delay(batch, due, indices)
  local group = batch .. ':' .. whole(due)
  call('ZADD', base .. 'delay', whole(due), group)
  local before = call('HGET', base .. 'delayed', group) or ''
  call('HSET', base .. 'delayed', group, before .. pack_indices(indices))
end

-- Gives slots back whose last recipient has left them, whoever held them.
local function close_slots(open)
  for slot, held in pairs(open.s) do
    if held[2] == 0 then
      open.s[slot] = nil
      local token = whole(held[1])
      if call('HDEL', base .. 'lease:' .. arg.relay, token) == 0 then
        for _, relay in ipairs(call('ZRANGE', base .. 'relays', 0, -1)) do
          call('HDEL', base .. 'lease:' .. relay, token)
        end
      end
    end
  end
end

-- Some of a batch cannot be sent: listed with the first reason that was given, at once.
local function list_aside(batch, open, indices, group)
  local packed = call('HGET', base .. 'aside', batch)
  local entry = packed and cmsgpack.unpack(packed) or { l = open.l, r = group.reason, v = group.newer, at = now, i = '' }
  entry.i = entry.i .. pack_indices(indices)
  call('HSET', base .. 'aside', batch, cmsgpack.pack(entry))
end

-- Fewer than a quarter of the rows in the blob are needed yet: a relay will pack it anew.
local function note_if_sparse(batch, open)
  if open.left * 4 <= (open.rows or #open.st) and open.cur == #open.st and not open.keep then
    call('SADD', base .. 'sparse', batch)
  end
end

local function finish(batch, open)
  local blob_key = base .. 'batch'
  if open.keep then
    call('HSET', base .. 'kept', batch, cmsgpack.pack({ open = open, blob = call('HGET', blob_key, batch) or '' }))
  end
  call('HDEL', blob_key, batch)
  call('SREM', base .. 'sparse', batch)
  call('HDEL', base .. 'open', batch)
  if open.cur < #open.st then
    call('LREM', base .. 'fresh:' .. open.l, 1, batch .. ':' .. #open.st)
  end
  rest_if_idle(open.l)
end

local function settle_group(group)
  local batch = whole(group.batch)
  local campaign = campaign_of(group.lane)
  local open = load_open(batch)
  if not open and call('HEXISTS', base .. 'batch', batch) == 1 then
    open = new_open(group.lane, group.count)
  end
  local counts, twice, late, ended, deferrals = {}, 0, 0, 0, 0
  if not open then
    for i = 1, #group.indices do
      local outcome = string.sub(group.outcomes, i, i)
      local letter = at_rest(outcome)
      say(letter, outcome)
      if letter == 't' then twice = twice + 1 end
    end
    bump(campaign, 'duplicates', twice)
    return
  end

  local cancelling = campaign_state(campaign) == 'cancelling'
  local slot = open.s[group.slot]
  local mine = slot and whole(slot[1]) == whole(group.token) and SLOT_BASE + group.slot
  local at, bytes, back, delays, tries, aside = {}, {}, {}, {}, {}, {}
  local due_at = 1
  for i = 1, #group.indices do
    local index, outcome = group.indices[i], string.sub(group.outcomes, i, i)
    local due
    if outcome == 'r' or outcome == 'w' then
      due = group.due[due_at]
      due_at = due_at + 1
    end
    local byte = string.byte(open.st, index + 1)
    local letter = judge(byte, mine, outcome)
    say(letter, outcome)
    if letter == 't' then twice = twice + 1 end
    if letter == 'a' or letter == 'l' then
      if byte >= SLOT_BASE then
        local held = open.s[byte - SLOT_BASE]
        if held then held[2] = held[2] - 1 end
      end
      at[#at + 1] = index
      if END[outcome] then
        bytes[#bytes + 1] = string.char(END[outcome])
        ended = ended + 1
        counts[outcome] = (counts[outcome] or 0) + 1
        if letter == 'l' then late = late + 1 end
        if outcome == 'q' then aside[#aside + 1] = index end
      elseif outcome == 'r' or outcome == 'w' then
        bytes[#bytes + 1] = string.char(DELAYED)
        if cancelling then due = now end
        delays[due] = delays[due] or {}
        table.insert(delays[due], index)
        if outcome == 'r' then
          tries[#tries + 1] = index
          deferrals = deferrals + 1
        end
      else
        bytes[#bytes + 1] = string.char(RETRY)
        back[#back + 1] = index
      end
    end
  end

  open.st = replace_bytes(open.st, at, bytes)
  if #tries > 0 then
    local more = {}
    for i = 1, #tries do
      more[i] = string.char(math.min(255, string.byte(open.at, tries[i] + 1) + 1))
    end
    open.at = replace_bytes(open.at, tries, more)
  end
  open.left = open.left - ended
  if #aside > 0 then
    open.keep = true
    list_aside(batch, open, aside, group)
  end
  close_slots(open)
  for due, indices in pairs(delays) do delay(batch, due, indices) end
  if open.left > 0 then
    note_if_sparse(batch, open)
    save_open(batch, open)
  else
    finish(batch, open)
  end
  if #back > 0 then
    call('LPUSH', base .. 'retry:' .. open.l, retry_entry(batch, back))
    make_ready(open.l)
  end
  for outcome, count in pairs(counts) do bump(campaign, END_COUNTER[outcome], count) end
  bump(campaign, 'waiting', -ended)
  bump(campaign, 'deferrals', deferrals)
  bump(campaign, 'late', late)
  bump(campaign, 'duplicates', twice)
end

for _, group in ipairs(arg.groups) do settle_group(group) end
local answer = table.concat(letters)
if #ARGV[2] > 0 then call('XADD', base .. 'out', '*', 'j', table.concat(told), 'f', ARGV[2]) end
call('SET', last_key, whole(arg.number) .. ':' .. answer, 'EX', 86400)
return answer
