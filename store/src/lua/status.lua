-- status: a campaign's status, changed if it is one of those expected. Answers the status now.
local status = call('HGET', KEYS[1], 'status') or 'none'
for _, from in ipairs(arg.from) do
  if from == status then
    call('HSET', KEYS[1], 'status', arg.to, 'changed_at', whole(arg.at))
    return arg.to
  end
end
return status
