#!lua
--[[ expire_runs: let go of runs whose final event is in the log, and say that it is.
  KEYS[1] meta (hash)
  ARGV[1] time-to-live in seconds, then per run: run
  Returns OK. Writes: the time-to-live of each run's key. Idempotent; a run that is gone already is no error.
  Publishes the runs, joined by spaces, on `recorded` as a hint. Cost: O(runs)
]]
local BASE = string.sub(KEYS[1], 1, -5)
for i = 2, #ARGV do
  redis.call('EXPIRE', BASE .. 'run:' .. ARGV[i], ARGV[1])
end
if #ARGV > 1 then redis.call('PUBLISH', BASE .. 'recorded', table.concat(ARGV, ' ', 2)) end
return 'OK'
