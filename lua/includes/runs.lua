-- runs: the runs that this call touches. Everything is read first and changed here; flush writes it.
-- @each call
local runs, run_order = {}, {}
local emissions, timers_set, timers_gone, outbox, done = {}, {}, {}, {}, {}
local acked = {}
local shares_left, shares_asked = {}, {}
local FIRST_FENCE = EPOCH and text(tonumber(EPOCH) * 4294967296 + 1)

-- The head of a run: status|counter|seq|unfinished|retries|IR hash; unfinished: half-filled joins and open maps. A "+"
-- behind the retries: its closing token is parked; "!": its tokens may hold slots of concurrency keys
-- (includes/shares.lua); "$": it has a budget (includes/purse.lua); and "*limit,busy,first,last" where only so many of them are worked on at once (below).
local HEAD = '^(%a)|(%d+)|(%d+)|(%d+)|(%d+)(%+?)([^|]*)|'
local IR_CHARS = 32

local function read_room(run, room)
  if room == '' then return end
  run.watched, run.sharing = true, string.byte(room) == 33
  run.has_purse = string.find(room, '$', 1, true) ~= nil
  local limit, busy, first, last = string.match(room, '%*(%d+),(%d+),(%d+),(%d+)$')
  run.limit, run.busy, run.first, run.last = tonumber(limit), tonumber(busy), tonumber(first), tonumber(last)
end

local function write_room(run)
  local marks = (run.sharing and '!' or '') .. (run.has_purse and '$' or '')
  if not run.limit then return marks end
  return marks .. '*' .. table.concat({ text(run.limit), text(run.busy), text(run.first), text(run.last) }, ',')
end

-- field: one more field that is wanted, so that it comes with the same call.
-- A key of another type, or a head that nobody has written, is a halted run without a single field: pcall, so that it
-- stops nobody else in this call.
local function open_run(id, field)
  local run = runs[id]
  if run then return run end
  local key = BASE .. 'run:' .. id
  local found = redis.pcall('HMGET', key, 'h', field)
  run = {
    id = id, key = key, n = 0, seq = 0, unfinished = 0, retries = 0, closing = '', ir = '', val = {}, dirty = {}, ctx = {},
  }
  if found.err then
    run.st, run.is_broken = 'H', true
  else
    run.val[field] = found[2]
    if found[1] then
      local st, n, seq, unfinished, retries, closing, room = string.match(found[1], HEAD)
      if st then
        if room ~= '' then read_room(run, room) end
        run.st, run.n, run.seq, run.unfinished = st, number_of(n), number_of(seq), number_of(unfinished)
        run.retries, run.closing, run.ir = number_of(retries), closing, string.sub(found[1], -IR_CHARS)
      else
        run.st, run.is_broken = 'H', true
      end
    end
  end
  runs[id] = run
  run_order[#run_order + 1] = run
  return run
end

local function get_field(run, field)
  if run.is_broken then return false end
  local value = run.val[field]
  if value == nil then
    value = redis.call('HGET', run.key, field)
    run.val[field] = value
  end
  return value
end

local function set_field(run, field, value)
  run.val[field] = value
  run.dirty[field] = true
end

-- What a later operation of this call may ask for by get_field, as any other; written in the order of their coming.
local function set_context(run, field, value)
  local ctx = run.ctx
  local last = #ctx
  run.val[field] = value
  ctx[last + 1], ctx[last + 2] = field, value
end

-- Whether effects change anything, and whether tokens may be parked; else they are taken away.
-- run.shut: the rest of this transition is below a map that it has closed.
local function goes_on(run)
  return (run.st == 'R' or run.st == 'P') and not run.shut
end

local function may_park(run)
  return (run.st == 'R' or run.st == 'P' or run.st == 'C') and not run.shut
end

-- The records of maps that this call has changed: includes/maps.lua.
local function write_maps(run)
  for map, m in pairs(run.maps) do
    if m.touched then
      set_field(run, 'n' .. map, table.concat({ text(m.count), text(m.next), text(m.ok), text(m.failed), text(m.skipped),
        m.open, m.filling, m.collecting, text(m.collected), m.ready }, ','))
    end
  end
end

local function set_timer(run, due, name, fence)
  check_type(TIMERS, 'zset')
  timers_set[#timers_set + 1] = due
  timers_set[#timers_set + 1] = run.id .. '|' .. name .. '|' .. fence
end

-- A timer of the run itself; field T<name> says when, and what stands behind it, so that it can be set again.
local function set_run_timer(run, due, name, closes)
  set_field(run, 'T' .. name, closes .. '|' .. due)
  set_timer(run, due, name, closes)
end

-- "+ms" from now, or a time in ms.
local function due_at(due)
  if string.sub(due, 1, 1) == '+' then return text(NOW + tonumber(string.sub(due, 2))) end
  return due
end

-- A record is "fence|place|deliveries|entry|ready"; ready is "kind|stream|attempt|extra|reads|live". A stream may end
-- in "~ms": how long the token may wait in it. The entry id is known only when the entry is added: flush completes the
-- record.
-- @each call
local READIES = {}

-- {stream, how long it may wait there, reads} of a ready. The runs of a workflow say the very same ones.
local function read_ready(ready)
  local name, patience, reads = string.match(ready, '^[^|]*|([^|~]*)~?(%d*)|[^|]*|[^|]*|([^|]*)')
  local found = { BASE .. 'q:' .. name, patience, reads }
  check_type(found[1], 'stream')
  READIES[ready] = found
  return found
end

-- Where a run is bounded, count who is worked on: a token of a step that is queued, in hands, given back or put aside.
local function is_inside(record)
  return record and string.find(record, '^%d+|[qgp]|%d*|[^|]*|n|') ~= nil
end

-- The name of the concurrency key of which a token holds a slot, or waits for one.
local function share_of(record)
  local name = record and string.match(record, '[|+]slot=(%x+)')
  if name then return name end
  if record and string.find(record, '^%d+|s|') then return nil, string.match(record, '[|+]asks=(%x+)') end
end

-- What a token holds or waits for no more, for who settles it (includes/shares.lua).
local function watch_shares(run, token, before, after)
  local held, asked = share_of(before)
  local still_held, still_asked = share_of(after)
  if held and held ~= still_held then shares_left[#shares_left + 1] = { held, true, run.id .. '|' .. token } end
  if asked and not still_asked then
    local fence, place = string.match(before, '^(%d+)|s|%d*|([^|]*)|')
    shares_left[#shares_left + 1] = { asked, false, run.id .. '|' .. token .. '|' .. fence, place ~= '' }
  end
end

-- Of a run with a budget: limits of tokens and cost (nil: none), whether it refuses, what is spent, how many tokens
-- have reservations and of how much, and the first and last number of the row of those that wait.
local function purse_of(run)
  if not run.purse then
    local tokens, cost, policy, rest, shared = string.match(get_field(run, 'b') or '', '^(%d*),(%d*),(%a),([%d,]+);?(.*)$')
    if not tokens then error({ err = 'CORRUPT the run ' .. run.id .. ' has lost its budget' }) end
    local counts = {}
    for count in string.gmatch(rest, '%d+') do counts[#counts + 1] = tonumber(count) end
    run.purse = { limit_tokens = tonumber(tokens), limit_cost = tonumber(cost), policy = policy, tokens = counts[1],
      cost = counts[2], held = counts[3], held_tokens = counts[4], held_cost = counts[5], first = counts[6],
      last = counts[7] }
    local name, most_tokens, most_cost, word = string.match(shared, '^(%x+),(%d*),(%d*),(%a)$')
    if name then
      run.purse.fund = { name = name, limit_tokens = tonumber(most_tokens), limit_cost = tonumber(most_cost), policy = word }
    end
  end
  return run.purse
end

local function limit_text(limit)
  return limit and text(limit) or ''
end

local function write_purse(run)
  local p = run.purse
  local f = p.fund
  local shared = f and ';' .. table.concat({ f.name, limit_text(f.limit_tokens), limit_text(f.limit_cost), f.policy }, ',') or ''
  set_field(run, 'b', table.concat({ limit_text(p.limit_tokens), limit_text(p.limit_cost), p.policy, text(p.tokens),
    text(p.cost), text(p.held), text(p.held_tokens), text(p.held_cost), text(p.first), text(p.last) }, ',') .. shared)
end

-- The account of all runs of a workflow: what is spent and reserved, and what this call changes of both.
-- @each call
local funds = {}

local function fund_of(name)
  local found = funds[name]
  if not found then
    local key = BASE .. 'fund:' .. name
    check_type(key, 'hash')
    check_type(BASE .. 'fundq:' .. name, 'zset')
    local kept = redis.call('HMGET', key, 'tokens', 'cost', 'held_tokens', 'held_cost')
    found = { tokens = tonumber(kept[1] or 0), cost = tonumber(kept[2] or 0), held_tokens = tonumber(kept[3] or 0),
      held_cost = tonumber(kept[4] or 0), holders = {}, asking = {} }
    funds[name] = found
  end
  return found
end

-- What is reserved for the call of a token: tokens and cost, nil where nothing is.
local function paid_of(record)
  if record then return string.match(record, '[|+]paid=(%d+)%.(%d+)%.') end
end

-- A reservation is the token's own: it comes and goes with its word.
local function watch_purse(run, token, before, after)
  local tokens, cost = paid_of(before)
  local now_tokens, now_cost = paid_of(after)
  if tokens == now_tokens and cost == now_cost then return end
  local p = purse_of(run)
  if tokens then
    p.held, p.held_tokens, p.held_cost = p.held - 1, p.held_tokens - tonumber(tokens), p.held_cost - tonumber(cost)
  end
  if now_tokens then
    p.held, p.held_tokens, p.held_cost = p.held + 1, p.held_tokens + tonumber(now_tokens), p.held_cost + tonumber(now_cost)
  end
  if p.fund then
    local f = fund_of(p.fund.name)
    f.held_tokens = f.held_tokens + tonumber(now_tokens or 0) - tonumber(tokens or 0)
    f.held_cost = f.held_cost + tonumber(now_cost or 0) - tonumber(cost or 0)
    f.holders[run.id .. '|' .. token] = now_tokens and now_tokens .. '.' .. now_cost or false
    f.touched = true
  end
end

-- The record of a token, false where it is gone.
local function set_record(run, field, record)
  if run.watched then
    local before = get_field(run, field)
    if run.sharing then watch_shares(run, string.sub(field, 2), before, record) end
    if run.has_purse then watch_purse(run, string.sub(field, 2), before, record) end
    if run.limit then
      local was, is = is_inside(before), is_inside(record)
      if was and not is then run.busy = run.busy - 1 end
      if is and not was then run.busy = run.busy + 1 end
    end
  end
  run.val[field], run.dirty[field] = record, true
end

local function put_in_queue(run, token, fence, ready, deliveries)
  local parts = READIES[ready] or read_ready(ready)
  deliveries = deliveries or '0'
  local field, record = 't' .. token, fence .. '|q|' .. deliveries .. '||' .. ready
  set_record(run, field, record)
  emissions[#emissions + 1] = { run, field, fence, ready, parts[1], record, parts[3], deliveries }
  if parts[2] ~= '' then set_timer(run, due_at('+' .. parts[2]), '!queue/' .. token, fence) end
end

-- In a bounded run a token of a step waits for room first: in place "r", with its number in the row where others have
-- when they are due; y<number> is the token. The end of the transition lets in whose turn it is (close_transition).
-- Whoever is inside stays there, and who waits keeps its number. In a run that drains nothing is worked on.
local function wait_for_room(run, token, fence, ready, deliveries)
  local field = 't' .. token
  local record = get_field(run, field)
  if string.byte(ready) ~= 110 or is_inside(record) or not (run.st == 'R' or run.st == 'P' or run.st == 'C') then
    return false
  end
  local number = string.match(record or '', '^%d+|r|%d+|(%d+)|')
  if not number then
    run.last = run.last + 1
    number = text(run.last)
    set_field(run, 'y' .. number, token)
  end
  local waiting = fence .. '|r|' .. (deliveries or '0') .. '|' .. number .. '|' .. ready
  if run.has_purse then watch_purse(run, token, record, waiting) end
  set_field(run, field, waiting)
  return true
end

-- Who has gone meanwhile has left its number behind. Of these no more than MISSED_MAX are passed in one call, as long
-- as somebody is inside, whose transition goes on with it.
local MISSED_MAX = 1000
local function let_in(run)
  local missed = 0
  while run.busy < run.limit and run.first <= run.last and (missed < MISSED_MAX or run.busy == 0) do
    local number = text(run.first)
    local token = get_field(run, 'y' .. number)
    local record = token and get_field(run, 't' .. token)
    local fence, deliveries, kept, ready = string.match(record or '', '^(%d+)|r|(%d+)|(%d+)|(.*)$')
    run.first = run.first + 1
    if token then set_field(run, 'y' .. number, false) end
    if kept == number then
      put_in_queue(run, token, fence, ready, deliveries)
    else
      missed = missed + 1
    end
  end
end

-- deliveries: how often the token was taken over until now, where that is still to be counted.
local function enqueue(run, token, fence, ready, deliveries)
  if run.limit and wait_for_room(run, token, fence, ready, deliveries) then return end
  put_in_queue(run, token, fence, ready, deliveries)
end

local function park(run, token, fence, ready, due, place, deliveries)
  set_record(run, 't' .. token, fence .. '|' .. place .. '|' .. (deliveries or '0') .. '|' .. due .. '|' .. ready)
  if due ~= '' then set_timer(run, due, token, fence) end
end

-- A token is put where somebody else has found it to be, and the head says already what room there is.
local function put_back(run, token, place, fence, ready, due, deliveries)
  local watched, limit = run.watched, run.limit
  run.watched, run.limit = nil, nil
  if place == 'q' then
    put_in_queue(run, token, fence, ready, deliveries)
  elseif place == 'r' or place == 'b' then
    set_record(run, 't' .. token, fence .. '|' .. place .. '|' .. deliveries .. '|' .. due .. '|' .. ready)
  else
    park(run, token, fence, ready, due, place, deliveries)
  end
  run.watched, run.limit = watched, limit
end

local function emit(run, token, ready)
  run.n = run.n + 1
  enqueue(run, token, FIRST_FENCE, ready)
end
