#!lua
--[[ close_partition: let nothing happen in a partition any more, before it is rebuilt in a later epoch.
  KEYS[1] meta (hash)
  ARGV[1] epoch that the partition will have
  Returns {word, partition sequence}: OK | FENCED: somebody has given it that epoch or a later one
  Every script answers CLOSED from now on. Writes: meta. Cost: O(1)
]]
local found = redis.call('HMGET', KEYS[1], 'epoch', 'next', 'pseq')
local epoch = tonumber(ARGV[1])
if tonumber(found[1] or 0) >= epoch or tonumber(found[2] or 0) >= epoch then return { 'FENCED', found[3] or '0' } end
redis.call('HDEL', KEYS[1], 'epoch')
redis.call('HSET', KEYS[1], 'next', ARGV[1], 'restored', '0')
return { 'OK', found[3] or '0' }
