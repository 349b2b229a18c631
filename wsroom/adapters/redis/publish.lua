-- The sequencer of a room: gives an emission its place, keeps it for a while, and tells the workers.
-- Idempotent: a publisher that got no answer sends the same again, and it is carried out once.
--
-- Above this text stand the settings (scripts.py), with RUN, the run_id of the server. So another
-- server, or one that was started again, does not know the script, and nobody takes it for the old.
--
-- KEYS   the room's channel, which is also the name of its state (a hash); its history (a list)
-- ARGV   1 publisher, 2 its number for this emission (it only grows), 3 the number of the emission
--        before, where that has not been answered yet, else '', 4 the record
-- Returns the offset; '' where it had been carried out before.

-- A script that fails in the middle has done what came before, and the same sent again would pass
-- for carried out. The right to a channel can be missing for some rooms only.
if not redis.acl_check_cmd(PUBLISH, KEYS[1], '') then
  return redis.error_reply('NOPERM this user may not publish to the channel ' .. KEYS[1])
end

local state, history, by = KEYS[1], KEYS[2], 'by:' .. ARGV[1]
local head = redis.call('HMGET', state, 'epoch', 'seq', 'bytes', 'touched', 'run', by)
local epoch, seq, bytes, touched = head[1], tonumber(head[2]), tonumber(head[3]), tonumber(head[4])
local last = tonumber(string.match(head[6] or '', '^%d+'))
local now = redis.call('TIME')
if not epoch or (head[5] ~= RUN and not TRUSTED) then
  -- Nobody can say what was lost with the state that was here, so positions in it mean nothing now.
  redis.call('DEL', state, history)
  epoch, seq, bytes, touched, last = string.format('%x%05x', now[1], now[2]), 0, 0, 0, nil
  redis.call('HSET', state, 'epoch', epoch, 'seq', 0, 'run', RUN)
end

local number = tonumber(ARGV[2])
if last and number <= last then
  return ''
end
if ARGV[3] ~= '' and tonumber(ARGV[3]) ~= last then
  return redis.error_reply('WSROOM the emission before this one is missing')
end
if not last and redis.call('HLEN', state) > 64 then
  -- Whoever published last a minute ago repeats nothing any more.
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
local entry = offset .. '\n' .. ARGV[4]
local length = 0
if HISTORY > 0 then
  length = redis.call('RPUSH', history, entry)
  bytes = (length > 1 and bytes or 0) + #entry -- a list of one has expired before
  while length > HISTORY or bytes > BYTES do
    bytes = bytes - #redis.call('LPOP', history)
    length = length - 1
  end
else
  redis.call('DEL', history) -- a list must not have holes
end
if length == 1 or math.abs(now[1] - touched) > TTL / 10 then
  -- Not each time: two commands fewer for a busy room, for a tenth more of time.
  touched = now[1]
  redis.call('EXPIRE', history, math.ceil(TTL * 1.1))
  redis.call('EXPIRE', state, STATE_TTL)
end
redis.call('HSET', state, 'seq', seq, 'bytes', bytes, 'touched', touched,
  by, ARGV[2] .. ' ' .. now[1])
redis.call(PUBLISH, state, entry)
return offset
