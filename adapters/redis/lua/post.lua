-- Counts what a node has let through already, whether it fits or not.
--
--   ARGV   dq dr num den node, then for each key: seq, the number of this message, above
--          those before; n, how many it let through
--   reply  for each key three integers: 1, or -1 if the key holds something else; and how
--          far the flow is ahead, T and F
local p = {dq = tonumber(ARGV[1]), dr = tonumber(ARGV[2]), num = tonumber(ARGV[3]), den = tonumber(ARGV[4])}
local node = ARGV[5]
local reply = {}
for i, key in ipairs(KEYS) do
  local seq, n = tonumber(ARGV[2 * i + 4]), tonumber(ARGV[2 * i + 5])
  local text = redis.pcall('GET', key)
  local f = type(text) ~= 'table' and flow(p, key, text)
  if not f then
    reply[3 * i - 2], reply[3 * i - 1], reply[3 * i] = -1, 0, 0
  else
    local mine
    for _, l in ipairs(f.leases or {}) do
      if l.node == node then mine = l end
    end
    if n > 0 and not (mine and mine.seq >= seq) then -- else counted already
      local q, r = times(p, n)
      f.T, f.F = add(p, f.T, f.F, q, r)
      if not mine then
        mine = {node = node, tokens = 0, last = 0}
        f.leases = f.leases or {}
        table.insert(f.leases, mine)
      end
      mine.seq, mine.til = seq, now + 60000000
      save(key, f)
    end
    reply[3 * i - 2], reply[3 * i - 1], reply[3 * i] = 1, f.T - now, f.F
  end
end
return reply
