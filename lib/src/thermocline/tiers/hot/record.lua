-- One write of a record whose authority is Redis itself. The script gives out the version and stamps the header with it.
-- KEYS: the record, the write's id; of a put on a server that has all keys also the scope's index of names and its times, and where the scope is entered into
-- its tenant's index that one and its times.
-- ARGV: 'put', 'delete' or 'touch'; required version ('': any); '1': only if no live record is there; version that the writer knows;
-- the envelope (of a touch its key, expiry and time of change count); time ('': now); with an index: the name, the time in ms that is noted, the scope.
-- Answers {effect, version, created ms, whether the record was there}: 'took', 'refused', 'nothing'; 'again' for an id that is known, which took effect once;
-- 'corrupt' and 'newer' for a record that is left as it is.

local KEY, ID, VERB, REQUIRED, ABSENT, KNOWN = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local NEW, DIGEST = ARGV[5], string.sub(ARGV[5], 65, 80)
local now, now_us = clock(ARGV[6])
local GRACE = 86400000  -- ms: an expired record and a tombstone outlive their end by a day
local ID_MS = 600000  -- an id is known for ten minutes, longer than any copy of its write is under way
local TOMBSTONE = 1
local HOT = '\1'
local LIMIT = 9007199254740992  -- 2^53, below which all versions are
local HEADER = 88  -- bytes of an envelope's header, with its checksum
local LONG = VERB == 'put' and #NEW > 16384  -- what is so long does not go through this script byte by byte: only headers are read and stamped

for i = 3, #KEYS, 2 do  -- first, so that no record is ever without a name
  local name = ARGV[i == 3 and 7 or 9]
  redis.call('ZADD', KEYS[i + 1], ARGV[8], name)
  redis.call('ZADD', KEYS[i], 0, name)
end

-- A checksum is linear: what a byte's change changes in it does not depend on the rest. (To compute it anew costs more than all else here.) CHANGES has four
-- bytes for each value of a byte that is stamped: the authority (6), then the lower seven of a version (18 to 24) and of a time of creation (34 to 40).
local CHANGES = @CHANGES@

local function changed(sum, place, was, is)
  if was ~= is then
    local from, to = {byte(was, 1, -1)}, {byte(is, 1, -1)}
    for i = 1, #from do
      if from[i] ~= to[i] then
        sum = bxor(sum, (struct.unpack('>I4', CHANGES, 1024 * (place + i - 1) + 4 * bxor(from[i], to[i]) + 1)))
      end
    end
  end
  return sum
end

local done = redis.call('GET', ID)
if done then
  local version, created = struct.unpack('>I8I8', done)
  return {'again', version, created}
end

local function field(raw, offset)
  return struct.unpack('>I8', raw, offset + 1)
end

local raw, size = nil, nil
if LONG then
  raw, size = redis.call('GETRANGE', KEY, 0, HEADER - 1), redis.call('STRLEN', KEY)
  raw = raw ~= '' and raw or redis.call('GET', KEY)  -- nothing, or a record of no bytes, which is damaged
else
  raw = redis.call('GET', KEY)
end
if raw and #raw >= 88 and string.sub(raw, 1, 3) == string.sub(MAGIC, 1, 3) and (string.byte(raw, 4) > 1 or string.byte(raw, 5) > 7)
  and struct.unpack('>I4', raw, 85) == crc32(string.sub(raw, 1, 84)) then
  return {'newer', 0, 0}  -- a sound header of a newer format: its writers know better, so it is never overwritten
end
local plain = VERB == 'put' and REQUIRED == '' and ABSENT ~= '1'  -- takes of a former record no more than when it was created
local believed = plain and raw and whole(raw, DIGEST, size) and field(raw, 16) <= now_us + 1000 * GRACE and field(raw, 32) < LIMIT
if raw and not believed and not sound(raw, DIGEST, size) then
  if REQUIRED ~= '' or VERB ~= 'put' then
    return {'corrupt', 0, 0}
  end
  raw = nil  -- a put replaces what is damaged
end
local version, live = 0, false
if raw then
  local expires, gone = field(raw, 24), ARGV[6] == '' and 0 or redis.call('PEXPIRETIME', KEY)
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
local header
if VERB ~= 'touch' and field(NEW, 16) == 0 and created < LIMIT and field(NEW, 32) < LIMIT then
  local stamps = struct.pack('>I8I8I8', after, expires, created)
  local sum = changed(struct.unpack('>I4', NEW, 85), 0, string.sub(NEW, 6, 6), HOT)
  sum = changed(sum, 1, string.sub(NEW, 18, 24), string.sub(stamps, 2, 8))
  sum = changed(sum, 8, string.sub(NEW, 34, 40), string.sub(stamps, 18, 24))
  if sum < 0 then
    sum = sum + 4294967296
  end
  header = string.sub(NEW, 1, 5) .. HOT .. string.sub(NEW, 7, 16) .. stamps .. string.sub(NEW, 41, 84) .. struct.pack('>I4', sum)
else
  header = string.sub(body, 1, 5) .. HOT .. string.sub(body, 7, 16) .. struct.pack('>I8I8I8I8', after, expires, created, modified)
    .. string.sub(body, 49, 84)
  header = header .. struct.pack('>I4', crc32(header))
end
local stamped = LONG and NEW or header .. string.sub(body, HEADER + 1)

if VERB == 'delete' then
  redis.call('SET', KEY, stamped, 'PXAT', now + GRACE)
elseif expires > 0 then
  redis.call('SET', KEY, stamped, 'PXAT', math.max(expires, now) + GRACE)
else
  redis.call('SET', KEY, stamped)
end
if LONG then
  redis.call('SETRANGE', KEY, 0, header)
end
redis.call('SET', ID, struct.pack('>I8I8', after, created), 'PX', ID_MS)
return {'took', after, created}
