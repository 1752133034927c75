#!lua
--[[ halt_runs: let nothing move any more in runs that need repair.
  KEYS[1] meta (hash)
  ARGV runs
  Returns {word, verdicts}: OK | CLOSED; a letter per run: A halted, E ended before, D unknown
  Idempotent. Writes: the runs' status. Cost: O(runs)
]]
-- @include partition
if not EPOCH then return { 'CLOSED', '' } end
local verdicts, halted = {}, {}
for i = 1, #ARGV do
  local key = BASE .. 'run:' .. ARGV[i]
  local status = redis.call('HGET', key, 'st')
  if not status then
    verdicts[i] = 'D'
  elseif status == 'E' then
    verdicts[i] = 'E'
  else
    verdicts[i] = 'A'
    halted[#halted + 1] = key
  end
end
for i = 1, #halted do redis.call('HSET', halted[i], 'st', 'H') end
return { 'OK', table.concat(verdicts) }
