#!lua
--[[ look_at_runs: the state of runs, and context values of theirs. Read-only.
  KEYS[1] meta (hash)
  ARGV per run: run, reads (fields joined by spaces)
  Returns per run {state or false, counter, IR hash, reason, first error or false, values...}; no values where the
    context is no hash, no state where the run is none     Cost: O(fields)
]]
-- @include partition
local runs = nil
-- @include deliver
local found = {}
for i = 1, #ARGV, 2 do
  local head = ask('HMGET', BASE .. 'run:' .. ARGV[i], 'st', 'n', 'ir', 'why', 'err')
  if is_broken(head) then head = {} end
  local one = { head[1] or false, head[2] or '0', head[3] or false, head[4] or '', head[5] or false }
  read_values(BASE .. 'ctx:' .. ARGV[i], ARGV[i + 1], one, {})
  found[#found + 1] = one
end
return found
