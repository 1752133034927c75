#!lua
--[[ finish_runs: end runs whose counter is zero.
  KEYS[1] meta (hash)
  ARGV[1] group of the readers of `done`, then per run: run, entry id in `done` ('' none), output (of a run that
    did not complete its error as JSON, or ''), end status, number of events, events blob
  Returns {word, verdicts}: OK | CLOSED; a letter per run: A applied, E ended before, N not now: its counter is not zero,
    or a command has come since its end was worked out and it ends otherwise; D unknown
  Idempotent by run: one end. Publishes the runs, joined by spaces, on `ended` as a hint. Cost: O(runs)
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
check_type(DONE, 'stream')
check_type(OUTBOX, 'stream')
check_type(TIMERS, 'zset')
local verdicts, ended, seen = {}, {}, {}

-- How a run ends by what went wrong (the twin of fold_ends.ENDS); one in which nothing did completes, or has no output.
local ENDS = { cancelled = 'CANCELLED', timed_out = 'TIMED_OUT', expired = 'TIMED_OUT' }
local function fits(run, status)
  local reason = get_field(run, 'why')
  if reason then return status == (ENDS[reason] or 'FAILED') end
  return status == 'COMPLETED' or status == 'FAILED'
end

for i = 2, #ARGV, 6 do
  local run, entry, verdict = open_run(ARGV[i], 'why'), ARGV[i + 1], 'A'
  if not run.st then
    verdict = 'D'
  elseif run.st == 'E' then
    verdict = 'E'
  elseif run.n ~= 0 or run.st == 'H' or not fits(run, ARGV[i + 3]) then
    verdict = 'N'
  else
    run.st, run.touched = 'E', true
    set_field(run, 'end', ARGV[i + 3])
    set_field(run, 'fin', text(NOW))
    if ARGV[i + 3] == 'COMPLETED' then
      set_context(run, 'out', ARGV[i + 2])
    elseif ARGV[i + 2] ~= '' and not get_field(run, 'why') then
      set_field(run, 'err', ARGV[i + 2])
    end
    timers_gone[#timers_gone + 1] = run.id .. '|!timeout|0'
    timers_gone[#timers_gone + 1] = run.id .. '|!timeout|1'
    close_transition(run, tonumber(ARGV[i + 4]), ARGV[i + 5], {})
    ended[#ended + 1] = run.id
  end
  if entry ~= '' then seen[#seen + 1] = entry end
  verdicts[#verdicts + 1] = verdict
end
flush()
if #seen > 0 then
  redis.call('XACK', DONE, ARGV[1], unpack(seen))
  redis.call('XDEL', DONE, unpack(seen))
end
if #ended > 0 then redis.call('PUBLISH', BASE .. 'ended', table.concat(ended, ' ')) end
return { 'OK', table.concat(verdicts) }
