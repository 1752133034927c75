#!lua
--[[ open_partition: make a partition ready, and the groups of the given streams. Idempotent.
  Queue streams are noted in the set `queues`, where takeovers look.
  KEYS[1] meta (hash)   KEYS[2..] streams
  ARGV[1] epoch to open with where there is none ('' : do not open)   ARGV[2..] the group of each stream
  Returns {epoch or false}: false too where a recovery has closed it         Cost: O(streams)
]]
-- @include groups
local BASE = string.sub(KEYS[1], 1, -5)
local found = redis.call('HMGET', KEYS[1], 'epoch', 'next')
local epoch = found[1]
if not epoch and not found[2] and ARGV[1] ~= '' then
  redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'pseq', '0')
  epoch = ARGV[1]
end
if not epoch then return { false } end
for i = 2, #KEYS do
  if not has_group(KEYS[i], ARGV[i]) then redis.call('XGROUP', 'CREATE', KEYS[i], ARGV[i], '0', 'MKSTREAM') end
  local kind, name = string.match(string.sub(KEYS[i], #BASE + 1), '^(%a+):(.*)$')
  if kind == 'q' then redis.call('SADD', BASE .. 'queues', name) end
end
return { epoch }
