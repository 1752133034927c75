#!lua
--[[ apply_commands: what someone outside asks of runs, in the order of its numbers.
  KEYS[1] meta (hash)
  ARGV[1] outbox hard limit, then per command: run, number, type, reason, token, name, value, closes, number of events,
    events blob
      cancel: reason, closes    signal: name, value, and of one that is about a token: that, and "asked" as the reason where it waited for it then    force: token, value    withdraw: token, value (ready of its skip)
      pause, resume    budget: "<tokens>.<cost>" more as the name
  Returns {word, verdicts}: OK | CLOSED | BACKPRESSURE; a letter per command: A applied, N applied without effect,
    D applied before, G an earlier one is missing, E the run has ended, U the run is unknown, C it is halted
  Idempotent by run and number. Writes: records, streams, the outbox. Cost: O(commands + their effects)
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

local COMMANDS = {}

function COMMANDS.cancel(run, codes, reason, _, _, _, closes)
  if not goes_on(run) then return false end
  drain(run, reason, '', closes)
  codes[#codes + 1] = 'X' .. reason
  return true
end

function COMMANDS.signal(run, codes, reason, token, name, value, _, number)
  return may_park(run) and not is_late(run, token, name, reason == 'asked') and signal(run, codes, name, number, value)
end

function COMMANDS.force(run, codes, _, token, _, value)
  return may_park(run) and force(run, codes, token, value)
end

function COMMANDS.withdraw(run, codes, _, token, _, value)
  return goes_on(run) and withdraw(run, codes, token, value)
end

function COMMANDS.budget(run, _, _, _, name)
  if not run.has_purse or not may_park(run) then return false end
  raise_budget(run, string.match(name, '^(%d+)%.(%d+)$'))
  return true
end

function COMMANDS.pause(run)
  if run.st ~= 'R' then return false end
  run.st = 'P'
  return true
end

function COMMANDS.resume(run)
  if run.st ~= 'P' then return false end
  run.st = 'R'
  -- A waker that is under way begins again: what this pause has put aside may lie behind it.
  local waker = get_field(run, 't-4')
  if waker then
    enqueue(run, '-4', raise(string.match(waker, '^%d+')), WAKER_READY)
  else
    emit(run, '-4', WAKER_READY)
  end
  return true
end

local verdicts = {}
for i = 2, #ARGV, 10 do
  local run, number = open_run(ARGV[i], 'cmd'), tonumber(ARGV[i + 1])
  local last, verdict = tonumber(get_field(run, 'cmd') or 0), 'A'
  if not run.st then
    verdict = 'U'
  elseif run.is_broken or run.st == 'H' then
    verdict = 'C'
  elseif number <= last then
    verdict = 'D'
  elseif run.st == 'E' then
    verdict = 'E'
  elseif number > last + 1 then
    verdict = 'G'
  else
    local codes, apply = {}, COMMANDS[ARGV[i + 2]]
    if not apply then error({ err = 'CORRUPT unknown command ' .. ARGV[i + 2] }) end
    run.touched = true
    set_field(run, 'cmd', ARGV[i + 1])
    if not apply(run, codes, ARGV[i + 3], ARGV[i + 4], ARGV[i + 5], ARGV[i + 6], ARGV[i + 7], ARGV[i + 1]) then
      codes[#codes + 1], verdict = 'N', 'N'
    end
    close_transition(run, tonumber(ARGV[i + 8]), ARGV[i + 9], codes)
  end
  verdicts[#verdicts + 1] = verdict
end
settle_shares()
flush()
return { 'OK', table.concat(verdicts) }
