-- reconcile: gives back every lease of the relay that it does not know of.
tick()
local known = {}
for _, token in ipairs(arg.known) do known[whole(token)] = true end
local held = call('HGETALL', base .. 'lease:' .. arg.relay)
local unknown = {}
for i = 1, #held, 2 do
  if not known[held[i]] then unknown[#unknown + 1] = { tonumber(held[i]), held[i], held[i + 1] } end
end
table.sort(unknown, function(a, b) return a[1] < b[1] end)
for _, lease in ipairs(unknown) do give_back(arg.relay, lease[2], lease[3]) end
return #unknown
