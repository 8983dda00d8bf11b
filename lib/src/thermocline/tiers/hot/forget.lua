-- Take names out of a scope's index whose records are gone, unless one was written since. Runs without common.lua.
-- KEYS: the names, the times. ARGV: the time in ms before which a name was written last, then the names.
local before, gone = tonumber(ARGV[1]), 0
for i = 2, #ARGV do
  local written = redis.call('ZSCORE', KEYS[2], ARGV[i])
  if not written or tonumber(written) < before then
    redis.call('ZREM', KEYS[2], ARGV[i])
    gone = gone + redis.call('ZREM', KEYS[1], ARGV[i])
  end
end
return gone
