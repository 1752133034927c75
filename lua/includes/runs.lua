-- runs: the runs that this call touches. Everything is read first and changed here; flush writes it.
local runs, run_order = {}, {}
local emissions, timers_set, timers_gone, outbox, done = {}, {}, {}, {}, {}
local acked = {}
local FIRST_FENCE = nil

-- The head of a run: status|counter|seq|half-filled joins|retries|IR hash.
local HEAD = '^(%a)|(%d+)|(%d+)|(%d+)|(%d+)|(.*)$'

-- field: one more field that is wanted, so that it comes with the same call.
-- A key of another type is a halted run without a single field: pcall, so that it stops nobody else in this call.
local function open_run(id, field)
  local run = runs[id]
  if run then return run end
  local key = BASE .. 'run:' .. id
  local found = redis.pcall('HMGET', key, 'h', field)
  run = { id = id, key = key, n = 0, seq = 0, jn = 0, retries = 0, ir = '', val = {}, dirty = {}, ctx = {}, kept = {} }
  if found.err then
    run.st, run.is_broken = 'H', true
  else
    run.val[field] = found[2]
    if found[1] then
      local st, n, seq, jn, retries, ir = string.match(found[1], HEAD)
      run.st, run.n, run.seq, run.jn = st, tonumber(n), tonumber(seq), tonumber(jn)
      run.retries, run.ir = tonumber(retries), ir
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

local function set_context(run, field, value)
  run.kept[field] = value
  run.ctx[#run.ctx + 1] = field
  run.ctx[#run.ctx + 1] = value
end

local function stream_of(ready)
  return BASE .. 'q:' .. string.match(ready, '^[^|]*|([^|]*)')
end

-- A record is "fence|place|deliveries|entry|ready"; ready is "kind|stream|attempt|extra|reads|live".
-- The entry id is known only when the entry is added: flush completes the record.
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
