#!lua
--[[ forget_consumers: take consumers out of the groups where nothing of theirs is pending.
  KEYS[1] meta (hash)   KEYS[2..] queue streams
  ARGV consumers
  Returns {word, verdicts}: word OK | CLOSED; verdicts: a letter per consumer, A it is in none of these groups any
    more, P something of it is pending somewhere
  Deleting a consumer throws away what is pending for it, so that is looked at in the same call. One that is alive
  after all is made again by its next read. Idempotent. Cost: O(streams * consumers)
]]
-- @include partition
-- @include groups
if not EPOCH then return { 'CLOSED', '' } end
local verdicts, streams = {}, {}
for i = 2, #KEYS do
  if has_group(KEYS[i], 'workers') then streams[#streams + 1] = KEYS[i] end
end
for i = 1, #ARGV do
  verdicts[i] = 'A'
  for _, stream in ipairs(streams) do
    if #redis.call('XPENDING', stream, 'workers', '-', '+', 1, ARGV[i]) > 0 then
      verdicts[i] = 'P'
    else
      redis.call('XGROUP', 'DELCONSUMER', stream, 'workers', ARGV[i])
    end
  end
end
return { 'OK', table.concat(verdicts) }
