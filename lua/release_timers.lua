#!lua
--[[ release_timers: do what is due: queue tokens again, let waits expire, drain runs whose time is up.
  KEYS[1] meta (hash)   KEYS[2] timers (zset)
  ARGV[1] most timers to release   ARGV[2] outbox hard limit
  Returns {word, released, ms until the next one or -1}: OK | CLOSED | BACKPRESSURE
  A timer of an older fence is dropped. Writes: records, streams, the outbox. Cost: O(released * log(timers))
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
-- @include hands
-- @include flush
if not EPOCH then return { 'CLOSED', 0, -1 } end
if redis.call('XLEN', OUTBOX) > tonumber(ARGV[2]) then return { 'BACKPRESSURE', 0, -1 } end
check_type(DONE, 'stream')

-- Members are "<run>|<token>|<fence>", and "<run>|!<what>|<closes>" or "<run>|!<what>/<token>|<fence>".
local RUN_TIMERS = { ['!timeout'] = 'timed_out', ['!expire'] = 'expired' }

local function drain_in_time(run, codes, name, closes)
  if not goes_on(run) or (name == '!expire' and not get_field(run, 't-1')) then return false end
  local reason = RUN_TIMERS[name]
  drain(run, reason, '', closes)
  codes[#codes + 1] = 'X' .. reason
  return true
end

-- A token that nobody has taken within its time goes to any worker, which fails its node.
local function overdue(run, codes, token, fence, record)
  local place, entry, ready = string.match(record, '^%d+|(%a)|[^|]*|([^|]*)|(.*)$')
  if place ~= 'q' then return false end
  local kind, name, attempt, extra, rest = string.match(ready, '^(%a)|([^|~]*)[^|]*|([^|]*)|([^|]*)|(.*)$')
  local stream = BASE .. 'q:' .. name
  if kind ~= 'n' or is_taken(stream, entry) then return false end
  local words = {}
  for word in string.gmatch(extra, '[^+]+') do
    if word == 'ok' or word == 'held' or string.find(word, '^slot=') then words[#words + 1] = word end
  end
  words[#words + 1] = 'overdue'
  acked[stream] = acked[stream] or {}
  table.insert(acked[stream], entry)
  set_field(run, 'v' .. token, false)
  enqueue(run, token, raise(fence), 'n|system:normal|' .. attempt .. '|' .. table.concat(words, '+') .. '|' .. rest)
  codes[#codes + 1] = 'O' .. place_of(token)
  return true
end

local function release_token(run, codes, token, fence, record)
  local place, ready = string.match(record, '^%d+|(%a)|[^|]*|[^|]*|(.*)$')
  if place == 'w' then
    stop_waiting(run, token, place)
    release(run, codes, token, raise(fence), ready, 's-')
    return true
  end
  if place ~= 't' and place ~= 'g' then return false end
  if place == 't' then codes[1] = 'T' .. place_of(token) end
  enqueue(run, token, raise(fence), ready, place == 'g' and deliveries_of(record))
  return true
end

local function fire(run, codes, name, fence)
  if RUN_TIMERS[name] then return drain_in_time(run, codes, name, fence) end
  local what, token = string.match(name, '^!(%a+)/(.*)$')
  token = token or name
  local record = get_field(run, 't' .. token)
  if not record or string.match(record, '^%d+') ~= fence then return false end
  if what == 'queue' then return overdue(run, codes, token, fence, record) end
  if what == 'escalate' then
    if not string.find(record, '^%d+|w|') then return false end
    set_field(run, 'W' .. token, (string.gsub(get_field(run, 'W' .. token) or '', ' @%d+$', '')))
    codes[1] = 'Y' .. place_of(token)
    return true
  end
  return release_token(run, codes, token, fence, record)
end

local due = redis.call('ZRANGEBYSCORE', TIMERS, '-inf', text(NOW), 'LIMIT', 0, tonumber(ARGV[1]))
local released = 0
for i = 1, #due do
  local id, name, fence = string.match(due[i], '^([^|]+)|([^|]+)|(%d+)$')
  timers_gone[#timers_gone + 1] = due[i]
  local run = id and open_run(id, 't' .. name)
  if run and run.st and run.st ~= 'E' and not run.is_broken then
    local codes = {}
    if fire(run, codes, name, fence) then
      run.touched = true
      close_transition(run, 0, '', codes)
      released = released + 1
    end
  end
end
flush()
local following = redis.call('ZRANGE', TIMERS, 0, 0, 'WITHSCORES')
local wait = following[2] and math.max(0, tonumber(following[2]) - NOW) or -1
return { 'OK', released, text(wait) }
