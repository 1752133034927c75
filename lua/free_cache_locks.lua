#!lua flags=allow-oom
--[[ free_cache_locks: give up the lock of one cached output, if this token holds it still; one call per lock.
  KEYS[1] lock (string)
  ARGV[1] run|token   ARGV[2] fence of the token
  Returns 1: it was held and is free, 0: it is another's, or nobody's. Idempotent. Cost: O(1)
]]
if redis.call('GET', KEYS[1]) ~= ARGV[1] .. '|' .. ARGV[2] then return 0 end
return redis.call('DEL', KEYS[1])
