#!lua
--[[ clear_partition: remove state that is rebuilt from the log, of a partition that close_partition has closed.
  KEYS[1] meta (hash)   KEYS[2..] keys to remove
  ARGV[1] epoch of the recovery   ARGV[2] partition sequence from which the outbox goes on ('': the outbox stays)
  ARGV[3] seconds for which the outbox that stood until now is kept, under a name of its own
  Returns {word}: OK | FENCED: the partition is not closed, or closed for another epoch. Idempotent. Cost: O(keys)
]]
local META, epoch = KEYS[1], ARGV[1]
local BASE = string.sub(META, 1, -5)
local found = redis.call('HMGET', META, 'epoch', 'next')
if found[1] or found[2] ~= epoch then return { 'FENCED' } end
for i = 2, #KEYS do redis.call('UNLINK', KEYS[i]) end
if ARGV[2] ~= '' then
  if redis.call('EXISTS', BASE .. 'outbox') == 1 then
    redis.call('RENAME', BASE .. 'outbox', BASE .. 'outbox:' .. epoch)
    redis.call('EXPIRE', BASE .. 'outbox:' .. epoch, ARGV[3])
  end
  local clock = redis.call('TIME')
  local now = string.format('%.0f', clock[1] * 1000 + math.floor(clock[2] / 1000))
  redis.call('HSET', META, 'pseq', ARGV[2], 'recorded', ARGV[2], 'emptied', now)
  for _, field in ipairs(redis.call('HKEYS', META)) do
    if string.sub(field, 1, 5) == 'held:' then redis.call('HDEL', META, field) end
  end
end
return { 'OK' }
