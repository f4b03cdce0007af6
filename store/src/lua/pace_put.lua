-- pace_put: the controller's new state of one (source, site), if nobody was faster.
-- ARGV[2] the state. Answers the version now stored, negative when it was not ours.
local version = tonumber(call('HGET', KEYS[1], 'version') or '0')
if version ~= arg.version then return -version - 1 end
call('HSET', KEYS[1], 'version', version + 1, 'state', ARGV[2], 'rate', arg.rate, 'connections', arg.connections,
  'held', arg.held and '1' or '0', 'source', arg.source, 'site', arg.site)
call('PEXPIRE', KEYS[1], arg.keep_ms)
return version + 1
