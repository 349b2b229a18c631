  -- Included in the other scripts, for a room without a state.
  --
  -- Only an emission gives a room a state, so joining a room leaves no key. But a room without one
  -- has a position too, which must become invalid if Redis loses anything. So there is one sorted
  -- set for all rooms. Each state gets a number as it begins, one higher than the state before it,
  -- and the set has its room with that number; it has the latest MOST_USED of them. It also has
  -- the last number (''), and, for this run of the server, one that no other set has.
  --
  -- An epoch is '<id>.<number>'. The id stands for this set and the room. The epoch of a state has
  -- the number of the last state that the room may have had before. The position of a room without
  -- a state is '<id>.<number>:0': its states up to that number have ended, and none has begun
  -- since. So the state '<id>.<had>' continues from '<id>.<number>:0' if had <= number; else
  -- another one may have been between them. No clock is needed for this.
  local run = TRUSTED and 'any' or RUN
  local name, last_state, had = unpack(redis.call('ZMSCORE', KEYS[3], run, '', state))
  if not name then
    local now = redis.call('TIME')
    name, last_state, had = string.format('%d%06d', now[1], now[2]), 0, 0
    redis.call('DEL', KEYS[3])
    redis.call('ZADD', KEYS[3], name, run, 0, '')
    redis.call('EXPIRE', KEYS[3], STATE_TTL)
  end
  local id = string.sub(redis.sha1hex(string.format('%.0f', name) .. state), 1, 12)
  last_state = tonumber(last_state)
  had = math.max(tonumber(had or 0), last_state - MOST_USED)
