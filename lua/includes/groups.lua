-- groups: whether a stream is there with its group. A command for a group that is not there is an error, which would
-- stop everybody else in the same call.
local function has_group(stream, group)
  if redis.call('TYPE', stream).ok ~= 'stream' then return false end
  local groups = redis.call('XINFO', 'GROUPS', stream)
  for i = 1, #groups do
    if groups[i][2] == group then return true end
  end
  return false
end
