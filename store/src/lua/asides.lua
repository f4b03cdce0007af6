-- asides: what nobody could send, batch by batch: batch, lane, reason, version, when, how many.
local answer = {}
local all = call('HGETALL', base .. 'aside')
for i = 1, #all, 2 do
  local entry = cmsgpack.unpack(all[i + 1])
  answer[#answer + 1] = { all[i], entry.l, entry.r, entry.v, whole(entry.at), #entry.i / 2 }
end
return answer
