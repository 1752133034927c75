#!lua
--[[ audit_shares: hold what is counted of concurrency keys against what runs say, around a walk of audit_runs over all.
  KEYS[1] meta (hash)
  ARGV[1] outbox hard limit   ARGV[2] mark of the walk   ARGV[3] what is done   ARGV[4..] to what:
    begin, names: the holders of each bear the mark
    look, name, members: of its holders; those whom no run knows are dropped
    end, names: where the mark is still there, so that nobody has deleted the holders meanwhile, they are complete, and
      are counted anew; then those whose turn it is are let in
  Returns {word}: OK | CLOSED | BACKPRESSURE
  Idempotent. Writes: holders, how many there are, records, entries, the outbox. Cost: O(names + members)
]]
-- @include partition
-- @include runs
-- @include joins
-- @include signals
-- @include slots
-- @include purse
-- @include redirects
-- @include ending
-- @include sweep
-- @include maps
-- @include shares
-- @include transitions
-- @include flush
if not EPOCH then return { 'CLOSED' } end
if redis.call('XLEN', OUTBOX) > tonumber(ARGV[1]) then return { 'BACKPRESSURE' } end
check_type(DONE, 'stream')
local MARK, mark, what = '!', ARGV[2], ARGV[3]

-- Whether somebody else than the runs has written this. A run that is missing will be rebuilt from the log, and holds what
-- it held; it is unknown only where there are more holders than were counted.
local function is_stranger(name, member)
  local id, token = string.match(member, '^([^|]+)|([^|]+)$')
  local run = id and open_run(id, 't' .. token)
  if not run then return true end
  if run.is_broken then return false end
  if run.st then return run.st == 'E' or share_of(get_field(run, 't' .. token)) ~= name end
  local held = BASE .. 'slots:' .. name
  return redis.call('HLEN', held) - redis.call('HEXISTS', held, MARK) > count_held(name)
end

if what == 'look' then
  local held = BASE .. 'slots:' .. ARGV[4]
  for i = 5, #ARGV do
    if ARGV[i] ~= MARK and is_stranger(ARGV[4], ARGV[i]) then redis.call('HDEL', held, ARGV[i]) end
  end
  return { 'OK' }
end
local names = {}
for i = 4, #ARGV do
  local name, held = ARGV[i], BASE .. 'slots:' .. ARGV[i]
  check_type(held, 'hash')
  names[#names + 1] = name
  if what == 'begin' then
    if count_held(name) > 0 then redis.call('HSET', held, MARK, mark) end
  elseif redis.call('HGET', held, MARK) == mark then
    redis.call('HDEL', held, MARK)
    held_now[name] = redis.call('HLEN', held)
  end
end
if what == 'end' then settle_shares(names) end
flush()
return { 'OK' }
