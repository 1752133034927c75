#!lua
--[[ halt_runs: let nothing move any more in runs that need repair.
  KEYS[1] meta (hash)
  ARGV[1] why, a word for the log ('': the log says it already)   ARGV[2..] runs
  Returns {word, verdicts}: OK | CLOSED; a letter per run: A halted, H it was before, E ended before, D unknown, C its
    key is none of ours
  Idempotent. Writes: the runs' status, the outbox. Cost: O(runs)
]]
-- @include partition
-- @include runs
-- @include flush
if not EPOCH then return { 'CLOSED', '' } end
check_type(OUTBOX, 'stream')
local why, verdicts = ARGV[1], {}
for i = 2, #ARGV do
  local run, verdict = open_run(ARGV[i], 'why'), 'A'
  if not run.st then
    verdict = 'D'
  elseif run.is_broken then
    verdict = 'C'
  elseif run.st == 'E' or run.st == 'H' then
    verdict = run.st
  else
    run.st, run.touched = 'H', true
    if why ~= '' then
      outbox[#outbox + 1] = run.id .. '|' .. text(run.seq + 1) .. '|0|H' .. why
      outbox[#outbox + 1] = ''
      run.seq = run.seq + 1
    end
  end
  verdicts[#verdicts + 1] = verdict
end
flush()
return { 'OK', table.concat(verdicts) }
