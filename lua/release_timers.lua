#!lua
--[[ release_timers: queue the tokens whose time has come.
  KEYS[1] meta (hash)   KEYS[2] timers (zset)
  ARGV[1] most timers to release   ARGV[2] outbox hard limit
  Returns {word, released, ms until the next one or -1}: OK | CLOSED | BACKPRESSURE
  A timer of an older fence is dropped. Writes: records, streams, the outbox. Cost: O(released * log(timers))
]]
-- @include partition
-- @include runs
-- @include joins
-- @include sweep
-- @include transitions
-- @include flush
if not EPOCH then return { 'CLOSED', 0, -1 } end
if redis.call('XLEN', OUTBOX) > tonumber(ARGV[2]) then return { 'BACKPRESSURE', 0, -1 } end
check_type(DONE, 'stream')
local due = redis.call('ZRANGEBYSCORE', TIMERS, '-inf', text(NOW), 'LIMIT', 0, tonumber(ARGV[1]))
local released = 0
for i = 1, #due do
  local id, token, fence = string.match(due[i], '^([^|]+)|([^|]+)|(%d+)$')
  timers_gone[#timers_gone + 1] = due[i]
  local run = id and open_run(id, 't' .. token)
  local record = run and run.st and run.st ~= 'E' and get_field(run, 't' .. token)
  if record then
    local held, place, ready = string.match(record, '^(%d+)|(%a)|[^|]*|[^|]*|(.*)$')
    if held == fence and (place == 't' or place == 'g') then
      local codes = {}
      run.touched = true
      if place == 't' then
        local node, scope = string.match(token, '^(%-?%d+):?(.*)$')
        codes[1] = 'T' .. node .. ':' .. scope
      end
      enqueue(run, token, text(tonumber(fence) + 1), ready)
      close_transition(run, 0, '', codes)
      released = released + 1
    end
  end
end
flush()
local following = redis.call('ZRANGE', TIMERS, 0, 0, 'WITHSCORES')
local wait = following[2] and math.max(0, tonumber(following[2]) - NOW) or -1
return { 'OK', released, text(wait) }
