-- Decides on requests, one after the other, each with its key, under one policy.
--
--   ARGV   dq dr num den, then for each key: q r, the cost of the request
--   reply  for each key three integers: 1 if it passes, 0 if not, -1 if the key holds
--          something else; and how far the flow is ahead of now after that, T and F
local p = {dq = tonumber(ARGV[1]), dr = tonumber(ARGV[2]), num = tonumber(ARGV[3]), den = tonumber(ARGV[4])}
local reply = {}
for i, key in ipairs(KEYS) do
  local q, r = tonumber(ARGV[2 * i + 3]), tonumber(ARGV[2 * i + 4])
  local text = redis.pcall('GET', key)
  local T = tonumber(text or now)
  if T and p.den == 1 and T <= now + 2 * p.dq + 2 then -- as below, for what is most frequent
    if T < now then T = now end
    local ok = T + q - now <= p.dq
    if ok and q > 0 then
      T = T + q
      redis.call('SET', key, string.format('%.0f', T), 'PX', string.format('%.0f', math.ceil((T - now) / 1000)))
    end
    reply[3 * i - 2], reply[3 * i - 1], reply[3 * i] = ok and 1 or 0, T - now, 0
  else
    local f = type(text) ~= 'table' and flow(p, key, text)
    if not f then
      reply[3 * i - 2], reply[3 * i - 1], reply[3 * i] = -1, 0, 0
    else
      local T, F = add(p, f.T, f.F, q, r)
      local ok = not later(T - now, F, p.dq, p.dr)
      if ok and (q > 0 or r > 0) then
        f.T, f.F = T, F
        save(key, f)
      end
      reply[3 * i - 2], reply[3 * i - 1], reply[3 * i] = ok and 1 or 0, f.T - now, f.F
    end
  end
end
return reply
