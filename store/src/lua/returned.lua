-- returned: mails that came back about deliveries of this shard, one after the other. What a mail
-- says of an address is written if the address's history is still what it was when that was decided
-- (arg.mails[i].tenant is empty where it says nothing of one). It is counted once per delivery and
-- kind, however often it comes, and once more where it says that the address is dead.
-- Five blobs a mail: the history before and after, the suppression to write or '', the frame to tell
-- where it was counted before or '', and the frame to tell where it was not.
-- Answers a pair a mail: -1 and the history as it is, where that is another, having done nothing of
-- this mail; 1 and '' where it was counted; 0 and '' where it had been.
tick()

local function weigh(mail, before, after, suppression)
  if mail.tenant == '' then return nil end
  local history = base .. 'hist:' .. mail.tenant
  local found = call('HGET', history, mail.address) or ''
  if found ~= before then return found end
  if after ~= before then call('HSET', history, mail.address, after) end
  if suppression ~= '' then call('HSET', base .. 'sup:' .. mail.tenant, mail.address, suppression) end
end

local function count(mail)
  local seen = base .. mail.counter .. ':' .. mail.campaign
  if call('SADD', seen, whole(mail.seq)) == 0 then return 0 end
  call('EXPIRE', seen, arg.keep_s)
  call('HINCRBY', campaign_key(mail.campaign), mail.counter, 1)
  if mail.dead then call('HINCRBY', campaign_key(mail.campaign), 'returned_dead', 1) end
  return 1
end

local answers = {}
for i, mail in ipairs(arg.mails) do
  local blob = 2 + (i - 1) * 5
  local other = weigh(mail, ARGV[blob], ARGV[blob + 1], ARGV[blob + 2])
  if other then
    answers[i] = { -1, other }
  else
    local first = count(mail)
    local frame, events = ARGV[blob + 3 + first], mail.events[1 + first]
    if frame ~= '' then call('XADD', base .. 'out', '*', 'j', string.rep('a', events), 'f', frame) end
    answers[i] = { first, '' }
  end
end
return answers
