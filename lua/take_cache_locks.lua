#!lua
--[[ take_cache_locks: let one attempt at a time execute a step for one cached output; one call per lock.
  KEYS[1] lock (string)
  ARGV[1] run|token   ARGV[2] fence of the token   ARGV[3] ms for which it is held
  Returns 0: held by this token now, else for how many ms another one holds it
  The same token with a later fence takes its own lock at once: its earlier holder has lost the token.
  Also renews. Writes: the lock. Cost: O(1)
]]
local held = redis.call('GET', KEYS[1])
if held then
  local owner, fence = string.match(held, '^(.*)|(%d+)$')
  if owner ~= ARGV[1] or tonumber(fence) > tonumber(ARGV[2]) then
    return math.max(1, redis.call('PTTL', KEYS[1]))
  end
end
redis.call('SET', KEYS[1], ARGV[1] .. '|' .. ARGV[2], 'PX', ARGV[3])
return 0
