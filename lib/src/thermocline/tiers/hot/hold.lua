-- A hold: a string, the holder's token, that ends by itself. Runs without common.lua.
-- KEYS: the hold. ARGV: 'take' or 'release', the token, how long it lasts in ms. Answers 1, or 0 where it is not the caller's.
local found = redis.call('GET', KEYS[1])
if found and found ~= ARGV[2] then
  return 0
end
if ARGV[1] == 'release' then
  return redis.call('DEL', KEYS[1])
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
