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

-- A checksum is linear: what each bit of the authority (byte 6), a version (17 to 24) and a time of creation (33 to 40) changes in that of a header. (To
-- compute it anew costs more than all else here.)
local AUTHORITY = {0x4bf97751, 0x97f2eea2, 0xf494db05, 0x3258b04b, 0x64b16096, 0xc962c12c, 0x49b48419, 0x93690832}
local VERSION = {
  0x7dcd4d3f, 0xfb9a9a7e, 0x2c4432bd, 0x5888657a, 0xb110caf4, 0xb95093a9, 0xa9d02113, 0x88d14467, 0xb61be070, 0xb746c6a1, 0xb5fc8b03, 0xb0881047, 0xba6126cf,
  0xafb34bdf, 0x841791ff, 0xd35e25bf, 0x50b36adc, 0xa166d5b8, 0x99bcad31, 0xe8085c23, 0x0b61be07, 0x16c37c0e, 0x2d86f81c, 0x5b0df038, 0x8f352d95, 0xc51b5d6b,
  0x5147bc97, 0xa28f792e, 0x9e6ff41d, 0xe7aeee7b, 0x142cdab7, 0x2859b56e, 0x80ea52e6, 0xdaa5a38d, 0x6e3a415b, 0xdc7482b6, 0x6398032d, 0xc730065a, 0x55110af5,
  0xaa2215ea, 0x49e9ad1f, 0x93d35a3e, 0xfcd7b23d, 0x22de623b, 0x45bcc476, 0x8b7988ec, 0xcd821799, 0x40752973, 0x8d41e458, 0xc1f2cef1, 0x58949ba3, 0xb1293746,
  0xb92368cd}
local CREATED = {
  0xa396284c, 0x9c5d56d9, 0xe3cbabf3, 0x1ce651a7, 0x39cca34e, 0x7399469c, 0xe7328d38, 0x15141c31, 0x7fc99b93, 0xff933726, 0x2457680d, 0x48aed01a, 0x915da034,
  0xf9ca4629, 0x28e58a13, 0x51cb1426, 0x69790b65, 0xd2f216ca, 0x7e952bd5, 0xfd2a57aa, 0x2125a915, 0x424b522a, 0x8496a454, 0xd25c4ee9, 0x3db1ecdc, 0x7b63d9b8,
  0xf6c7b370, 0x36fe60a1, 0x6dfcc142, 0xdbf98284, 0x6c820349, 0xd9040692, 0x8f582f13, 0xc5c15867, 0x50f3b68f, 0xa1e76d1e, 0x98bfdc7d, 0xea0ebebb, 0x0f6c7b37,
  0x1ed8f66e, 0x843119f1, 0xd31335a3, 0x7d576d07, 0xfaaeda0e, 0x2e2cb25d, 0x5c5964ba, 0xb8b2c974, 0xaa1494a9, 0xca3ef393, 0x4f0ce167, 0x9e19c2ce, 0xe74283dd,
  0x15f401fb}

local function changed(sum, number, bits)
  local at = 1
  while number > 0 do
    local odd = number % 2
    if odd == 1 then
      sum = bxor(sum, bits[at])
    end
    number = (number - odd) / 2
    at = at + 1
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
  local sum = changed(struct.unpack('>I4', NEW, 85), after, VERSION)
  local authority = byte(NEW, 6)
  if authority ~= 1 then
    sum = changed(sum, bxor(authority, 1), AUTHORITY)
  end
  local given = field(NEW, 32)
  if created ~= given then
    sum = changed(changed(sum, created, CREATED), given, CREATED)
  end
  if sum < 0 then
    sum = sum + 4294967296
  end
  header = string.sub(NEW, 1, 5) .. HOT .. string.sub(NEW, 7, 16) .. struct.pack('>I8I8I8', after, expires, created)
    .. string.sub(NEW, 41, 84) .. struct.pack('>I4', sum)
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
