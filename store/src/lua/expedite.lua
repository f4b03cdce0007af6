-- expedite: what is delayed becomes due now: of a campaign, or of the lanes named.
tick()
local named = {}
for _, lane in ipairs(arg.lanes) do named[lane] = true end
for _, group in ipairs(call('ZRANGE', base .. 'delay', 0, -1)) do
  local open = load_open(string.match(group, '^(%d+):'))
  if open and (named[open.l] or campaign_of(open.l) == arg.campaign) then promote_group(group) end
end
return 'ok'
