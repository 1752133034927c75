#!lua
--[[ look_at_runs: the state of runs, and context values of theirs. Read-only.
  KEYS[1] meta (hash)
  ARGV per run: run, reads (fields joined by spaces)
  Returns per run {state or false, counter, IR hash, reason, first error or false, values...}     Cost: O(fields)
]]
-- @include partition
local runs = nil
-- @include deliver
local found = {}
for i = 1, #ARGV, 2 do
  local head = redis.call('HMGET', BASE .. 'run:' .. ARGV[i], 'st', 'n', 'ir', 'why', 'err')
  local one = { head[1], head[2] or '0', head[3], head[4] or '', head[5] }
  read_values(BASE .. 'ctx:' .. ARGV[i], ARGV[i + 1], one, {})
  found[#found + 1] = one
end
return found
