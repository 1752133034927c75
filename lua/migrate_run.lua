#!lua
--[[ migrate_run: a run goes on with another IR, whose nodes have the numbers that they had.
  KEYS[1] meta (hash)
  ARGV[1] outbox hard limit   ARGV[2] epoch   ARGV[3] run   ARGV[4] number of its last event   ARGV[5] hash of its IR
  ARGV[6] hash of the other   ARGV[7] code of the event, '' to look only   ARGV[8] how many tokens may be worked on at
    once, or ''   ARGV[9] '1': its tokens may hold slots of concurrency keys   ARGV[10] what stands behind !timeout,
    '' where that stays   ARGV[11] when its time is over then in ms, or ''
  then number of words and words of its tokens (token, its ready by the other IR, or '': as it is), and of fields that
    are to be kept (field, value), or not any more (field, '')
  Returns {word, verdict, token...}: OK | CLOSED | BACKPRESSURE | LATE: the partition is in another epoch; A done (or
    could be), D it has the other IR, M it has moved meanwhile, B these tokens are in hands, E ended or ending, H halted,
    U unknown
  Idempotent: the other IR is the sign. What is queued is queued again, by a raised fence. Writes: the run, its streams,
  timers, the outbox. Cost: O(words)
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
-- @include hands
-- @include flush
if not EPOCH then return { 'CLOSED', '' } end
if redis.call('XLEN', OUTBOX) > tonumber(ARGV[1]) then return { 'BACKPRESSURE', '' } end
if ARGV[2] ~= EPOCH then return { 'LATE', '' } end
check_type(DONE, 'stream')
check_type(TIMERS, 'zset')
local run, after = open_run(ARGV[3], 'T!timeout'), ARGV[6]
if not run.st then return { 'OK', 'U' } end
if run.is_broken or run.st == 'H' then return { 'OK', 'H' } end
if run.ir == after then return { 'OK', 'D' } end
if not goes_on(run) or run.n == 0 then return { 'OK', 'E' } end
if text(run.seq) ~= ARGV[4] or run.ir ~= ARGV[5] then return { 'OK', 'M' } end

local i = 12
local function words()
  local first = i + 1
  i = first + tonumber(ARGV[i])
  return first, i - 1
end

-- fence, place, deliveries, entry or due, stream without its patience
local RECORD = '^(%d+)|(%a)|(%d*)|([^|]*)|%a|([^|~]*)'
local first, last = words()
local taken = {}
for k = first, last, 2 do
  local record = get_field(run, 't' .. ARGV[k])
  if not record then return { 'OK', 'M' } end
  local _, place, _, entry, stream = string.match(record, RECORD)
  if place == 'q' and is_taken(BASE .. 'q:' .. stream, entry) then taken[#taken + 1] = ARGV[k] end
end
if taken[1] then return { 'OK', 'B', unpack(taken) } end
if ARGV[7] == '' then return { 'OK', 'A' } end

-- What waits for room has its number in the row, and has it no more where there is no bound.
local limit = tonumber(ARGV[8])
local was_bound = run.limit
run.sharing = ARGV[9] == '1'
run.watched = run.sharing or limit ~= nil
if limit and not was_bound then run.busy, run.first, run.last = 0, 1, 0 end
run.limit = limit

local function move(token, ready)
  local field = 't' .. token
  local record = get_field(run, field)
  local fence, place, deliveries, entry, stream = string.match(record, RECORD)
  if ready == '' then ready = ready_of(record) end
  if limit and not was_bound and is_inside(record) then run.busy = run.busy + 1 end
  if place == 'q' then
    local key = BASE .. 'q:' .. stream
    acked[key] = acked[key] or {}
    table.insert(acked[key], entry)
    timers_gone[#timers_gone + 1] = run.id .. '|!queue/' .. token .. '|' .. fence
    put_back(run, token, 'q', raise(fence), ready, '', deliveries)
  elseif place == 'r' and not limit then
    set_field(run, 'y' .. entry, false)
    put_back(run, token, 'q', fence, ready, '', deliveries)
  else
    if place == 'g' and get_field(run, 'd' .. token) then
      local head, reads, live = string.match(ready, '^(.*|)([^|]*)|([^|]*)$')
      ready = head .. with_read(reads, 'd' .. token) .. '|' .. live
    end
    set_field(run, field, fence .. '|' .. place .. '|' .. deliveries .. '|' .. entry .. '|' .. ready)
  end
end

for k = first, last, 2 do move(ARGV[k], ARGV[k + 1]) end
first, last = words()
for k = first, last, 2 do set_field(run, ARGV[k], ARGV[k + 1] ~= '' and ARGV[k + 1]) end

local closes, due = ARGV[10], ARGV[11]
local before = string.match(get_field(run, 'T!timeout') or '', '^(%d+)|')
if before and closes ~= '' and (due == '' or before ~= closes) then
  timers_gone[#timers_gone + 1] = run.id .. '|!timeout|' .. before
  set_field(run, 'T!timeout', false)
end
if closes ~= '' and due ~= '' then set_run_timer(run, due, '!timeout', closes) end

run.ir, run.touched = after, true
close_transition(run, 0, '', { ARGV[7] })
settle_shares()
flush()
return { 'OK', 'A' }
