-- expedite: what is delayed of a campaign becomes due now.
tick()
for _, group in ipairs(call('ZRANGE', base .. 'delay', 0, -1)) do
  local open = load_open(string.match(group, '^(%d+):'))
  if open and campaign_of(open.l) == arg.campaign then promote_group(group) end
end
return 'ok'
