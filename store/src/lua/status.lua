-- status: a campaign's status, changed if it is one of those expected, and if its files are still
-- those of ARGV[2], where that is given. Answers the status now.
local status = call('HGET', KEYS[1], 'status') or 'none'
if ARGV[2] and (call('HGET', KEYS[1], 'files') or '') ~= ARGV[2] then return status end
for _, from in ipairs(arg.from) do
  if from == status then
    call('HSET', KEYS[1], 'status', arg.to, 'changed_at', whole(arg.at))
    return arg.to
  end
end
return status
