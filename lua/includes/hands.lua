-- hands: whether an entry is in somebody's hands. A stream that nobody has ever read has no group.
local function is_taken(stream, entry)
  local groups = redis.call('EXISTS', stream) == 1 and redis.call('XINFO', 'GROUPS', stream) or {}
  return #groups > 0 and #redis.call('XPENDING', stream, 'workers', entry, entry, 1) > 0
end
