-- One note: a string of its etag (32 characters) and its data; its name stands in the notes' index, in the same slot. Runs without common.lua.
-- KEYS: the index, the note. ARGV: 'write', 'delete' or 'tidy' (take the name of a note that is gone out of the index), the name, condition ('': none,
-- 'absent', or '=' and the etag that it must have), etag and data, lifetime in ms (0: for ever). Answers 1, or 0 where nothing was done.
local VERB, NAME, CONDITION = ARGV[1], ARGV[2], ARGV[3]
local found = redis.call('GET', KEYS[2])
if (CONDITION == 'absent' and found) or (string.sub(CONDITION, 1, 1) == '=' and (not found or string.sub(found, 1, 32) ~= string.sub(CONDITION, 2))) then
  return 0
end
if VERB == 'write' then
  if ARGV[5] == '0' then
    redis.call('SET', KEYS[2], ARGV[4])
  else
    redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[5])
  end
  redis.call('ZADD', KEYS[1], 0, NAME)
  return 1
end
if VERB == 'tidy' and found then
  return 0
end
redis.call('ZREM', KEYS[1], NAME)
return redis.call('DEL', KEYS[2])
