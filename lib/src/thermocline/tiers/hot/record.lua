-- One write of a record whose authority is Redis itself. The script gives out the version and stamps the header with it.
-- KEYS: the record, the write's id. ARGV: 'put', 'delete' or 'touch'; required version ('': any); '1': only if no live record is there; version that the
-- writer knows; the envelope (of a touch its expiry and time of change count); grace ms; how long the id is known in ms; digest of the key; time ('': now).
-- Answers {effect, version, created ms, whether the record was there}: 'took', 'refused', 'nothing'; 'again' for an id that is known, which took effect once;
-- 'corrupt' and 'newer' for a record that is left as it is.

local KEY, ID, VERB, REQUIRED, ABSENT, KNOWN = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local NEW, GRACE, ID_MS, DIGEST = ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8]
local now, now_us = clock(ARGV[9])
local TOMBSTONE = 1
local HOT = '\1'

local done = redis.call('GET', ID)
if done then
  local version, created = struct.unpack('>I8I8', done)
  return {'again', version, created}
end

local function field(raw, offset)
  return struct.unpack('>I8', raw, offset + 1)
end

local raw = redis.call('GET', KEY)
if raw and #raw >= 88 and string.sub(raw, 1, 3) == string.sub(MAGIC, 1, 3) and (string.byte(raw, 4) > 1 or string.byte(raw, 5) > 7)
  and struct.unpack('>I4', raw, 85) == crc32(string.sub(raw, 1, 84)) then
  return {'newer', 0, 0}  -- a sound header of a newer format: its writers know better, so it is never overwritten
end
if raw and not sound(raw, DIGEST) then
  if REQUIRED ~= '' or VERB ~= 'put' then
    return {'corrupt', 0, 0}
  end
  raw = nil  -- a put replaces what is damaged
end
local version, live = 0, false
if raw then
  local expires, gone = field(raw, 24), redis.call('PEXPIRETIME', KEY)
  version = field(raw, 16)
  live = string.byte(raw, 5) % 2 ~= TOMBSTONE and (expires == 0 or expires > now)
  if gone > 0 and gone <= now then  -- only by a test's clock: the server would have removed it
    raw, version, live = nil, 0, false
  end
end

if (REQUIRED ~= '' and tonumber(REQUIRED) ~= version) or (ABSENT == '1' and live) then
  return {'refused', version, 0}
elseif (VERB == 'delete' and not raw) or (VERB == 'touch' and not live) then
  return {'nothing', version, 0}
end

local expires, created, modified = field(NEW, 24), field(NEW, 32), field(NEW, 40)
local body = NEW
if live then
  created = field(raw, 32)
end
if VERB == 'touch' then
  body = raw
end
local after = math.max(math.max(version, KNOWN) + 1, now_us)
local header = string.sub(body, 1, 5) .. HOT .. string.sub(body, 7, 16) .. struct.pack('>I8I8I8I8', after, expires, created, modified)
  .. string.sub(body, 49, 84)
local stamped = header .. struct.pack('>I4', crc32(header)) .. string.sub(body, 89)

if VERB == 'delete' then
  redis.call('SET', KEY, stamped, 'PXAT', now + GRACE)
elseif expires > 0 then
  redis.call('SET', KEY, stamped, 'PXAT', math.max(expires, now) + GRACE)
else
  redis.call('SET', KEY, stamped)
end
redis.call('SET', ID, struct.pack('>I8I8', after, created), 'PX', ID_MS)
return {'took', after, created}
