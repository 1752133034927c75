#!lua
--[[ open_partition: make a partition ready, and the groups of the given streams. Idempotent.
  KEYS[1] meta (hash)   KEYS[2..] streams
  ARGV[1] epoch to open with where there is none ('' : do not open)   ARGV[2..] the group of each stream
  Returns {epoch or false}         Cost: O(streams)
]]
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if not epoch and ARGV[1] ~= '' then
  redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'pseq', '0')
  epoch = ARGV[1]
end
if not epoch then return { false } end
for i = 2, #KEYS do
  local groups = redis.call('EXISTS', KEYS[i]) == 1 and redis.call('XINFO', 'GROUPS', KEYS[i]) or {}
  local found = false
  for g = 1, #groups do found = found or groups[g][2] == ARGV[i] end
  if not found then redis.call('XGROUP', 'CREATE', KEYS[i], ARGV[i], '0', 'MKSTREAM') end
end
return { epoch }
