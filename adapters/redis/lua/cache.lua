-- An entry is a hash: v value, n set if it is known that there is none, e when it is no
-- longer fresh, d how long it took to load, and while somebody loads it: t the loader's
-- token, u until when it keeps others off. Times are microseconds.
--
--   get    token, early, pause       how long loading takes × early is by how much the end
--                                    comes early; pause is how long to keep others off
--   fill   token, value, none, fresh, stale, took
--   fail   token, pause
--   reply  get: fresh, stale, load or wait; fresh for so long; value; none; how long loading
--          took. fill, fail: 1 if the token is still the loader's, else 0
local key, what, token = KEYS[1], ARGV[1], ARGV[2]
local function text(n) return string.format('%.0f', n) end

if what == 'get' then
  local f = redis.call('HMGET', key, 'v', 'n', 'e', 'd', 't', 'u')
  local value, none, till, took = f[1], f[2], tonumber(f[3] or '') or 0, tonumber(f[4] or '') or 0
  local there = value or none
  local left = till - now
  local loading = f[5] and f[5] ~= token and (tonumber(f[6] or '') or 0) > now
  local state
  if there and left > took * tonumber(ARGV[3]) then
    state = 'fresh'
  elseif loading then
    state = there and (left > 0 and 'fresh' or 'stale') or 'wait'
  else
    redis.call('HSET', key, 't', token, 'u', text(now + tonumber(ARGV[4])))
    if not there then redis.call('PEXPIRE', key, text(math.ceil(tonumber(ARGV[4]) / 1000))) end
    state = 'load'
  end
  return {state, text(left), value or '', there and (none and 'n' or 'v') or '', text(took)}
end

if redis.call('HGET', key, 't') ~= token then return 0 end
if what == 'fill' then
  redis.call('DEL', key)
  if ARGV[4] == 'n' then redis.call('HSET', key, 'n', '1') else redis.call('HSET', key, 'v', ARGV[3]) end
  redis.call('HSET', key, 'e', text(now + tonumber(ARGV[5])), 'd', ARGV[7])
  redis.call('PEXPIRE', key, text(math.ceil((tonumber(ARGV[5]) + tonumber(ARGV[6])) / 1000)))
  return 1
end
-- It failed: with something to go on with, others keep off for a while.
if redis.call('HEXISTS', key, 'v') == 1 or redis.call('HEXISTS', key, 'n') == 1 then
  redis.call('HSET', key, 't', 'failed', 'u', text(now + tonumber(ARGV[3])))
else
  redis.call('DEL', key)
end
return 1
