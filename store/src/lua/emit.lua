-- emit: events that move no account, ARGV[2] the frame of arg.count of them.
call('XADD', base .. 'out', '*', 'j', string.rep('a', arg.count), 'f', ARGV[2])
return 'ok'
