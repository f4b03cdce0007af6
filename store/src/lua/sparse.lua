-- sparse: up to arg.max batches of which few recipients are left, with their rows:
-- batch, the indices not at rest, the blob. Each is handed out once.
local answer = {}
for _, batch in ipairs(call('SPOP', base .. 'sparse', arg.max)) do
  local open, blob = load_open(batch), call('HGET', base .. 'batch', batch)
  if open and blob and not open.keep then
    local left = {}
    for i = 0, #open.st - 1 do
      local byte = string.byte(open.st, i + 1)
      if byte < END.d or byte >= SLOT_BASE then left[#left + 1] = i end
    end
    answer[#answer + 1] = { batch, pack_indices(left), blob }
  end
end
return answer
