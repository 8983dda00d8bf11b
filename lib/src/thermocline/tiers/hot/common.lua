-- Begins every script. Envelope v1 and markers, as they lie in Redis; big-endian. Versions are below 2^53, so a Lua number holds them.
--
-- A marker: 0 magic and format, as an envelope's | 4 flags = 2 (marker) | 5 kind: 'L' or 'A'
--   L, a lease:  6 floor u64 | 14 deadline u64 | 22 owner, to the end; none: the floor rests
--   A, announced: 6 marked u8 | 7 floor u64 | 15 number of writers u16 | 17 deadline u64 of the last envelope (0: none)
--                 25 each writer: deadline u64, length u8, id | then the last envelope, to the end
-- A value is the envelope itself; its deadline is the Redis key's expiry. All times are milliseconds since 1970.

local MAGIC = '\137TC\1'

local CRC = {[0] = 0, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
  0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c}
local bxor, band, rshift = bit.bxor, bit.band, bit.rshift

local function crc32(text)
  local crc = -1
  for i = 1, #text do
    crc = bxor(crc, string.byte(text, i))
    crc = bxor(rshift(crc, 4), CRC[band(crc, 15)])
    crc = bxor(rshift(crc, 4), CRC[band(crc, 15)])
  end
  crc = bxor(crc, -1)
  return crc < 0 and crc + 4294967296 or crc
end

-- The time in ms and in microseconds: the server's, or, where a test gives it, the test's.
local function clock(given)
  if given ~= '' then
    return tonumber(given), tonumber(given) * 1000
  end
  local time = redis.call('TIME')
  local us = time[1] * 1000000 + time[2]
  return math.floor(us / 1000), us
end

-- Whether the bytes are a whole envelope with a sound header, of this key. (The reader checks the payload.)
local function sound(raw, digest)
  if #raw < 88 or string.sub(raw, 1, 4) ~= MAGIC or string.sub(raw, 65, 80) ~= digest then
    return false
  end
  local meta, payload = struct.unpack('>I4', raw, 13), struct.unpack('>I8', raw, 57)
  return #raw == 88 + meta + payload and struct.unpack('>I4', raw, 85) == crc32(string.sub(raw, 1, 84))
end
