-- The sequencer of a room: gives an emission its place, keeps it for a while, and tells the workers.
-- Idempotent: a publisher that got no answer sends the same again, and it is carried out once.
--
-- Above this text the adapter writes `local RUN = '<run_id of the server>'`. So another server, or
-- one that was started again, does not know the script, and nobody takes it for the old one.
--
-- KEYS   the room's state (a hash), the room's history (a list)
-- ARGV   1 publisher, 2 its number for this emission (it only grows), 3 the number of the emission
--        before, where that has not been answered yet, else '', 4 the record, 5 the room's channel,
--        6 PUBLISH or SPUBLISH, 7 '1' where the server's persistence is trusted, 8 how many
--        emissions and 9 how many bytes of them are kept, 10 for how many seconds, and 11 for how
--        many the state is
-- Returns the offset; '' where it had been carried out before.
local head = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'bytes', 'run', 'by:' .. ARGV[1])
local epoch, seq, bytes = head[1], tonumber(head[2]), tonumber(head[3])
local last = tonumber(string.match(head[5] or '', '^%d+'))
local now = redis.call('TIME')
if not epoch or (head[4] ~= RUN and ARGV[7] ~= '1') then
  -- Nobody can say what was lost with the state that was here, so positions in it mean nothing now.
  redis.call('DEL', KEYS[1], KEYS[2])
  epoch, seq, bytes, last = string.format('%x%05x', now[1], now[2]), 0, 0, nil
end

local number = tonumber(ARGV[2])
if last and number <= last then
  return ''
end
if ARGV[3] ~= '' and tonumber(ARGV[3]) ~= last then
  return redis.error_reply('WSROOM the emission before this one is missing')
end
if not last and redis.call('HLEN', KEYS[1]) > 64 then
  -- Whoever published last a minute ago repeats nothing any more.
  local fields = redis.call('HGETALL', KEYS[1])
  for i = 1, #fields, 2 do
    local time = string.match(fields[i + 1], '^%d+ (%d+)$')
    if time and now[1] - time > 60 then
      redis.call('HDEL', KEYS[1], fields[i])
    end
  end
end

seq = seq + 1
local offset = epoch .. ':' .. string.format('%.0f', seq)
local entry = offset .. '\n' .. ARGV[4]
local most = tonumber(ARGV[8])
if most > 0 then
  local length = redis.call('RPUSH', KEYS[2], entry)
  bytes = (length > 1 and bytes or 0) + #entry -- a list of one has expired before
  while length > most or bytes > tonumber(ARGV[9]) do
    bytes = bytes - #redis.call('LPOP', KEYS[2])
    length = length - 1
  end
  redis.call('EXPIRE', KEYS[2], ARGV[10])
else
  redis.call('DEL', KEYS[2]) -- a list must not have holes
end
redis.call('HSET', KEYS[1], 'epoch', epoch, 'seq', seq, 'bytes', bytes, 'run', RUN,
  'by:' .. ARGV[1], ARGV[2] .. ' ' .. now[1])
redis.call('EXPIRE', KEYS[1], ARGV[11])
redis.call(ARGV[6], ARGV[5], entry)
return offset
