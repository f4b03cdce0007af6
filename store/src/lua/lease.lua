-- lease: up to a number of recipients from each lane named, retries before fresh ones.
-- Answers lost | full | ok, then one row a lease:
-- token, slot, batch, lane, count, cancelling, indices, attempts, blob or ''.
-- Indices are packed, or the first of as many as there are attempts, which follow one another.
tick()
if not is_known(arg.relay) then return { 'lost' } end
if outbox_is_full() then return { 'full' } end
local answer = { 'ok' }

local function free_slot(open)
  for slot = 1, arg.slots_max do
    if not open.s[slot] then return slot end
  end
end

local function hold(batch, open, slot, n, indices, attempts, cancelling, with_blob)
  last_token = math.max(last_token + 1, now * 1000)
  local token = whole(last_token)
  open.s[slot] = { last_token, n }
  save_open(batch, open)
  call('HSET', base .. 'lease:' .. arg.relay, token, batch .. ':' .. slot)
  local blob = with_blob and call('HGET', base .. 'batch', batch) or ''
  answer[#answer + 1] = { token, slot, batch, open.l, #open.st, cancelling and 1 or 0, indices, attempts, blob }
end

local function hold_list(batch, open, slot, indices, cancelling, with_blob)
  open.st = replace_bytes(open.st, indices, string.char(SLOT_BASE + slot))
  local attempts = {}
  for i = 1, #indices do
    attempts[i] = string.sub(open.at, indices[i] + 1, indices[i] + 1)
  end
  hold(batch, open, slot, #indices, pack_indices(indices), table.concat(attempts), cancelling, with_blob)
end

local function hold_range(batch, open, slot, from, n, cancelling, with_blob)
  open.st = replace_ranges(open.st, { from, string.rep(string.char(SLOT_BASE + slot), n) })
  hold(batch, open, slot, n, from, string.sub(open.at, from + 1, from + n), cancelling, with_blob)
end

local function lease_retries(lane, want, cancelling)
  local list = base .. 'retry:' .. lane
  while want > 0 do
    local entry = call('LPOP', list)
    if not entry then return want end
    local batch, listed = split_retry(entry)
    local open = load_open(batch)
    local live, rest = {}, {}
    for _, i in ipairs(open and listed or {}) do
      if string.byte(open.st, i + 1) == RETRY then
        local to = #live < want and live or rest
        to[#to + 1] = i
      end
    end
    if #live > 0 then
      local slot = free_slot(open)
      if not slot then
        for _, i in ipairs(rest) do live[#live + 1] = i end
        call('LPUSH', list, retry_entry(batch, pack_indices(live)))
        return want
      end
      if #rest > 0 then call('LPUSH', list, retry_entry(batch, pack_indices(rest))) end
      want = want - #live
      hold_list(batch, open, slot, live, cancelling, false)
    end
  end
  return want
end

local function lease_fresh(lane, want, cancelling)
  local list = base .. 'fresh:' .. lane
  while want > 0 do
    local head = call('LINDEX', list, 0)
    if not head then return end
    local batch, n = string.match(head, '^(%d+):(%d+)$')
    n = tonumber(n)
    local open = load_open(batch) or new_open(lane, n)
    local slot = free_slot(open)
    if not slot then return end
    local from, some = open.cur, math.min(want, n - open.cur)
    if some > 0 and is_all(open.st, from, some, FRESH) then
      open.cur = from + some
      if open.cur == n then call('LPOP', list) end
      want = want - some
      hold_range(batch, open, slot, from, some, cancelling, from == 0)
    else
      local taken = {}
      while open.cur < n and #taken < want do
        if string.byte(open.st, open.cur + 1) == FRESH then taken[#taken + 1] = open.cur end
        open.cur = open.cur + 1
      end
      if open.cur == n then call('LPOP', list) end
      want = want - #taken
      if #taken > 0 then
        hold_list(batch, open, slot, taken, cancelling, from == 0)
      else
        save_open(batch, open)
      end
    end
  end
end

for _, pair in ipairs(arg.wants) do
  local lane = pair[1]
  local state = campaign_state(campaign_of(lane))
  if is_leasable(state) then
    local cancelling = state == 'cancelling'
    lease_fresh(lane, lease_retries(lane, pair[2], cancelling), cancelling)
    rest_if_idle(lane)
  else
    call('ZREM', base .. 'ready', lane)
  end
end
if #answer > 1 then call('HSET', KEYS[1], 'token', whole(last_token)) end
return answer
