-- shares: what tokens of all runs of the partition share: slots of concurrency keys, and rates.
-- Keys, by the name of a concurrency key: slots:<name> a hash of the tokens that hold one, "<run>|<token>", and in meta
-- held:<name>, how many these are: what decides who is let in, so that nobody is where the hash has been damaged. slotq:<name> those that wait, "<run>|<token>|<fence>", by priority, turn and order; slotf:<name> a hash of whose turn
-- it is: "v" the turn that came last, f<whose> the last turn that one of theirs waits for, "p" how many have left the row
-- for a pause. rate:<name>: a number.
-- What a call takes, gives back and asks for is settled at its end, before it is written: settle_shares.
local RANKS, TURN, PRIORITY = { high = 0, normal = 1, low = 2 }, 1048576, 1125899906842624
local close_transition

-- @each call
local paces, held_now = {}, {}

-- Who waits takes turns with the others of its priority by what "fair" says (start-time fair queueing). Where the order
-- within a turn begins anew, a new turn does.
local function add_waiter(name, member, record)
  local fair = string.match(record, '[|+]asks=%x+%.%d+%.(%x*)')
  local rank = RANKS[string.match(record, '^%d+|s|%d*|[^|]*|n|[^|]*:(%a+)')] or 1
  local turns = BASE .. 'slotf:' .. name
  local found = redis.call('HMGET', turns, 'v', 'f' .. fair)
  local asked = redis.call('HINCRBY', turns, 'n', 1)
  local turn = math.max(tonumber(found[1] or 0), math.floor(asked / TURN))
  if fair ~= '' then
    turn = math.max(turn, tonumber(found[2] or 0)) + 1
    redis.call('HSET', turns, 'f' .. fair, text(turn))
  end
  local place = rank * PRIORITY + turn * TURN + asked % TURN
  redis.call('ZADD', BASE .. 'slotq:' .. name, string.format('%.0f', place), member)
end

-- The record of a token that waits, with its place in the row where it has left that for a pause, '' where it is in it.
local function aside(record, place)
  return (string.gsub(record, '^(%d+|s|%d*|)[^|]*', '%1' .. place, 1))
end

-- Who waits is in the row again; where it is not known that it has left, unless it is in it. place: as in its record.
local function come_back(name, run, token, fence, record, place)
  local queue, member = BASE .. 'slotq:' .. name, run.id .. '|' .. token .. '|' .. fence
  if place == '' then
    if not redis.call('ZSCORE', queue, member) then add_waiter(name, member, record) end
  else
    redis.call('ZADD', queue, place, member)
    redis.call('HINCRBY', BASE .. 'slotf:' .. name, 'p', -1)
    set_field(run, 't' .. token, aside(record, ''))
  end
end

local function count_held(name)
  held_now[name] = held_now[name] or tonumber(redis.call('HGET', META, 'held:' .. name) or 0)
  return held_now[name]
end

local function write_held(name)
  local count = held_now[name]
  if count == 0 then
    redis.call('HDEL', META, 'held:' .. name)
    redis.call('DEL', BASE .. 'slots:' .. name)
  elseif count then
    redis.call('HSET', META, 'held:' .. name, text(count))
  end
end

-- Give slots to those whose turn it is, as long as there are some. Of those that are given none no more than PASSED_MAX
-- are passed in one call: the next one that has to do with this key goes on with it, and an audit of any that waits.
local PASSED_MAX = 300
local function grant_shares(name)
  local held, queue, turns = BASE .. 'slots:' .. name, BASE .. 'slotq:' .. name, BASE .. 'slotf:' .. name
  local passed = 0
  while passed < PASSED_MAX do
    local first = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
    local member = first[1]
    if not member then
      -- The turns of those who come back go on, and nobody who came later has an earlier one.
      if tonumber(redis.call('HGET', turns, 'p') or 0) < 1 then redis.call('DEL', turns) end
      return
    end
    local id, token, fence = string.match(member, '^([^|]+)|([^|]+)|(%d+)$')
    local run = open_run(id, 't' .. token)
    local record = run.st and get_field(run, 't' .. token)
    local found, limit = string.match(record or '', '^(%d+)|s|.*[|+]asks=%x+%.(%d+)%.')
    if found ~= fence or not may_park(run) then
      redis.call('ZREM', queue, member)
      passed = passed + 1
    elseif count_held(name) >= tonumber(limit) then
      return
    elseif run.st == 'P' then
      -- It would keep a slot as long as its run is paused: it leaves the row, and comes back when the run goes on (wake).
      redis.call('ZREM', queue, member)
      redis.call('HINCRBY', turns, 'p', 1)
      run.touched, passed = true, passed + 1
      set_field(run, 't' .. token, aside(record, first[2]))
    else
      held_now[name] = held_now[name] + 1
      redis.call('ZREM', queue, member)
      redis.call('HSET', held, id .. '|' .. token, '1')
      redis.call('HSET', turns, 'v', text(math.floor(tonumber(first[2]) % PRIORITY / TURN)))
      run.touched = true
      enqueue(run, token, raise(fence), (string.gsub(ready_of(record), 'asks=(%x+)%.%d+%.%x*', 'slot=%1', 1)))
      close_transition(run, 0, '', { 'g' .. place_of(token) })
    end
  end
end

-- names: keys that are looked at in any case, as in an audit: a list.
local function settle_shares(names)
  if not shares_left[1] and not shares_asked[1] and not (names and names[1]) and not next(paces) then return end
  local touched, order = {}, {}
  local function touch(name)
    if touched[name] then return end
    touched[name] = true
    order[#order + 1] = name
    check_type(BASE .. 'slots:' .. name, 'hash')
    check_type(BASE .. 'slotq:' .. name, 'zset')
    check_type(BASE .. 'slotf:' .. name, 'hash')
  end
  for i = 1, names and #names or 0 do touch(names[i]) end
  for i = 1, #shares_left do touch(shares_left[i][1]) end
  for i = 1, #shares_asked do touch(shares_asked[i][1]) end
  for i = 1, #shares_left do
    local name, is_held, member, is_aside = unpack(shares_left[i])
    if is_held then
      redis.call('HDEL', BASE .. 'slots:' .. name, member)
      held_now[name] = math.max(0, count_held(name) - 1)
    elseif is_aside then
      redis.call('HINCRBY', BASE .. 'slotf:' .. name, 'p', -1)
    else
      redis.call('ZREM', BASE .. 'slotq:' .. name, member)
    end
  end
  for i = 1, #shares_asked do
    local name, run, token, fence = unpack(shares_asked[i])
    local record = get_field(run, 't' .. token)
    local place = record and string.match(record, '^' .. fence .. '|s|%d*|([^|]*)|')
    if place and (place == '' or run.st ~= 'P') then come_back(name, run, token, fence, record, place) end
  end
  shares_left, shares_asked = {}, {}
  table.sort(order)
  for i = 1, #order do
    grant_shares(order[i])
    write_held(order[i])
  end
  for key, pace in pairs(paces) do redis.call('SET', key, pace, 'PX', text(math.ceil(tonumber(pace) - NOW) + 1000)) end
end

-- A recovery puts the run of a token back: who holds a slot holds it again, who waits is in the row again.
local function restore_share(run, token)
  local record = run.val['t' .. token]
  local held, asked = share_of(record)
  if held then
    local is_new = redis.call('HSET', BASE .. 'slots:' .. held, run.id .. '|' .. token, '1')
    redis.call('HINCRBY', META, 'held:' .. held, is_new)
  end
  if asked then add_waiter(asked, run.id .. '|' .. token .. '|' .. FIRST_FENCE, record) end
end

-- Likewise its turn by a rate, if it waits for that: those who come later do so behind it.
local function restore_pace(run, token)
  local due, name, per = string.match(run.val['t' .. token], '^%d+|t|%d*|(%d+)|.*[|+]paced=(%x+)%.(%d+)')
  local full = due and tonumber(due) + tonumber(per)
  if not full or full <= NOW then return end
  local key = BASE .. 'rate:' .. name
  if full > (tonumber(redis.call('GET', key) or 0) or 0) then
    redis.call('SET', key, text(full), 'PX', text(full - NOW + 1000))
  end
end

local function ask_slot(run, token, fence, ready)
  park(run, token, fence, ready, '', 's')
  shares_asked[#shares_asked + 1] = { string.match(ready, '[|+]asks=(%x+)'), run, token, fence }
end

-- When a bucket will be full again of which nothing is known: it may have been empty when the partition was.
local function refilled(per)
  return tonumber(redis.call('HGET', META, 'emptied') or -per) + per
end

-- The token bucket as one number: when it will be full again. Returns when the token may go on, and keeps its turn.
local function take_pace(name, limit, per)
  local key = BASE .. 'rate:' .. name
  local known = tonumber(paces[key] or redis.call('GET', key) or nil)
  local full = math.max(known or refilled(tonumber(per)), NOW)
  local interval = tonumber(per) / tonumber(limit)
  local due = math.max(NOW, math.ceil(full - (tonumber(limit) - 1) * interval))
  paces[key] = string.format('%.3f', full + interval)
  return due
end

-- i: the place of the operation in ARGV.
local function ask_pace(run, codes, token, fence, i)
  local due, ready = take_pace(ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]), ARGV[i + 4]
  if due > NOW then
    park(run, token, fence, ready, text(due), 't')
    codes[#codes + 1] = 'P' .. place_of(token) .. ':' .. text(due)
  else
    -- As by its timer, which is over: in a bounded run it joins the end of the row.
    set_record(run, 't' .. token, fence .. '|t|0||' .. ready)
    enqueue(run, token, fence, ready)
    codes[#codes + 1] = 'P' .. place_of(token) .. ':' .. text(NOW)
    codes[#codes + 1] = 'T' .. place_of(token)
  end
end
