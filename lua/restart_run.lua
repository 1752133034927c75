#!lua
--[[ restart_run: put a new run on the floor with what another one had come to at one of its events.
  KEYS[1] meta (hash)
  ARGV[1] outbox hard limit   ARGV[2] latest time to apply it in ms ('0': any)   ARGV[3] epoch to apply it in ('': any)
  ARGV[4] run   ARGV[5] head   ARGV[6] how many of its fields stage_fields has put aside   ARGV[7] number of events
  ARGV[8] events blob, then number of words and words of its fields (field, value), of its tokens (token, place, due or
    '', deliveries, ready), of its other timers (name, what stands behind it or '' for the fence, '+ms'), and of its
    waits (token, its due or '', events blob of one event)
  Returns {word, verdict}: word OK | CLOSED | BACKPRESSURE | LATE; verdict A applied, D there already, G what was put
    aside is gone: begin again
  Due: '+ms' from now, or a time in ms. Idempotent by run. Writes: the run, its streams, timers, the outbox.
  Cost: O(words)
]]
-- @include partition
-- @include runs
-- @include joins
-- @include signals
-- @include slots
-- @include purse
-- @include redirects
-- @include ending
-- @include sweep
-- @include maps
-- @include shares
-- @include transitions
-- @include flush
if not EPOCH then return { 'CLOSED', '' } end
if redis.call('XLEN', OUTBOX) > tonumber(ARGV[1]) then return { 'BACKPRESSURE', '' } end
check_type(DONE, 'stream')
check_type(TIMERS, 'zset')
local latest = tonumber(ARGV[2])
if latest > 0 and NOW > latest or ARGV[3] ~= '' and ARGV[3] ~= EPOCH then return { 'LATE', '' } end
local run, aside, staged = open_run(ARGV[4], 'cmd'), tonumber(ARGV[6]), BASE .. 'staged:' .. EPOCH .. ':' .. ARGV[4]
if run.st then return { 'OK', 'D' } end
if aside > 0 and redis.call('HLEN', staged) ~= aside then return { 'OK', 'G' } end

local st, n, _, unfinished, _, closing, room, ir = string.match(ARGV[5], HEAD .. '(.*)$')
read_room(run, room)
run.st, run.n, run.unfinished, run.closing, run.ir, run.touched = st, number_of(n), number_of(unfinished), closing, ir, true
set_context(run, 'at', text(NOW))

local i = 9
local function words()
  local first = i + 1
  i = first + tonumber(ARGV[i])
  return first, i - 1
end

local first, last = words()
for k = first, last, 2 do set_context(run, ARGV[k], ARGV[k + 1]) end
first, last = words()
for k = first, last, 5 do
  local due = ARGV[k + 2] == '' and '' or due_at(ARGV[k + 2])
  put_back(run, ARGV[k], ARGV[k + 1], FIRST_FENCE, ARGV[k + 4], due, ARGV[k + 3])
end
first, last = words()
for k = first, last, 3 do
  local name, behind, due = ARGV[k], ARGV[k + 1], due_at(ARGV[k + 2])
  if behind ~= '' then set_run_timer(run, due, name, behind) else set_timer(run, due, name, FIRST_FENCE) end
  -- Beside the names that a token waits for stands the time from now on; it is to be that by the clock.
  local field = string.gsub(name, '^!escalate/', 'W')
  local names = field ~= name and (run.val[field] or redis.call('HGET', staged, field))
  if names then set_field(run, field, string.gsub(names, ' @%d+$', '') .. ' @' .. due) end
end
first, last = words()
close_transition(run, tonumber(ARGV[7]), ARGV[8], {})
for k = first, last, 3 do
  local codes = {}
  if ARGV[k + 1] ~= '' then codes[1] = 'P' .. place_of(ARGV[k]) .. ':' .. due_at(ARGV[k + 1]) end
  close_transition(run, 1, ARGV[k + 2], codes)
end
if aside > 0 then
  redis.call('RENAME', staged, run.key)
  redis.call('PERSIST', run.key)
end
flush()
return { 'OK', 'A' }
