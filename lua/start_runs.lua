#!lua
--[[ start_runs: put new runs on the floor, each with its first tokens.
  KEYS[1] meta (hash)
  ARGV[1] outbox hard limit   ARGV[2] latest time to apply them in ms ('0': any)   ARGV[3] epoch to apply them in
    ('': any), then per run: run, IR hash, input, number of events, events blob, number of operation words, operation
    words (e and P of includes/transitions.lua)
  Returns {word, verdicts}: word OK | CLOSED | BACKPRESSURE | LATE; verdicts: a letter per run, A applied, D there already
  Idempotent by run. Writes: the runs, their streams, the outbox. Cost: O(operations)
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
local latest = tonumber(ARGV[2])
if latest > 0 and NOW > latest or ARGV[3] ~= '' and ARGV[3] ~= EPOCH then return { 'LATE', '' } end
local verdicts, i = {}, 4
while i <= #ARGV do
  local run, words = open_run(ARGV[i], 'cmd'), tonumber(ARGV[i + 5])
  if run.st then
    verdicts[#verdicts + 1] = 'D'
  else
    run.st, run.touched, run.ir = 'R', true, ARGV[i + 1]
    set_field(run, 'at', text(NOW))
    set_field(run, 'cmd', '1')
    set_context(run, 'in', ARGV[i + 2])
    local codes = {}
    apply_operations(run, codes, '', '0', '', i + 6, i + 5 + words)
    close_transition(run, tonumber(ARGV[i + 3]), ARGV[i + 4], codes)
    verdicts[#verdicts + 1] = 'A'
  end
  i = i + 6 + words
end
flush()
return { 'OK', table.concat(verdicts) }
