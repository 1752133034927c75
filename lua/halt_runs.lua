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
  local head = redis.call('HGET', key, 'h')
  if not head then
    verdicts[i] = 'D'
  elseif string.sub(head, 1, 1) == 'E' then
    verdicts[i] = 'E'
  else
    verdicts[i] = 'A'
    halted[key] = 'H' .. string.sub(head, 2)
  end
end
for key, head in pairs(halted) do redis.call('HSET', key, 'h', head) end
return { 'OK', table.concat(verdicts) }
