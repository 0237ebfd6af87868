-- A flow (GCRA) keeps when it will be back on schedule: T whole microseconds and F parts
-- of one, of which there are den. All sums are of integers below 2^53, so exact.
--
--   T            that, if F is 0 and nothing else is there
--   T:F          with parts
--   T:F|node,seq,tokens,last,until|...   with what nodes have taken in advance, and the
--                                     number and the size of the last grant of each
--
-- A flow is a table {T, F, leases or nil}; p holds the policy: depth (dq, dr), num, den,
-- where num / den is the gap between two requests.

local function later(a, b, c, d) -- (a, b) > (c, d)
  return a > c or (a == c and b > d)
end

local function add(p, T, F, q, r)
  T, F = T + q, F + r
  if F >= p.den then T, F = T + 1, F - p.den end
  return T, F
end

local function times(p, n) -- n gaps
  local x = n * p.num
  local r = x % p.den
  return (x - r) / p.den, r
end

-- What is out on lease does not come in again meanwhile: level + leases <= burst.
local function hold(p, f, at, out)
  local T, F = add(p, at, 0, times(p, out))
  if later(T, F, f.T, f.F) then f.T, f.F = T, F end
end

local function out(f)
  local n = 0
  for _, l in ipairs(f.leases or {}) do n = n + l.tokens end
  return n
end

local save

-- flow reads what a key holds, as of now. It writes only if the clock went back: what is
-- too far ahead to be of this clock is brought near once, not at each look again.
local function flow(p, key, text)
  local back = false
  local T = tonumber(text or now)
  local f = {T = T, F = 0}
  if not T then
    local a, b, rest = string.match(text, '^(%d+):(%d+)(.*)$')
    if not a then return nil end
    f.T, f.F = tonumber(a), tonumber(b)
    if f.F >= p.den then f.T, f.F = f.T + 1, 0 end -- of another policy
    if rest ~= '' then
      f.leases = {}
      for node, seq, tokens, last, til in string.gmatch(rest, '|([^,|]+),(%d+),(%d+),(%d+),(%d+)') do
        table.insert(f.leases, {node = node, seq = tonumber(seq), tokens = tonumber(tokens),
          last = tonumber(last), til = tonumber(til)})
      end
      -- Those that have ended count up to their end, in the order of their ends.
      table.sort(f.leases, function(x, y) return x.til < y.til end)
      while f.leases[1] and f.leases[1].til <= now do
        hold(p, f, f.leases[1].til, out(f))
        table.remove(f.leases, 1)
      end
      for _, l in ipairs(f.leases) do
        if l.til > now + 60000000 then l.til, back = now + 60000000, true end
      end
    end
  end
  if f.T < now then f.T, f.F = now, 0 end
  -- Further ahead than two bursts is a clock that went back, or another policy.
  if f.T > now + 2 * p.dq + 2 then f.T, f.F, back = now + 2 * p.dq + 2, 0, true end
  if f.leases then hold(p, f, now, out(f)) end
  if back then save(key, f) end
  return f
end

function save(key, f)
  local text, til = string.format('%.0f', f.T), f.T
  if f.F > 0 or f.leases then
    text = string.format('%.0f:%.0f', f.T, f.F)
    til = til + 1
    for _, l in ipairs(f.leases or {}) do
      text = text .. string.format('|%s,%.0f,%.0f,%.0f,%.0f', l.node, l.seq, l.tokens, l.last, l.til)
      if l.til > til then til = l.til end
    end
  end
  redis.call('SET', key, text, 'PX', string.format('%.0f', math.max(1, math.ceil((til - now) / 1000))))
end
