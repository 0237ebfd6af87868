-- A key is a hash: s state, t token, h the request's hash, r result, b when it began, l
-- when its lease ends, e when it is forgotten, o who began it; and while it is begun, with
-- a p before them, those of the attempt that it took over. Times are microseconds. Two sorted sets list the keys of a partition that are begun: by the end
-- of their lease, and by when they are forgotten.
--
--   KEYS   the key, the two sets; of Unfinished only the sets
--   ARGV   what to do, the key's own name, then what that needs
--   reply  what came of it, then all about the key as it is now, then as it was before
local what, name = ARGV[1], ARGV[2]

if what == 'unfinished' then
  return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now), 'LIMIT', ARGV[3], ARGV[4])
end

local key, leases, ends = KEYS[1], KEYS[2], KEYS[3]
local fields = {'s', 't', 'h', 'r', 'b', 'l', 'e', 'o'}

local function read()
  local v = redis.call('HMGET', key, unpack(fields))
  local e = tonumber(v[7] or '')
  if v[1] and not e then return nil, true end
  if not v[1] or e <= now then return nil end
  local rec = {}
  for i, f in ipairs(fields) do rec[f] = v[i] or '' end
  return rec
end

local function list(rec)
  if not rec then return {} end
  local t = {}
  for i, f in ipairs(fields) do t[i] = rec[f] end
  return t
end

local function text(n) return string.format('%.0f', n) end

local function save(rec)
  local t = {}
  for _, f in ipairs(fields) do
    t[#t + 1] = f
    t[#t + 1] = rec[f]
  end
  redis.call('HSET', key, unpack(t))
  redis.call('PEXPIREAT', key, text(math.ceil(tonumber(rec.e) / 1000)))
  if rec.s == '1' then
    redis.call('ZADD', leases, rec.l, name)
    redis.call('ZADD', ends, rec.e, name)
  else
    redis.call('ZREM', leases, name)
    redis.call('ZREM', ends, name)
  end
end

local old, broken = read()
if broken then return {'broken'} end

if what == 'get' then return {'ok', list(old)} end

if what == 'begin' then
  -- What was begun and is forgotten leaves the lists, a few at a time.
  for _, gone in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', text(now), 'LIMIT', '0', '8')) do
    redis.call('ZREM', leases, gone)
    redis.call('ZREM', ends, gone)
  end
  local hash, lease, keep, own = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
  local token, before = 1, nil
  if old then
    if old.h ~= hash then return {'mismatch', list(old)} end
    -- The answer was lost, and the question came again.
    if old.s == '1' and old.o == own then
      local names = {}
      for i, f in ipairs(fields) do names[i] = 'p' .. f end
      local prior = redis.call('HMGET', key, unpack(names))
      if prior[2] ~= text(tonumber(old.t) - 1) then prior = {} end -- of a life before
      return {'won', list(old), prior}
    end
    if not (old.s == '4' or (old.s == '1' and tonumber(old.l) <= now)) then return {'ok', list(old)} end
    token, before = tonumber(old.t) + 1, old
  end
  local rec = {s = '1', t = text(token), h = hash, r = '', b = text(now), l = text(now + lease), e = text(now + lease + keep), o = own}
  save(rec)
  if before then
    local t = {}
    for _, f in ipairs(fields) do
      t[#t + 1] = 'p' .. f
      t[#t + 1] = before[f]
    end
    redis.call('HSET', key, unpack(t))
  end
  return {'won', list(rec), list(before)}
end

if what == 'finish' then
  local token, state, result, keep = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
  if old and old.t == token then
    if old.s == '1' then
      old.s, old.r, old.l, old.e = state, result, '', text(now + keep)
      save(old)
      if token ~= '1' then
        for _, f in ipairs(fields) do redis.call('HDEL', key, 'p' .. f) end
      end
      return {'ok'}
    end
    if old.s == state and old.r == result then return {'ok'} end
  end
  return {'stale', list(old)}
end

if what == 'extend' then
  local token, lease, keep = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
  if not old or old.t ~= token or old.s ~= '1' then return {'stale', list(old)} end
  old.l, old.e = text(now + lease), text(now + lease + keep)
  save(old)
  return {'ok'}
end
