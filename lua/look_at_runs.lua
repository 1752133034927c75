#!lua
--[[ look_at_runs: the state of runs, and context values of theirs. Read-only.
  KEYS[1] meta (hash)
  ARGV per run: run, reads (fields joined by spaces)
  Returns per run {state or false, counter, IR hash, reason, first error or false, values...}; false alone where the
    run is unknown, or its key is none of ours     Cost: O(fields)
]]
-- @include partition
local runs = nil
-- @include deliver
local looks = {}
for i = 1, #ARGV, 2 do
  local found = ask_fields(BASE .. 'run:' .. ARGV[i], { 'h', 'why', 'err' }, ARGV[i + 1])
  local one = { false, '0', false, '', false }
  local head = not is_broken(found) and found[1] or ''
  local state, counter, ir = string.match(head, '^(%a)|(%d+)|%d+|%d+|[^|]+|(.*)$')
  if state then
    one = { state, counter, ir, found[2] or '', found[3] or false }
    for k = 4, #found do one[k + 2] = found[k] end
  end
  looks[#looks + 1] = one
end
return looks
