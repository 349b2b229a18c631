-- Gives an emission its place in the room's order, keeps it for a while, and publishes it.
-- Idempotent: a publisher that gets no answer sends the same again, and it is carried out once.
--
-- The settings are above this text (scripts.py). One of them is RUN, the run_id of the server: so
-- another server, or a restarted one, does not know the script and cannot be mistaken for this one.
--
-- KEYS   the room's channel, which is also the name of its state (a hash); its history (a list);
--        the set of all rooms (used.lua)
-- ARGV   1 publisher, 2 its number for this emission (it only grows), 3 the number of the emission
--        before it if that one is not answered yet, else '', 4 to 6 the lines of the record after
--        the offset: its head, its audience (JSON or nothing), its payload
-- Returns the offset, and how many workers are subscribed to the channel; '' if the emission was
-- carried out before.

-- If a script fails in the middle, the commands before that have been executed, and the same
-- emission sent again would count as carried out. So check the permission to publish first: a user
-- may have it for some rooms only.
if not redis.acl_check_cmd(PUBLISH, KEYS[1], '') then
  return redis.error_reply('NOPERM this user may not publish to the channel ' .. KEYS[1])
end

local state, history, by = KEYS[1], KEYS[2], 'by:' .. ARGV[1]
local head = redis.call('HMGET', state, 'epoch', 'seq', 'bytes', 'touched', 'run', by)
local epoch, seq, bytes, touched = head[1], tonumber(head[2]), tonumber(head[3]), tonumber(head[4])
local last = tonumber(string.match(head[6] or '', '^%d+'))
if head[5] ~= RUN and not TRUSTED then
  -- It is unknown what was lost with the former state, so positions in it are invalid now.
  epoch, last = false, nil
end

local number = tonumber(ARGV[2])
if last and number <= last then
  return ''
end
if ARGV[3] ~= '' and tonumber(ARGV[3]) ~= last then
  return redis.error_reply('WSROOM the emission before this one is missing')
end
local now, begun = redis.call('TIME'), {}
if not epoch then
  -- used.lua
  redis.call('ZADD', KEYS[3], last_state + 1, '', last_state + 1, state)
  if last_state > MOST_USED then
    redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', last_state - MOST_USED)
  end
  epoch, seq, bytes, touched = id .. '.' .. had, 0, 0, 0
  redis.call('DEL', state, history)
  begun = {'epoch', epoch, 'run', RUN}
elseif not last and redis.call('HLEN', state) > 64 then
  -- Publishers whose last emission is a minute old do not send it again.
  local fields = redis.call('HGETALL', state)
  for i = 1, #fields, 2 do
    local time = string.match(fields[i + 1], '^%d+ (%d+)$')
    if time and now[1] - time > 60 then
      redis.call('HDEL', state, fields[i])
    end
  end
end

seq = seq + 1
local offset = epoch .. ':' .. string.format('%.0f', seq)
local head_lines = offset .. '\n' .. ARGV[4] .. '\n'
local length = 0
if HISTORY > 0 then
  -- Only entries of the history have the time (ms): live messages need not be parsed for it.
  local stamp = string.format('"time":%d%03d}', now[1], math.floor(now[2] / 1000))
  local audience = ARGV[5] == '' and '{' .. stamp or string.sub(ARGV[5], 1, -2) .. ',' .. stamp
  local entry = head_lines .. audience .. '\n' .. ARGV[6]
  length = redis.call('RPUSH', history, entry)
  bytes = (length > 1 and bytes or 0) + #entry -- with one entry, the list had expired
  while length > HISTORY or bytes > BYTES do
    bytes = bytes - #redis.call('LPOP', history)
    length = length - 1
  end
else
  redis.call('DEL', history) -- a list must not have holes
end
local due = length == 1 or math.abs(now[1] - touched) > TTL / 10
touched = due and now[1] or touched
redis.call('HSET', state, 'seq', seq, 'bytes', bytes, 'touched', touched,
  by, ARGV[2] .. ' ' .. now[1], unpack(begun))
if due then
  -- Not each time, but with a tenth more time: two commands fewer for a busy room.
  redis.call('EXPIRE', history, math.ceil(TTL * 1.1))
  redis.call('EXPIRE', state, STATE_TTL)
end
local heard = redis.call(PUBLISH, state, head_lines .. ARGV[5] .. '\n' .. ARGV[6])
return {offset, heard}
