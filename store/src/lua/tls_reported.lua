-- tls_reported: what became of a report. ARGV[2] its state; `due` when it is tried again, 0 never.
local index, due = base .. 'tlsrpt:' .. arg.day, base .. 'tlsrpt:due'
local name = arg.day .. ' ' .. arg.domain
if call('HEXISTS', index, arg.domain) == 1 then call('HSET', index, arg.domain, ARGV[2]) end
if arg.due > 0 then call('ZADD', due, whole(arg.due), name) else call('ZREM', due, name) end
return 'ok'
