-- runs: the runs that this call touches. Everything is read first and changed here; flush_runs writes it.
local runs, run_order = {}, {}
local emissions, timers_set, timers_gone, outbox, done = {}, {}, {}, {}, {}
local acked = {}
local FIRST_FENCE = nil

-- field: one more field that is wanted, so that it comes with the same call.
-- A key of another type is a halted run without a single field: pcall, so that it stops nobody else in this call.
local function open_run(id, field)
  local run = runs[id]
  if run then return run end
  local key = BASE .. 'run:' .. id
  local head = redis.pcall('HMGET', key, 'st', 'n', 'seq', 'jn', 'ir', 'why', field)
  local is_broken = head.err ~= nil
  if is_broken then head = { 'H', false, false, false, false, false, false } end
  run = { id = id, key = key, st = head[1], was = head[1], n = tonumber(head[2] or 0), seq = tonumber(head[3] or 0),
    jn = tonumber(head[4] or 0), ir = head[5], why = head[6] or '', val = { [field] = head[7] }, dirty = {}, ctx = {},
    kept = {}, is_broken = is_broken }
  run.had = run.jn
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

local function set_context(run, field, value)
  run.kept[field] = value
  run.ctx[#run.ctx + 1] = field
  run.ctx[#run.ctx + 1] = value
end

local function stream_of(ready)
  return BASE .. 'q:' .. string.match(ready, '^[^|]*|([^|]*)')
end

-- A record is "fence|place|deliveries|entry|ready"; ready is "kind|stream|attempt|extra|reads|live".
-- The entry id is known only when the entry is added: flush_runs completes the record.
local function enqueue(run, token, fence, ready)
  local stream = stream_of(ready)
  check_type(stream, 'stream')
  emissions[#emissions + 1] = { run, token, fence, ready, stream }
end

local function park(run, token, fence, ready, due, place)
  check_type(TIMERS, 'zset')
  set_field(run, 't' .. token, fence .. '|' .. place .. '|0|' .. due .. '|' .. ready)
  timers_set[#timers_set + 1] = due
  timers_set[#timers_set + 1] = run.id .. '|' .. token .. '|' .. fence
end

local function emit(run, token, ready)
  run.n = run.n + 1
  enqueue(run, token, FIRST_FENCE, ready)
end
