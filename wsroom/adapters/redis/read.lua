-- Returns the position of a room, and its emissions since an offset, or its last ones. The settings
-- are those of publish.lua.
--
-- KEYS   the room's channel, which is also the name of its state (a hash); its history (a list);
--        the set of all rooms (used.lua)
-- ARGV   1 epoch and 2 number of the offset, 3 the most emissions to return, 4 '1' for the last ones
--        that are kept, whatever the offset is
-- Returns the epoch; the number; 1 if all emissions since the offset follow, 2 if all emissions of
-- the current epoch follow, since the offset does not lead to it, else 0; the entries.
local state, history = KEYS[1], KEYS[2]
local head = redis.call('HMGET', state, 'epoch', 'seq', 'run')
local epoch, seq = head[1], tonumber(head[2])
local lowest -- the lowest number of a position without state that leads here; else the epoch's
if epoch and (head[3] == RUN or TRUSTED) then
  redis.call('EXPIRE', state, STATE_TTL)
else
  -- used.lua
  redis.call('EXPIRE', KEYS[3], STATE_TTL)
  -- Rounded down, so that it is mostly the same for all who ask.
  local rounded = math.max(had, last_state - last_state % USED_STEP)
  epoch, seq, history, lowest = id .. '.' .. rounded, 0, nil, had
end

if ARGV[4] == '1' then
  return {epoch, seq, 1, unpack(history and redis.call('LRANGE', history, -ARGV[3], -1) or {})}
end

local found, missing = 2, seq
if epoch == ARGV[1] then
  found, missing = 1, seq - tonumber(ARGV[2])
elseif ARGV[2] == '0' then
  local asked, at = string.match(ARGV[1], '^(%x+)%.(%d+)$')
  local id, number = string.match(epoch, '^(%x+)%.(%d+)$')
  if asked and asked == id and tonumber(lowest or number) <= tonumber(at) then
    found = 1
  end
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
