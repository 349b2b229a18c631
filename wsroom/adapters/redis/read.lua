-- Returns the position of a room, and its emissions since an offset, or its last ones. If the room
-- has no state, it makes one, so that there is a position to continue from. The settings are those
-- of publish.lua.
--
-- KEYS   the room's channel, which is also the name of its state (a hash); its history (a list)
-- ARGV   1 epoch and 2 number of the offset, 3 the most emissions to return, 4 '1' for the last ones
--        that are kept, whatever the offset is
-- Returns the epoch; the number; 1 if all emissions since the offset follow, 2 if all emissions of
-- the current epoch follow, since it is not that of the offset, else 0; the entries.
local state, history = KEYS[1], KEYS[2]
local head = redis.call('HMGET', state, 'epoch', 'seq', 'run')
local epoch, seq = head[1], tonumber(head[2])
if not epoch or (head[3] ~= RUN and not TRUSTED) then
  local now = redis.call('TIME')
  redis.call('DEL', state, history)
  epoch, seq = string.format('%x%05x', now[1], now[2]), 0
  redis.call('HSET', state, 'epoch', epoch, 'seq', 0, 'bytes', 0, 'touched', 0, 'run', RUN)
end
redis.call('EXPIRE', state, seq == 0 and UNUSED_TTL or STATE_TTL)

if ARGV[4] == '1' then
  return {epoch, seq, 1, unpack(redis.call('LRANGE', history, -ARGV[3], -1))}
end

local found, missing = 1, seq - tonumber(ARGV[2])
if epoch ~= ARGV[1] then
  found, missing = 2, seq
end
if missing < 0 or missing > tonumber(ARGV[3]) then
  return {epoch, seq, 0}
end
if missing == 0 then
  return {epoch, seq, found}
end
local answer = redis.call('LRANGE', history, -missing, -1)
local bytes = 0
for _, entry in ipairs(answer) do
  bytes = bytes + #entry
end
if #answer < missing or bytes > BYTES then
  return {epoch, seq, 0}
end
table.insert(answer, 1, epoch)
table.insert(answer, 2, seq)
table.insert(answer, 3, found)
return answer
