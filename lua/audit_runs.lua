#!lua
--[[ audit_runs: hold what runs say of themselves against what would wake their tokens, and mend it.
  KEYS[1] meta (hash)
  ARGV[1] outbox hard limit   ARGV[2] about how many fields to look at   ARGV[3] cursor in the first run ('0': begin)
    then runs
  Returns {word, seen, cursor, requeued, timed, halted run...}: word OK | CLOSED | BACKPRESSURE; seen: how many runs are
    done with; cursor: where to go on in the next one; requeued: tokens that got a new entry, because theirs is gone or
    is in nobody's hands and will not be delivered; timed: timers that were set again; halted: runs that go no
    further, also since before: their counters are wrong, a record nobody has written, the key is none of ours
  Of a run that drains, what nobody has in hands is taken away: it ends also where no worker reads its queues.
  Idempotent. Writes: entries, records, timers, status, the outbox. Cost: O(fields)
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
-- The fields of a run are counted where they are WHOLE_MAX at most; COUNTED of them take as long as looking at one.
local WHOLE_MAX, TOKENS_MAX, COUNTED = 2000, 50, 20
if not EPOCH then return { 'CLOSED', 0, '0', 0, 0 } end
if redis.call('XLEN', OUTBOX) > tonumber(ARGV[1]) then return { 'BACKPRESSURE', 0, '0', 0, 0 } end
check_type(DONE, 'stream')
check_type(TIMERS, 'zset')
local left, cursor, requeues, timed = tonumber(ARGV[2]), ARGV[3], 0, 0
local halted, delivered, looked = {}, {}, {}

local function is_later(one, other)
  local ms, number = string.match(one, '^(%d+)-(%d+)$')
  local other_ms, other_number = string.match(other, '^(%d+)-(%d+)$')
  ms, other_ms = tonumber(ms), tonumber(other_ms)
  return ms > other_ms or (ms == other_ms and tonumber(number) > tonumber(other_number))
end

-- The last entry that the group of a stream has delivered; false where there is no group.
local function last_delivered(stream)
  if delivered[stream] == nil then
    delivered[stream] = false
    if has_group(stream, 'workers') then
      for _, group in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
        for k = 1, #group, 2 do
          if group[2] == 'workers' and group[k] == 'last-delivered-id' then delivered[stream] = group[k + 1] end
        end
      end
    end
  end
  return delivered[stream]
end

-- Whether the entry is there, and is in somebody's hands or will be.
local function will_wake(run, token, fence, entry, stream)
  if redis.call('TYPE', stream).ok ~= 'stream' then return false end
  local found = redis.call('XRANGE', stream, entry, entry)[1]
  if not found or found[2][2] ~= run.id .. '|' .. token .. '|' .. fence then return false end
  local last = last_delivered(stream)
  if not last or is_later(entry, last) then return true end
  return #redis.call('XPENDING', stream, 'workers', entry, entry, 1) > 0
end

local function keep_timer(run, due, name, fence)
  if not redis.call('ZSCORE', TIMERS, run.id .. '|' .. name .. '|' .. fence) then
    set_timer(run, due, name, fence)
    timed = timed + 1
  end
end

-- A token that may wait only so long for a worker, and that nobody has taken: its time counts from its entry on.
local function watch_patience(run, token, record, fence, entry, stream)
  local patience = string.match(record, '^%d+|q|%d+|[^|]*|%a|[^|~]*~(%d+)|')
  if not patience then return end
  local last = last_delivered(stream)
  if last and not is_later(entry, last) then return end
  keep_timer(run, text(tonumber(string.match(entry, '^%d+')) + tonumber(patience)), '!queue/' .. token, fence)
end

-- Whether the entry is in somebody's hands.
local function is_held(entry, stream)
  local last = last_delivered(stream)
  return last and not is_later(entry, last) and #redis.call('XPENDING', stream, 'workers', entry, entry, 1) > 0
end

-- A token of a run that drains goes, unless somebody has it: then it is met there, or taken over first. One that was
-- given back is queued again soon. code: what it says.
local function take_away(run, codes, token, record, code)
  local fence, place, entry, name = string.match(record, RECORD)
  local stream = BASE .. 'q:' .. name
  if place == 'c' or place == 'g' or (place == 'q' and is_held(entry, stream)) then return end
  if place == 'q' then
    acked[stream] = acked[stream] or {}
    table.insert(acked[stream], entry)
    timers_gone[#timers_gone + 1] = run.id .. '|!queue/' .. token .. '|' .. fence
  end
  set_record(run, 't' .. token, false)
  stop_waiting(run, token, place)
  set_field(run, 'v' .. token, false)
  set_field(run, 'd' .. token, false)
  timers_gone[#timers_gone + 1] = run.id .. '|' .. token .. '|' .. fence
  run.n = run.n - 1
  codes[#codes + 1] = code
end

-- Take away what is left of a run that drains; the sweep goes last, when nothing is left that it could take away.
-- Returns false where a record cannot be read.
local function drain_on(run, fields)
  local codes = {}
  for k = 1, #fields, 2 do
    local token = string.sub(fields[k], 2)
    if not string.match(fields[k + 1], RECORD) then return false end
    if token ~= '-2' then take_away(run, codes, token, fields[k + 1], 'W' .. place_of(token)) end
  end
  local sweeper = run.n == (run.closing ~= '' and 2 or 1) and get_field(run, 't-2')
  if sweeper then take_away(run, codes, '-2', sweeper, 'S') end
  if #codes > 0 then
    run.touched = true
    close_transition(run, 0, '', codes)
  end
  return true
end

-- What tokens hold is written where all runs see it; how many they are is known (audit_shares).
local function write_holders(run, fields)
  for k = 1, #fields, 2 do
    local held = share_of(fields[k + 1])
    if held then redis.call('HSETNX', BASE .. 'slots:' .. held, run.id .. '|' .. string.sub(fields[k], 2), '1') end
  end
end

-- So is what a token waits for.
local function audit_asked(run, token, record, fence)
  local _, asked = share_of(record)
  if asked then
    looked[#looked + 1] = asked
    local member = run.id .. '|' .. token .. '|' .. fence
    if not redis.call('ZSCORE', BASE .. 'slotq:' .. asked, member) then
      shares_asked[#shares_asked + 1] = { asked, run, token, fence }
    end
  end
end

local function audit(run, token, record)
  local fence, place, entry, name = string.match(record, RECORD)
  if not fence then return false end
  if place == 'q' then
    local stream = BASE .. 'q:' .. name
    if not will_wake(run, token, fence, entry, stream) then
      requeue(run, token, record)
      if last_delivered(stream) then
        acked[stream] = acked[stream] or {}
        table.insert(acked[stream], entry)
      end
      requeues = requeues + 1
    elseif may_park(run) then
      watch_patience(run, token, record, fence, entry, stream)
    end
  elseif (place == 't' or place == 'g' or place == 'w') and entry ~= '' then
    keep_timer(run, entry, token, fence)
  elseif place == 'r' and get_field(run, 'y' .. entry) ~= token then
    return false
  elseif place == 'b' and get_field(run, 'B' .. entry) ~= token then
    return false
  end
  if run.sharing then audit_asked(run, token, record, fence) end
  if place == 'w' then
    local told_at = string.match(get_field(run, 'W' .. token) or '', ' @(%d+)$')
    if told_at then keep_timer(run, told_at, '!escalate/' .. token, fence) end
  end
  return true
end

-- The timers of the run itself. Returns whether what the run says of them can be read.
local function audit_ends(run)
  if not goes_on(run) then return true end
  for _, name in ipairs({ '!timeout', '!expire' }) do
    local kept = get_field(run, 'T' .. name)
    local closes, due = string.match(kept or '', '^([01])|(%d+)$')
    if kept and not due then return false end
    if due and (name ~= '!expire' or get_field(run, 't-1')) then keep_timer(run, due, name, closes) end
  end
  return true
end

local function values_of(run, fields)
  local values = {}
  for first = 1, #fields, PART do
    local last = math.min(first + PART - 1, #fields)
    local found = redis.call('HMGET', run.key, unpack(fields, first, last))
    for k = 1, #found do values[first + k - 1] = found[k] end
  end
  return values
end

-- The tokens of a run, where it is small enough to be counted in one call: their fields, or nil where a counter is wrong.
local function count_tokens(run)
  local tokens, maps, unfinished = {}, {}, 0
  for _, field in ipairs(redis.call('HKEYS', run.key)) do
    local kind = string.sub(field, 1, 1)
    if kind == 't' then
      tokens[#tokens + 1] = field
    elseif kind == 'n' then
      maps[#maps + 1] = field
    elseif kind == 'j' then
      unfinished = unfinished + 1
    end
  end
  for _, value in ipairs(values_of(run, maps)) do
    if value ~= 'x' then unfinished = unfinished + 1 end
  end
  if #tokens ~= run.n or unfinished ~= run.unfinished then return nil end
  if run.limit then
    local busy = 0
    for _, record in ipairs(values_of(run, tokens)) do
      if is_inside(record) then busy = busy + 1 end
    end
    if busy ~= run.busy then return nil end
  end
  return tokens
end

-- Returns fields and values of tokens of the run, some at a time, and where to go on: behind a token of a small run, in
-- the order of their names, else as HSCAN says; nil where a counter is wrong.
local function look(run)
  local after = string.match(cursor, '^t.*') or cursor == '0' and ''
  local size = after and redis.call('HLEN', run.key)
  if not size or size > WHOLE_MAX then
    local page = redis.call('HSCAN', run.key, after and '0' or cursor, 'MATCH', 't*', 'COUNT', TOKENS_MAX)
    return page[2], page[1]
  end
  left = left - math.floor(size / COUNTED)
  local tokens, found = count_tokens(run), {}
  if not tokens then return nil, '0' end
  if #tokens > TOKENS_MAX then table.sort(tokens) end
  for k = 1, #tokens do
    if tokens[k] > after then
      if #found == 2 * TOKENS_MAX then return found, found[#found - 1] end
      found[#found + 1] = tokens[k]
      found[#found + 1] = redis.call('HGET', run.key, tokens[k])
    end
  end
  return found, '0'
end

local i = 4
while i <= #ARGV and left > 0 do
  local run = open_run(ARGV[i], 'why')
  local fields, fault = {}, nil
  if run.st and run.st ~= 'E' and run.st ~= 'H' then
    if cursor == '0' and not audit_ends(run) then fault = 'record' end
    fields, cursor = look(run)
    if fields and run.sharing then write_holders(run, fields) end
    if not fields then
      fault = 'counter'
    elseif run.st == 'D' then
      if not drain_on(run, fields) then fault = 'record' end
    else
      for k = 1, #fields, 2 do
        if not audit(run, string.sub(fields[k], 2), fields[k + 1]) then fault = 'record' end
      end
    end
    left = left - (fields and #fields or 0)
  elseif run.st == 'H' and run.sharing then
    local page = redis.call('HSCAN', run.key, string.match(cursor, '^%d+$') or '0', 'MATCH', 't*', 'COUNT', TOKENS_MAX)
    cursor = page[1]
    write_holders(run, page[2])
    left = left - #page[2]
  else
    cursor = '0'
  end
  if fault then
    run.st, run.touched, cursor = 'H', true, '0'
    outbox[#outbox + 1] = run.id .. '|' .. (run.seq + 1) .. '|0|H' .. fault
    outbox[#outbox + 1] = ''
    run.seq = run.seq + 1
  end
  if run.st == 'H' then halted[#halted + 1] = run.id end
  left = left - 1
  if cursor == '0' then i = i + 1 end
end
settle_shares(looked)
flush()
return { 'OK', i - 4, cursor, requeues, timed, unpack(halted) }
