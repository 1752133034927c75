#!lua
--[[ claim_tokens: take over what workers have held for longer than the lease.
  KEYS[1] meta (hash)
  ARGV[1] lease in ms   ARGV[2] most entries to look at   ARGV[3] outbox hard limit   ARGV[4..] where to go on: per
    stream its name and the pending entry to begin with; none: all streams of the set `queues`, from the beginning
  Returns {word, claimed, dropped, lost, following}: word OK | CLOSED | BACKPRESSURE; lost: how many entries were
    pending that somebody has deleted: their tokens are to be looked for; following: as ARGV[4..], {} when all was seen
  What is taken over gets a new entry at high priority and a raised fence; one more delivery is counted and logged.
  Entries whose token is gone, or has another entry by now, are acknowledged and deleted. Those of halted runs stay.
  Safe by several at once: what one has claimed is no longer pending. Cost: O(pending entries + claimed)
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
-- @include requeue
-- @include groups
local LEASE, left = ARGV[1], tonumber(ARGV[2])
if not EPOCH then return { 'CLOSED', 0, 0, 0, {} } end
if redis.call('XLEN', OUTBOX) > tonumber(ARGV[3]) then return { 'BACKPRESSURE', 0, 0, 0, {} } end
check_type(DONE, 'stream')
local claimed, dropped, lost = 0, 0, 0

-- Returns whether the entry is done with.
local function claim(id, entry)
  local fields = entry and entry[2]
  if not fields then
    lost = lost + 1
    return true
  end
  local run_id, token, fence
  if fields[1] == 't' then run_id, token, fence = string.match(fields[2], '^([^|]+)|([^|]+)|(%d+)$') end
  local run = run_id and open_run(run_id, 't' .. token)
  if run and (run.is_broken or run.st == 'H') then return false end
  local record = run and run.st and run.st ~= 'E' and get_field(run, 't' .. token)
  local held, place, kept = string.match(record or '', RECORD)
  if not record or (held and (held ~= fence or place ~= 'q' or kept ~= id)) then
    dropped = dropped + 1
  elseif not held or run.n < 1 then
    -- What nobody has written, or a token that lives where the counter says none: this run goes no further.
    run.st, run.touched = 'H', true
    return false
  else
    requeue(run, token, record)
    claimed = claimed + 1
  end
  return true
end

local wanted = {}
for i = 4, #ARGV do wanted[#wanted + 1] = ARGV[i] end
if #wanted == 0 then
  for _, name in ipairs(redis.call('SMEMBERS', BASE .. 'queues')) do
    wanted[#wanted + 1] = name
    wanted[#wanted + 1] = '-'
  end
end
local following = {}
for i = 1, #wanted, 2 do
  local name, from = wanted[i], wanted[i + 1]
  local stream = BASE .. 'q:' .. name
  if has_group(stream, 'workers') then
    local page = left > 0 and redis.call('XPENDING', stream, 'workers', 'IDLE', LEASE, from, '+', left) or {}
    local ids = {}
    for k = 1, #page do
      local id = page[k][1]
      if claim(id, redis.call('XRANGE', stream, id, id)[1]) then ids[#ids + 1] = id end
      from = '(' .. id
    end
    if #ids > 0 then acked[stream] = ids end
    if #page == left then
      following[#following + 1] = name
      following[#following + 1] = from
    end
    left = left - #page
  end
end
flush()
return { 'OK', claimed, dropped, lost, following }
