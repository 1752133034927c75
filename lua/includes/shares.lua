-- shares: what tokens of all runs of the partition share: slots of concurrency keys, and rates.
-- Keys, by the name of a concurrency key: slots:<name> a hash of the tokens that hold one, "<run>|<token>";
-- slotq:<name> those that wait, "<run>|<token>|<fence>", by priority, turn and order; slotf:<name> a hash of whose turn
-- it is: "v" the turn that came last, f<whose> the last turn that one of theirs waits for. rate:<name>: a number.
-- What a call takes, gives back and asks for is settled at its end, before it is written: settle_shares.
local RANKS, TURN, PRIORITY = { high = 0, normal = 1, low = 2 }, 1048576, 1125899906842624
local paces = {}
local close_transition

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

-- Whether a token holds a slot, as its own run says. What has vanished from there has been lost, and holds nothing.
local function is_holder(name, member)
  local id, token = string.match(member, '^([^|]+)|([^|]+)$')
  local run = id and open_run(id, 't' .. token)
  local record = run and run.st and run.st ~= 'E' and get_field(run, 't' .. token)
  return run and run.is_broken or record and share_of(record) == name
end

local function drop_lost(name)
  local held, dropped = redis.call('HKEYS', BASE .. 'slots:' .. name), 0
  for i = 1, #held do
    if not is_holder(name, held[i]) then dropped = dropped + redis.call('HDEL', BASE .. 'slots:' .. name, held[i]) end
  end
  return dropped > 0
end

-- Give slots to those whose turn it is, as long as there are some.
local function grant_shares(name, is_audit)
  local held, queue, turns = BASE .. 'slots:' .. name, BASE .. 'slotq:' .. name, BASE .. 'slotf:' .. name
  while true do
    local first = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
    local member = first[1]
    if not member then
      redis.call('DEL', turns)
      return
    end
    local id, token, fence = string.match(member, '^([^|]+)|([^|]+)|(%d+)$')
    local run = open_run(id, 't' .. token)
    local record = run.st and get_field(run, 't' .. token)
    local found, limit = string.match(record or '', '^(%d+)|s|.*[|+]asks=%x+%.(%d+)%.')
    if found ~= fence or not may_park(run) then
      redis.call('ZREM', queue, member)
    elseif redis.call('HLEN', held) >= tonumber(limit) then
      if not is_audit or not drop_lost(name) then return end
    else
      redis.call('ZREM', queue, member)
      redis.call('HSET', held, id .. '|' .. token, '1')
      redis.call('HSET', turns, 'v', text(math.floor(tonumber(first[2]) % PRIORITY / TURN)))
      run.touched = true
      enqueue(run, token, raise(fence), (string.gsub(ready_of(record), 'asks=(%x+)%.%d+%.%x*', 'slot=%1', 1)))
      close_transition(run, 0, '', { 'g' .. place_of(token) })
    end
  end
end

-- names: keys that are looked at in any case, as in an audit.
local function settle_shares(names)
  if not shares_left[1] and not shares_asked[1] and not (names and next(names)) and not next(paces) then return end
  local touched, order = {}, {}
  local function touch(name, is_audit)
    if touched[name] == nil then
      order[#order + 1] = name
      check_type(BASE .. 'slots:' .. name, 'hash')
      check_type(BASE .. 'slotq:' .. name, 'zset')
      check_type(BASE .. 'slotf:' .. name, 'hash')
    end
    touched[name] = touched[name] or is_audit
  end
  for name in pairs(names or {}) do touch(name, true) end
  for i = 1, #shares_left do touch(shares_left[i][1], false) end
  for i = 1, #shares_asked do touch(shares_asked[i][1], false) end
  for i = 1, #shares_left do
    local name, is_held, member = unpack(shares_left[i])
    redis.call(is_held and 'HDEL' or 'ZREM', BASE .. (is_held and 'slots:' or 'slotq:') .. name, member)
  end
  for i = 1, #shares_asked do
    local name, run, token, fence = unpack(shares_asked[i])
    local record = get_field(run, 't' .. token)
    if record and string.find(record, '^' .. fence .. '|s|') then
      add_waiter(name, run.id .. '|' .. token .. '|' .. fence, record)
    end
  end
  shares_left, shares_asked = {}, {}
  table.sort(order)
  for i = 1, #order do grant_shares(order[i], touched[order[i]]) end
  for key, pace in pairs(paces) do redis.call('SET', key, pace, 'PX', text(math.ceil(tonumber(pace) - NOW) + 1000)) end
end

-- A recovery puts the run of a token back: who holds a slot holds it again, who waits is in the row again.
local function restore_share(run, token)
  local record = run.val['t' .. token]
  local held, asked = share_of(record)
  if held then redis.call('HSET', BASE .. 'slots:' .. held, run.id .. '|' .. token, '1') end
  if asked then add_waiter(asked, run.id .. '|' .. token .. '|' .. FIRST_FENCE, record) end
end

local function ask_slot(run, token, fence, ready)
  park(run, token, fence, ready, '', 's')
  shares_asked[#shares_asked + 1] = { string.match(ready, '[|+]asks=(%x+)'), run, token, fence }
end

-- The token bucket as one number: when it will be full again. Returns when the token may go on, and keeps its turn.
local function take_pace(name, limit, per)
  local key = BASE .. 'rate:' .. name
  local full = math.max(tonumber(paces[key] or redis.call('GET', key) or 0) or 0, NOW)
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
