-- files: a draft's list of files, changed if it is still what it was when the change was
-- decided. ARGV[2] the list before, ARGV[3] after, '' for none. The record's version goes with
-- it: it says which programs may send the campaign. Answers settled | others | done.
if call('HGET', KEYS[1], 'status') ~= arg.draft then return 'settled' end
if (call('HGET', KEYS[1], 'files') or '') ~= ARGV[2] then return 'others' end
local record = call('HGET', KEYS[1], 'record')
call('HSET', KEYS[1], 'record', string.char(arg.version) .. string.sub(record, 2))
if ARGV[3] == '' then call('HDEL', KEYS[1], 'files') else call('HSET', KEYS[1], 'files', ARGV[3]) end
return 'done'
