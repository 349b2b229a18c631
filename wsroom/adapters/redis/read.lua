-- Where a room stands, and what happened in it since an offset. It makes the state of a room that
-- has none, so that there is a position to go on from. About `local RUN` see publish.lua.
--
-- KEYS   the room's state (a hash), the room's history (a list)
-- ARGV   1 epoch and 2 number of the offset, 3 how many emissions and 4 how many bytes are the most,
--        5 '1' where the server's persistence is trusted, 6 for how many seconds the state is kept
-- Returns the epoch, the number, 1 where all that happened since follows, else 0; the entries.
local head = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'run')
local epoch, seq = head[1], tonumber(head[2])
if not epoch or (head[3] ~= RUN and ARGV[5] ~= '1') then
  local now = redis.call('TIME')
  redis.call('DEL', KEYS[1], KEYS[2])
  epoch, seq = string.format('%x%05x', now[1], now[2]), 0
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'seq', 0, 'bytes', 0, 'run', RUN)
end
redis.call('EXPIRE', KEYS[1], ARGV[6])

local missing = seq - tonumber(ARGV[2])
if epoch ~= ARGV[1] or missing < 0 or missing > tonumber(ARGV[3]) then
  return {epoch, seq, 0}
end
if missing == 0 then
  return {epoch, seq, 1}
end
if redis.call('LLEN', KEYS[2]) < missing then
  return {epoch, seq, 0}
end
local answer = redis.call('LRANGE', KEYS[2], -missing, -1)
local bytes = 0
for _, entry in ipairs(answer) do
  bytes = bytes + #entry
end
if bytes > tonumber(ARGV[4]) then
  return {epoch, seq, 0}
end
table.insert(answer, 1, epoch)
table.insert(answer, 2, seq)
table.insert(answer, 3, 1)
return answer
