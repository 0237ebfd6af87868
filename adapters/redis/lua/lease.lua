-- Gives a node tokens of flows to spend by itself, and takes back what it does not need.
-- A flow's level and all that is out on lease are never more than its burst.
--
--   ARGV   dq dr num den node, length of a lease in µs; then for each key:
--          seq    the number of this question, above those before
--          lost   the answers from this number on never reached the node; 0: none
--          held   what the node has and keeps
--          give   what it gives back, and has no more
--          need   so many have to pass, of what it keeps and what it gets, or it gets none
--          more   so many others wait there, and get what is left
--          want   so many more it would like
--   reply  for each key five integers: 1, or 0 if need is refused, or -1 if the key holds
--          something else; what the node gets; what it must not spend of what it keeps,
--          since its lease is not known here; and how far the flow is ahead, T and F
local p = {dq = tonumber(ARGV[1]), dr = tonumber(ARGV[2]), num = tonumber(ARGV[3]), den = tonumber(ARGV[4])}
local node, length = ARGV[5], tonumber(ARGV[6])
local reply = {}

local function exchange(key, seq, lost, keep, give, need, more, want)
  local text = redis.pcall('GET', key)
  local f = type(text) ~= 'table' and flow(p, key, text)
  if not f then return -1, 0, keep, 0, 0 end
  local mine, all = nil, {}
  for _, l in ipairs(f.leases or {}) do
    if l.node == node then mine = l else all[#all + 1] = l end
  end
  if mine and mine.seq == seq then return 1, mine.last, 0, f.T - now, f.F end -- asked twice
  if mine and mine.seq > seq then return 0, 0, keep, f.T - now, f.F end -- too late
  local held, back = 0, 0
  if mine then
    held = mine.tokens
    if lost > 0 and mine.seq >= lost then held, back = held - mine.last, mine.last end
    give = math.min(give, held)
    held, back = math.min(keep, held - give), back + give
    local q, r = times(p, back)
    f.T, f.F = f.T - q, f.F - r
    if f.F < 0 then f.T, f.F = f.T - 1, f.F + p.den end
    if f.T < now then f.T, f.F = now, 0 end
  end
  local x = (p.dq - f.T + now) * p.den + p.dr - f.F
  local level = x > 0 and (x - x % p.num) / p.num or 0
  local short = math.max(0, need - held)
  local ok, grant = 1, 0
  if short > level then
    ok = 0
  else
    grant = short + math.min(more, level - short)
    -- Near the limit leases get small, so that no node sits on what others need.
    grant = grant + math.min(want, math.floor((level - grant) / (#all + 2)))
    local q, r = times(p, grant)
    f.T, f.F = add(p, f.T, f.F, q, r)
  end
  if held + grant > 0 then
    all[#all + 1] = {node = node, seq = seq, tokens = held + grant, last = grant, til = now + length}
  end
  if mine or grant > 0 then
    f.leases = #all > 0 and all or nil
    if f.leases then hold(p, f, now, out(f)) end
    save(key, f)
  end
  return ok, grant, keep - held, f.T - now, f.F
end

for i, key in ipairs(KEYS) do
  local a = {}
  for j = 1, 7 do a[j] = tonumber(ARGV[7 * i - 1 + j]) end
  local at = 5 * i
  reply[at - 4], reply[at - 3], reply[at - 2], reply[at - 1], reply[at] = exchange(key, unpack(a))
end
return reply
