#!lua
--[[ drain_runs: end runs early, if nothing has happened in them since somebody looked, or if they have become too long.
  KEYS[1] meta (hash)
  ARGV[1] outbox hard limit   ARGV[2] reason, then per run: run, sequence number of its last event, closes;
    ">n" instead of the number: it has more events than n
  Returns {word, verdicts}: OK | CLOSED | BACKPRESSURE; a letter per run: A drained, N it has gone on, or ends already
  Writes: records, streams, the outbox. Cost: O(runs)
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
local reason, verdicts = ARGV[2], {}
for i = 3, #ARGV, 3 do
  local run, verdict = open_run(ARGV[i], 'why'), 'N'
  local limit = string.match(ARGV[i + 1], '^>(%d+)$')
  local fits = run.st and (limit and run.seq > tonumber(limit) or text(run.seq) == ARGV[i + 1])
  if fits and not run.is_broken and goes_on(run) then
    run.touched, verdict = true, 'A'
    drain(run, reason, '', ARGV[i + 2])
    close_transition(run, 0, '', { 'X' .. reason })
  end
  verdicts[#verdicts + 1] = verdict
end
flush()
return { 'OK', table.concat(verdicts) }
