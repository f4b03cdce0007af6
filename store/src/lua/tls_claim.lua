-- tls_claim: one report that is due, for whoever asks first: nobody else is given it before
-- `until`, when it is due again. Answers its name, or false.
local due = base .. 'tlsrpt:due'
local name = call('ZRANGEBYSCORE', due, '-inf', whole(arg.at), 'LIMIT', 0, 1)[1]
if not name then return false end
call('ZADD', due, whole(arg.till), name)
return name
