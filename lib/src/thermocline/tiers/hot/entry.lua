-- One operation on one hot entry, the same as the function of that name in thermocline/coherence.py.
-- KEYS: the entry. ARGV: operation, owner ('': none), lasting or version, rest ms, ceiling ms, digest of the key, envelope ('': none), time ('': now).
-- Answers {0, envelope}: a value; {1, floor}: the lease; {2, floor, last envelope or ''}: busy; {3}: done; {4, floor, owner}: busy, another's lease.

local KEY, OPERATION, OWNER = KEYS[1], ARGV[1], ARGV[2]
local NUMBER, REST, CEILING = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local DIGEST, OFFER = ARGV[6], ARGV[7]
local now = clock(ARGV[8])

-- Entries: nil (absent), {kind='L', owner, floor, deadline}, {kind='A', writers={{id, deadline}...}, marked, floor, last={raw, deadline} or nil},
-- {kind='V', version, raw, deadline}

local function parse_marker(raw)
  local kind = string.sub(raw, 6, 6)
  if kind == 'L' then
    local floor, deadline = struct.unpack('>I8I8', raw, 7)
    return {kind = kind, floor = floor, deadline = deadline, owner = string.sub(raw, 23)}
  end
  assert(kind == 'A')
  local marked, floor, count, last, at = struct.unpack('>BI8I2I8', raw, 7)
  local writers = {}
  for i = 1, count do
    local deadline, id
    deadline, id, at = struct.unpack('>I8Bc0', raw, at)
    writers[i] = {id, deadline}
  end
  return {kind = kind, marked = marked, floor = floor, writers = writers, last = last > 0 and {string.sub(raw, at), last} or nil}
end

local function read()
  local raw = redis.call('GET', KEY)
  if not raw then
    return nil
  end
  if string.sub(raw, 1, 5) == MAGIC .. '\2' then
    local ok, marker = pcall(parse_marker, raw)
    return ok and marker or nil
  end
  if #raw < 88 or string.sub(raw, 1, 4) ~= MAGIC or (OPERATION ~= 'look' and not sound(raw, DIGEST)) then
    return nil  -- damaged, or of a newer format: as if hot had lost it
  end
  local deadline = redis.call('PEXPIRETIME', KEY)
  return {kind = 'V', version = struct.unpack('>I8', raw, 17), raw = raw, deadline = deadline < 0 and now + CEILING or deadline}
end

local function rest(floor, from)
  return floor > 0 and {kind = 'L', floor = floor, deadline = from + REST, owner = ''} or nil
end

local function value(version)
  local expires = struct.unpack('>I8', OFFER, 25)
  local lifetime = now + CEILING
  if expires > 0 and expires < lifetime then
    lifetime = expires
  end
  return {kind = 'V', version = version, raw = OFFER, deadline = math.max(lifetime, now + REST)}
end

local function without(writers, id)
  local others = {}
  for _, writer in ipairs(writers) do
    if writer[1] ~= id then
      others[#others + 1] = writer
    end
  end
  return others
end

-- The entry as it is now: what is past its deadline has run out, each at its own moment.
local function current(entry)
  if entry and entry.kind == 'A' then
    local left, latest = {}, 0
    for _, writer in ipairs(entry.writers) do
      if writer[2] > now then
        left[#left + 1] = writer
      else
        latest = math.max(latest, writer[2])
      end
    end
    if #left == 0 then
      entry = rest(entry.floor, latest)
    else
      if #left < #entry.writers then
        entry.marked = 1
      end
      entry.writers = left
      if entry.last and entry.last[2] <= now then
        entry.last = nil
      end
      return entry
    end
  elseif entry and entry.kind == 'L' and entry.owner ~= '' and entry.deadline <= now then
    entry = rest(entry.floor, entry.deadline)
  end
  if entry and entry.deadline <= now then
    return nil
  end
  return entry
end

local function write(entry)
  if not entry then
    redis.call('DEL', KEY)
    return
  end
  local raw, deadline
  if entry.kind == 'V' then
    raw, deadline = entry.raw, entry.deadline
  elseif entry.kind == 'L' then
    raw = MAGIC .. '\2L' .. struct.pack('>I8I8', entry.floor, entry.deadline) .. entry.owner
    deadline = entry.owner == '' and entry.deadline or entry.deadline + REST
  else
    deadline = 0
    local parts = {MAGIC .. '\2A', struct.pack('>BI8I2I8', entry.marked, entry.floor, #entry.writers, entry.last and entry.last[2] or 0)}
    for _, writer in ipairs(entry.writers) do
      parts[#parts + 1] = struct.pack('>I8Bc0', writer[2], #writer[1], writer[1])
      deadline = math.max(deadline, writer[2] + REST)
    end
    parts[#parts + 1] = entry.last and entry.last[1] or nil
    raw = table.concat(parts)
  end
  redis.call('SET', KEY, raw, 'PXAT', deadline)
end

local function store(before, after)
  local same = before == after and not (after and after.kind ~= 'V')
  if not same then  -- a value that stays is not written again; what else stays may have changed inside
    write(after)
  end
end

-- A version is told to a value: the newer of both stays; a newer one that has no value at hand leaves its floor.
local function newer(entry, version)
  if version <= entry.version then
    return entry
  end
  return OFFER == '' and rest(version, now) or value(version)
end

-- A version is told to an announced entry.
local function tell(entry, version)
  if version > entry.floor or (version == entry.floor and not entry.last) then
    local offered = OFFER ~= '' and value(version) or nil
    entry.last = offered and {offered.raw, offered.deadline}
  end
  entry.floor = math.max(entry.floor, version)
  return entry
end

local function announce(entry)
  if entry and entry.kind == 'A' then
    local deadline = now + NUMBER
    for _, writer in ipairs(entry.writers) do
      if writer[1] == OWNER then
        deadline = math.max(deadline, writer[2])
      end
    end
    entry.writers = without(entry.writers, OWNER)
    table.insert(entry.writers, {OWNER, deadline})
    return entry
  end
  local after = {kind = 'A', marked = 0, floor = entry and entry.floor or 0, writers = {{OWNER, now + NUMBER}}}
  if entry and entry.kind == 'V' then
    after.floor = entry.version
    after.last = {entry.raw, entry.deadline}
  end
  return after
end

local function publish(entry, version)
  if entry and entry.kind == 'V' then
    return newer(entry, version)
  end
  local floor = math.max(entry and entry.floor or 0, version)
  if entry and entry.kind == 'A' then
    local others = without(entry.writers, OWNER)
    if #others > 0 then
      entry.writers = others
      return tell(entry, version)
    end
    if OFFER ~= '' and entry.marked == 0 and version == floor then
      return value(version)
    end
  end
  return rest(floor, now)
end

local function withdraw(entry)
  if not entry or entry.kind ~= 'A' then
    return entry
  end
  local others = without(entry.writers, OWNER)
  if #others == 0 then
    return rest(entry.floor, now)
  end
  entry.writers = others
  return entry
end

local function settle(entry, version)
  if not entry then
    return OWNER ~= '' and rest(version, now) or nil
  elseif entry.kind == 'V' then
    return newer(entry, version)
  elseif entry.kind == 'A' then
    return tell(entry, version)
  end
  local floor = math.max(entry.floor, version)
  if entry.owner ~= '' and entry.owner ~= OWNER then
    entry.floor = floor
    return entry
  end
  if entry.owner ~= '' and OFFER ~= '' and version == floor then
    return value(version)
  end
  return rest(floor, now)
end

local entry = current(read())

if OPERATION == 'look' then
  if entry and entry.kind == 'V' then
    return {0, entry.raw}
  elseif entry and entry.kind == 'A' then
    return {2, entry.floor, entry.last and entry.last[1] or ''}
  elseif entry and entry.owner ~= '' then
    return {4, entry.floor, entry.owner}
  end
  local floor = entry and entry.floor or 0
  write({kind = 'L', floor = floor, deadline = now + NUMBER, owner = OWNER})
  return {1, floor}
elseif OPERATION == 'renew' then
  if entry and entry.kind == 'L' and entry.owner == OWNER then
    entry.deadline = math.max(entry.deadline, now + NUMBER)
    write(entry)
    return {1, entry.floor}
  end
elseif OPERATION == 'announce' then
  entry = announce(entry)
  write(entry)
  return {2, entry.floor, ''}
elseif OPERATION == 'publish' then
  store(entry, publish(entry, NUMBER))
elseif OPERATION == 'withdraw' then
  store(entry, withdraw(entry))
elseif OPERATION == 'settle' then
  store(entry, settle(entry, NUMBER))
elseif OPERATION == 'discard' then  -- a value that its reader found damaged, if it is still that one
  local raw = redis.call('GET', KEY)
  if raw and redis.sha1hex(raw) == OWNER then
    redis.call('DEL', KEY)
  end
end
return {3}
