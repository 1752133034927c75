#!lua
--[[ stage_fields: put fields of a run aside that restart_run will start, where one call cannot bring them all.
  KEYS[1] meta (hash)
  ARGV[1] epoch   ARGV[2] run   ARGV[3] seconds for which they are kept, then fields and values
  Returns {word}: OK | CLOSED | LATE: the partition is in another epoch. Idempotent. Writes: the staged fields.
  Cost: O(words)
]]
-- @include partition
if not EPOCH then return { 'CLOSED' } end
if ARGV[1] ~= EPOCH then return { 'LATE' } end
if redis.call('EXISTS', BASE .. 'run:' .. ARGV[2]) == 1 then return { 'OK' } end -- it was started meanwhile
local staged = BASE .. 'staged:' .. EPOCH .. ':' .. ARGV[2]
check_type(staged, 'hash')
redis.call('HSET', staged, unpack(ARGV, 4))
redis.call('EXPIRE', staged, ARGV[3])
return { 'OK' }
