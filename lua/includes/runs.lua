-- runs: the runs that this call touches. Everything is read first and changed here; flush writes it.
local runs, run_order = {}, {}
local emissions, timers_set, timers_gone, outbox, done = {}, {}, {}, {}, {}
local acked = {}
local FIRST_FENCE = EPOCH and text(tonumber(EPOCH) * 4294967296 + 1)

-- The head of a run: status|counter|seq|unfinished|retries|IR hash; unfinished: half-filled joins and open maps. A "+"
-- behind the retries: its closing token is parked.
local HEAD = '^(%a)|(%d+)|(%d+)|(%d+)|(%d+)(%+?)|'
local IR_CHARS = 32

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
      local st, n, seq, unfinished, retries, closing = string.match(found[1], HEAD)
      if st then
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
local READIES = {}

-- {stream, how long it may wait there, reads} of a ready. The runs of a workflow say the very same ones.
local function read_ready(ready)
  local name, patience, reads = string.match(ready, '^[^|]*|([^|~]*)~?(%d*)|[^|]*|[^|]*|([^|]*)')
  local found = { BASE .. 'q:' .. name, patience, reads }
  check_type(found[1], 'stream')
  READIES[ready] = found
  return found
end

-- deliveries: how often the token was taken over until now, where that is still to be counted.
local function enqueue(run, token, fence, ready, deliveries)
  local parts = READIES[ready] or read_ready(ready)
  deliveries = deliveries or '0'
  local field, record = 't' .. token, fence .. '|q|' .. deliveries .. '||' .. ready
  run.val[field], run.dirty[field] = record, true
  emissions[#emissions + 1] = { run, field, fence, ready, parts[1], record, parts[3], deliveries }
  if parts[2] ~= '' then set_timer(run, due_at('+' .. parts[2]), '!queue/' .. token, fence) end
end

local function park(run, token, fence, ready, due, place, deliveries)
  set_field(run, 't' .. token, fence .. '|' .. place .. '|' .. (deliveries or '0') .. '|' .. due .. '|' .. ready)
  if due ~= '' then set_timer(run, due, token, fence) end
end

local function emit(run, token, ready)
  run.n = run.n + 1
  enqueue(run, token, FIRST_FENCE, ready)
end
