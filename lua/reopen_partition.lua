#!lua
--[[ reopen_partition: let a partition work again, in the epoch that it was closed for.
  KEYS[1] meta (hash)
  ARGV[1] epoch   ARGV[2] calls of restore_runs that were answered
  Returns {word}: OK | FENCED: it is not closed for this epoch, or a call of it was lost
  Writes: meta. Cost: O(1)
]]
local found = redis.call('HMGET', KEYS[1], 'epoch', 'next', 'restored')
if found[1] or found[2] ~= ARGV[1] or found[3] ~= ARGV[2] then return { 'FENCED' } end
redis.call('HSET', KEYS[1], 'epoch', ARGV[1])
redis.call('HDEL', KEYS[1], 'next', 'restored')
return { 'OK' }
