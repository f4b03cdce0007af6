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
local function say(letter, outcome, n)
  local word = string.rep(letter, n)
  letters[#letters + 1] = word
  if outcome ~= 'b' and outcome ~= 'w' then told[#told + 1] = word end
end

-- The outcome of a run, and whether it ended because the address is dead: then the letter is a capital.
local function outcome_of(group, i)
  local letter = string.sub(group.outcomes, i, i)
  local outcome = string.lower(letter)
  return outcome, letter ~= outcome
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

local function delay(batch, due, packed)
  local group = batch .. ':' .. whole(due)
  call('ZADD', base .. 'delay', whole(due), group)
  local before = call('HGET', base .. 'delayed', group) or ''
  call('HSET', base .. 'delayed', group, before .. packed)
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
  local known = call('HGET', base .. 'aside', batch)
  local entry = known and cmsgpack.unpack(known) or { l = open.l, r = group.reason, v = group.newer, at = now, i = '' }
  entry.i = entry.i .. indices
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

-- The attempts of a range, one more each.
local function one_more(attempts, from, n)
  local first = string.byte(attempts, from + 1)
  if is_all(attempts, from, n, first) then return string.rep(string.char(math.min(255, first + 1)), n) end
  local more = {}
  for i = 1, n do more[i] = string.char(math.min(255, string.byte(attempts, from + i) + 1)) end
  return table.concat(more)
end

-- A group's outcomes are runs: the same outcome for `n` recipients that follow one another.
local function settle_group(group)
  local batch = whole(group.batch)
  local campaign = campaign_of(group.lane)
  local open = load_open(batch)
  if not open and call('HEXISTS', base .. 'batch', batch) == 1 then
    open = new_open(group.lane, group.count)
  end
  local counts, twice, late, ended, deferrals, dead = {}, 0, 0, 0, 0, 0
  if not open then
    for i, n in ipairs(group.lengths) do
      local outcome = outcome_of(group, i)
      local letter = at_rest(outcome)
      say(letter, outcome, n)
      if letter == 't' then twice = twice + n end
    end
    bump(campaign, 'duplicates', twice)
    return
  end

  local cancelling = campaign_state(campaign) == 'cancelling'
  local slot = open.s[group.slot]
  local mine = slot and whole(slot[1]) == whole(group.token) and SLOT_BASE + group.slot
  local states, attempts, back, delays, aside = {}, {}, {}, {}, {}

  -- A run that is applied as a whole: all in one state, judged alike.
  local function apply(from, n, byte, outcome, due, letter, is_dead)
    if byte >= SLOT_BASE then
      local held = open.s[byte - SLOT_BASE]
      if held then held[2] = held[2] - n end
    end
    local becomes
    if END[outcome] then
      becomes = END[outcome]
      ended = ended + n
      counts[outcome] = (counts[outcome] or 0) + n
      if letter == 'l' then late = late + n end
      if is_dead then dead = dead + n end
      if outcome == 'q' then aside[#aside + 1] = pack_range(from, n) end
    elseif outcome == 'r' or outcome == 'w' then
      becomes = DELAYED
      if cancelling then due = now end
      delays[due] = delays[due] or {}
      table.insert(delays[due], pack_range(from, n))
      if outcome == 'r' then
        attempts[#attempts + 1] = from
        attempts[#attempts + 1] = one_more(open.at, from, n)
        deferrals = deferrals + n
      end
    else
      becomes = RETRY
      back[#back + 1] = pack_range(from, n)
    end
    states[#states + 1] = from
    states[#states + 1] = string.rep(string.char(becomes), n)
  end

  local due_at = 1
  for i, from in ipairs(group.indices) do
    local n, due = group.lengths[i], nil
    local outcome, is_dead = outcome_of(group, i)
    if outcome == 'r' or outcome == 'w' then
      due = group.due[due_at]
      due_at = due_at + 1
    end
    if mine and is_all(open.st, from, n, mine) then
      say('a', outcome, n)
      apply(from, n, mine, outcome, due, 'a', is_dead)
    else
      for index = from, from + n - 1 do
        local byte = string.byte(open.st, index + 1)
        local letter = judge(byte, mine, outcome)
        say(letter, outcome, 1)
        if letter == 't' then twice = twice + 1 end
        if letter == 'a' or letter == 'l' then apply(index, 1, byte, outcome, due, letter, is_dead) end
      end
    end
  end

  open.st = replace_ranges(open.st, states)
  if #attempts > 0 then open.at = replace_ranges(open.at, attempts) end
  open.left = open.left - ended
  if #aside > 0 then
    open.keep = true
    list_aside(batch, open, table.concat(aside), group)
  end
  close_slots(open)
  for due, packed in pairs(delays) do delay(batch, due, table.concat(packed)) end
  if open.left > 0 then
    note_if_sparse(batch, open)
    save_open(batch, open)
  else
    finish(batch, open)
  end
  if #back > 0 then
    call('LPUSH', base .. 'retry:' .. open.l, retry_entry(batch, table.concat(back)))
    make_ready(open.l)
  end
  for outcome, count in pairs(counts) do bump(campaign, END_COUNTER[outcome], count) end
  bump(campaign, 'waiting', -ended)
  bump(campaign, 'deferrals', deferrals)
  bump(campaign, 'dead', dead)
  bump(campaign, 'late', late)
  bump(campaign, 'duplicates', twice)
end

for _, group in ipairs(arg.groups) do settle_group(group) end
local answer = table.concat(letters)
if #ARGV[2] > 0 then call('XADD', base .. 'out', '*', 'j', table.concat(told), 'f', ARGV[2]) end
call('SET', last_key, whole(arg.number) .. ':' .. answer, 'EX', 86400)
return answer
