-- Changes the table of the members of a room, and publishes what has changed.
--
-- The settings are those of publish.lua. The table ends with the run of the server, as epochs do.
--
-- KEYS   the room's channel; its table (a hash); its graces (a sorted set)
-- ARGV   1 worker, 2 its number for this call (it only grows), 3 '1' to return the whole table;
--        then four for each step:
--        '+' socket, member, card     it enters
--        '~' socket, '', values       its member's card changes
--        '-' socket, milliseconds, '' it is gone, after a grace if that is above 0
--        'x' worker, '', ''           the worker is dead
-- A card is lines, a key and its value by turns, each as JSON, which has no line feeds; so its
-- values pass through here unread. A value of '' removes a key.
-- Returns the epoch, '' if there is no table; the position; the milliseconds until the next grace
-- ends, or ''; and the number of workers, the workers, and the members and their cards by turns.
--
-- Fields of the table: epoch, position, run, sockets (how many), and with a member, a socket or a
-- worker: card:, count:, socket: (the worker and the member, in two lines), by: (its last number).
if not redis.acl_check_cmd(PUBLISH, KEYS[1], '') then
  return redis.error_reply('NOPERM this user may not publish to the channel ' .. KEYS[1])
end

local channel, state, graces = KEYS[1], KEYS[2], KEYS[3]
local head = redis.call('HMGET', state, 'epoch', 'position', 'run', 'by:' .. ARGV[1])
local epoch, position, last = head[1], tonumber(head[2]), tonumber(head[4])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local enters = false
for i = 4, #ARGV, 4 do
  enters = enters or ARGV[i] == '+'
end
if not epoch or (head[3] ~= RUN and not TRUSTED) then
  if not enters then
    return {'', 0, '', 0}
  end
  epoch, position, last = string.format('%d%06d', time[1], time[2]), 0, nil
  redis.call('DEL', state, graces)
  redis.call('HSET', state, 'epoch', epoch, 'position', 0, 'run', RUN)
end

local before, order, graces_changed = {}, {}, false

local function touch(member)
  if before[member] == nil then
    before[member] = redis.call('HGET', state, 'card:' .. member)
    order[#order + 1] = member
  end
end

local function owner(socket)
  local found = redis.call('HGET', state, 'socket:' .. socket)
  if found then
    return string.match(found, '^([^\n]*)\n(.*)$')
  end
end

local function remove(socket, member)
  redis.call('HDEL', state, 'socket:' .. socket)
  redis.call('HINCRBY', state, 'sockets', -1)
  graces_changed = redis.call('ZREM', graces, socket) == 1 or graces_changed
  if redis.call('HINCRBY', state, 'count:' .. member, -1) == 0 then
    touch(member)
    redis.call('HDEL', state, 'count:' .. member, 'card:' .. member)
  end
end

local function object(lines)
  local parts = {}
  for key, value in string.gmatch(lines, '([^\n]+)\n([^\n]*)') do
    parts[#parts + 1] = key .. ':' .. value
  end
  return '{' .. table.concat(parts, ',') .. '}'
end

local function merge(lines, values)
  local new, parts = {}, {}
  for key, value in string.gmatch(values, '([^\n]+)\n([^\n]*)') do
    new[key] = value
  end
  for key, value in string.gmatch(lines, '([^\n]+)\n([^\n]*)') do
    value = new[key] or value
    new[key] = nil
    if value ~= '' then
      parts[#parts + 1] = key .. '\n' .. value
    end
  end
  for key, value in string.gmatch(values, '([^\n]+)\n([^\n]*)') do
    if new[key] and value ~= '' then
      parts[#parts + 1] = key .. '\n' .. value
    end
  end
  return table.concat(parts, '\n')
end

local function enter(worker, socket, member, card)
  local _, known = owner(socket)
  if known and known ~= member then
    remove(socket, known)
    known = nil
  end
  if not known then
    redis.call('HINCRBY', state, 'count:' .. member, 1)
    redis.call('HINCRBY', state, 'sockets', 1)
  end
  touch(member)
  redis.call('HSET', state, 'socket:' .. socket, worker .. '\n' .. member, 'card:' .. member, card)
  graces_changed = redis.call('ZREM', graces, socket) == 1 or graces_changed
  for _, other in ipairs(redis.call('ZRANGE', graces, 0, -1)) do
    local _, of = owner(other)
    if of == member then
      remove(other, of)
    end
  end
end

local function bury(worker)
  local fields = redis.call('HGETALL', state)
  for i = 1, #fields, 2 do
    local socket = string.match(fields[i], '^socket:(.*)$')
    if socket and not redis.call('ZSCORE', graces, socket) then
      local by, member = string.match(fields[i + 1], '^([^\n]*)\n(.*)$')
      if by == worker then
        remove(socket, member)
      end
    end
  end
  redis.call('HDEL', state, 'by:' .. worker)
end

for _, socket in ipairs(redis.call('ZRANGEBYSCORE', graces, '-inf', now)) do
  local _, member = owner(socket)
  remove(socket, member)
end
local number = tonumber(ARGV[2])
if #ARGV > 3 and not (last and number <= last) then
  for i = 4, #ARGV, 4 do
    local kind, subject, extra, lines = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
    local _, member
    if kind ~= 'x' then
      _, member = owner(subject)
    end
    if kind == '+' then
      enter(ARGV[1], subject, extra, lines)
    elseif kind == 'x' then
      bury(subject)
    elseif member and kind == '~' then
      touch(member)
      local card = redis.call('HGET', state, 'card:' .. member)
      redis.call('HSET', state, 'card:' .. member, merge(card, lines))
    elseif member and extra == '0' then
      remove(subject, member)
    elseif member then
      local added = redis.call('ZADD', graces, 'NX', now + extra, subject)
      graces_changed = added == 1 or graces_changed
    end
  end
  redis.call('HSET', state, 'by:' .. ARGV[1], ARGV[2])
end

local changed = {}
for _, member in ipairs(order) do
  local card = redis.call('HGET', state, 'card:' .. member)
  if card ~= before[member] then
    changed[#changed + 1] = cjson.encode(member) .. ':' .. (card and object(card) or 'null')
  end
end
local next_grace, due = redis.call('ZRANGE', graces, 0, 0, 'WITHSCORES')[2], ''
if next_grace then
  due = math.max(0, next_grace - now)
end
if #changed > 0 or graces_changed then
  position = redis.call('HINCRBY', state, 'position', 1)
  redis.call(PUBLISH, channel, '\n1 0 0\n{"kind":"presence"}\n{"epoch":"' .. epoch
    .. '","position":' .. position .. ',"members":{' .. table.concat(changed, ',')
    .. '},"worker":' .. cjson.encode(ARGV[1])
    .. ',"due":' .. (due == '' and 'null' or string.format('%.3f', due / 1000)) .. '}')
end
local empty = tonumber(redis.call('HGET', state, 'sockets') or 0) == 0
-- An empty table is kept for a while, so that a late call still finds the number of a later one.
redis.call('EXPIRE', state, empty and 60 or STATE_TTL)
redis.call('EXPIRE', graces, STATE_TTL)

local answer = {epoch, position, due, 0}
if ARGV[3] == '1' then
  local fields, workers, cards = redis.call('HGETALL', state), {}, {}
  for i = 1, #fields, 2 do
    local kind, name = string.match(fields[i], '^(%a+):(.*)$')
    if kind == 'card' then
      cards[#cards + 1] = name
      cards[#cards + 1] = object(fields[i + 1])
    elseif kind == 'socket' and not redis.call('ZSCORE', graces, name) then
      workers[string.match(fields[i + 1], '^[^\n]*')] = true
    end
  end
  for worker in pairs(workers) do
    answer[4] = answer[4] + 1
    answer[#answer + 1] = worker
  end
  for _, each in ipairs(cards) do
    answer[#answer + 1] = each
  end
end
return answer
