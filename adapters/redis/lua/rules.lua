-- Decides on requests, one after the other, each of which has to meet several rules, and
-- counts with all of them or with none.
--
--   ARGV   P, then P policies of five: kind and four numbers;
--          then for each request: R, then R times: policy, n, q, r, each with its key
--   reply  for each rule, in order, a list of integers that begins with 1 if it would let
--          the request pass, 0 if not, -1 if the key holds something else
--
-- Each kind is a function that looks, and returns what it would answer if the request
-- passes and if not, and a function that counts.
local kinds = {}

-- dq dr num den. Then how far the flow is ahead of now.
function kinds.g(key, p, n, q, r)
  local text = redis.pcall('GET', key)
  if type(text) == 'table' then return {-1} end
  p.dq, p.dr, p.num, p.den = p[1], p[2], p[3], p[4]
  local f = flow(p, key, text)
  if not f then return {-1} end
  local T, F = add(p, f.T, f.F, q, r)
  local ok = not later(T - now, F, p.dq, p.dr)
  return {ok and 1 or 0, f.T - now, f.F}, {1, T - now, F}, function()
    f.T, f.F = T, F
    save(key, f)
  end
end

-- limit period. Then what has passed in this window, and when it ends.
function kinds.f(key, p, n)
  local text = redis.pcall('GET', key)
  if type(text) == 'table' then return {-1} end
  local limit, period = p[1], p[2]
  local window = math.floor(now / period)
  local left = (window + 1) * period - now
  local count = 0
  local function save(c)
    redis.call('SET', key, string.format('%.0f:%.0f', window, c), 'PX', string.format('%.0f', math.ceil(left / 1000)))
  end
  if text then
    local w, c = string.match(text, '^(%d+):(%d+)$')
    if not w then return {-1} end
    if tonumber(w) == window then count = tonumber(c) end
    if tonumber(w) > window then -- a clock that went back: the count stands, for this window
      count = tonumber(c)
      save(count)
    end
  end
  return {count + n <= limit and 1 or 0, count, left}, {1, count + n, left}, function() save(count + n) end
end

-- limit period. Then how many count, after how long none does, and after how long the
-- request would pass. The list holds when each stops to count.
function kinds.l(key, p, n)
  local limit, period = p[1], p[2]
  local size = redis.pcall('LLEN', key)
  if type(size) == 'table' then return {-1} end
  local last = 0
  if size > 0 then
    last = tonumber(redis.call('LINDEX', key, -1))
    if last > now + period then -- a clock that went back: all count from now
      redis.call('DEL', key)
      for i = 1, size do redis.call('RPUSH', key, string.format('%.0f', now + period)) end
      redis.call('PEXPIRE', key, string.format('%.0f', math.ceil(period / 1000)))
      last = now + period
    end
    while size > 0 and tonumber(redis.call('LINDEX', key, 0)) <= now do
      redis.call('LPOP', key)
      size = size - 1
    end
  end
  local reset = size > 0 and last - now or 0
  local wait, over = 0, size + n - limit
  if over > 0 and over <= size then wait = tonumber(redis.call('LINDEX', key, over - 1)) - now end
  return {over <= 0 and 1 or 0, size, reset, wait}, {1, size + n, math.max(now + period, last) - now, 0}, function()
    local til = string.format('%.0f', math.max(now + period, last))
    local push = {}
    for i = 1, n do
      push[#push + 1] = til
      if #push == 1000 or i == n then
        redis.call('RPUSH', key, unpack(push))
        push = {}
      end
    end
    redis.call('PEXPIRE', key, string.format('%.0f', math.ceil((til - now) / 1000)))
  end
end

-- limit width buckets smooth. Then how long the newest bucket has lasted, and the count
-- of each bucket from the oldest on.
function kinds.c(key, p, n)
  local text = redis.pcall('GET', key)
  if type(text) == 'table' then return {-1} end
  local limit, width, buckets = p[1], p[2], p[3]
  local k, counts = math.floor(now / width), {}
  for i = 1, buckets + 1 do counts[i] = 0 end -- counts[i] is bucket k - buckets - 1 + i
  local function save()
    local list = {} -- the newest first
    for i = buckets + 1, 1, -1 do list[#list + 1] = string.format('%.0f', counts[i]) end
    redis.call('SET', key, string.format('%.0f:', k) .. table.concat(list, ','), 'PX',
      string.format('%.0f', math.ceil(((k + buckets + 1) * width - now) / 1000)))
  end
  if text then
    local first, rest = string.match(text, '^(%d+):([%d,]+)$')
    if not first then return {-1} end
    local at = math.min(tonumber(first), k)
    for c in string.gmatch(rest, '%d+') do
      local i = at - k + buckets + 1
      if i >= 1 then counts[i] = tonumber(c) end
      at = at - 1
      if at < k - buckets then break end
    end
    if tonumber(first) > k then save() end -- a clock that went back: all counts from now
  end
  local past = now - k * width
  local sum = 0
  for i = 2, buckets + 1 do sum = sum + counts[i] end
  local oldest = counts[1]
  if p[4] == 1 then -- rounded up
    local x = oldest * (width - past)
    local r = x % width
    oldest = (x - r) / width
    if r > 0 then oldest = oldest + 1 end
  end
  local ok = sum + oldest + n <= limit
  local stay, pass = {ok and 1 or 0, past}, {1, past}
  for i, c in ipairs(counts) do
    stay[i + 2], pass[i + 2] = c, c
  end
  pass[buckets + 3] = pass[buckets + 3] + n
  return stay, pass, function()
    counts[buckets + 1] = counts[buckets + 1] + n
    save()
  end
end

local policies, at = {}, 2
for i = 1, tonumber(ARGV[1]) do
  policies[i] = {kind = ARGV[at]}
  for j = 1, 4 do policies[i][j] = tonumber(ARGV[at + j]) end
  at = at + 5
end
local reply, key = {}, 1
while at <= #ARGV do
  local rules, all, looks = tonumber(ARGV[at]), true, {}
  at = at + 1
  for i = 1, rules do
    local p = policies[tonumber(ARGV[at])]
    local n = tonumber(ARGV[at + 1])
    local stay, pass, count = kinds[p.kind](KEYS[key], p, n, tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]))
    looks[i] = {stay = stay, pass = pass, count = count, n = n}
    all = all and stay[1] == 1
    at, key = at + 4, key + 1
  end
  for _, l in ipairs(looks) do
    if all and l.n > 0 then l.count() end
    reply[#reply + 1] = all and l.pass or l.stay
  end
end
return reply
