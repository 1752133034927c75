#!lua
--[[ advance: apply a worker's finished transitions, and hand it its next tokens.
  KEYS[1] meta (hash)   KEYS[2] worker (hash)   KEYS[3..] queue streams to read, in order
  ARGV[1] consumer   ARGV[2] call number   ARGV[3] want, or "want:numbers of streams not to read, each with a comma"
  ARGV[4] outbox soft limit   ARGV[5] outbox hard limit
  ARGV[6] n opened, then n times: number of the stream, entry id    (read by the worker's blocking connection)
  then per transition: run, token, fence, number of the stream (0: another), entry id, number of events, events blob,
    number of operation words, operation words (includes/transitions.lua)
  Returns {word, verdicts, now in ms, token...}: word OK | OVER (the outbox is over its soft limit: nothing new is handed
    out but what was opened) | CLOSED | BACKPRESSURE; verdicts: a letter per transition,
    A applied, D duplicate, S stale, E ended, C corrupt, B it builds on what is not there any more: retries of the run's
    budget, early signals; token: see includes/deliver.lua
  Repeats its answer for the call number it saw last. Writes: what the transitions say, the worker's last call.
  Cost: O(operations + tokens)
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
-- @include deliver
local WORKER, consumer, call, want, paused = KEYS[2], ARGV[1], ARGV[2], tonumber(ARGV[3]), {}
if not want then
  local number, numbers = string.match(ARGV[3], '^(%d+):(.*)$')
  want = tonumber(number)
  for each in string.gmatch(numbers, '%d+') do paused[tonumber(each)] = true end
end
if not EPOCH then return { 'CLOSED', '' } end
local tokens = {}

local last = redis.call('HMGET', WORKER, 'call', 'verdicts', 'given')
if last[1] == call then
  local answer = { 'OK', last[2], text(NOW) }
  for number, id in string.gmatch(last[3], '(%d+),([%d-]+)') do
    local stream = KEYS[2 + tonumber(number)]
    local entry = redis.call('XRANGE', stream, id, id)[1]
    local token = entry and deliver(tonumber(number), stream, id, entry[2])
    if token then answer[#answer + 1] = token end
  end
  return answer
end

local length = redis.call('XLEN', OUTBOX)
if length > tonumber(ARGV[5]) then return { 'BACKPRESSURE', '' } end
local is_over = length > tonumber(ARGV[4])
if is_over then want = 0 end
check_type(DONE, 'stream')
-- XLEN refuses a key of another type, as check_type does, and tells which streams need no read.
local waiting = {}
for number = 3, #KEYS do
  local stream = KEYS[number]
  waiting[stream] = redis.call('XLEN', stream) > 0
  checked[stream] = true
end

local opened, i = tonumber(ARGV[6]), 7
local first_opened = i
i = i + 2 * opened
local verdicts = {}
local last_word = #ARGV
while i <= last_word do
  local token, fence = ARGV[i + 1], ARGV[i + 2]
  local field = 't' .. token
  local run = open_run(ARGV[i], field)
  local number, id = number_of(ARGV[i + 3]), ARGV[i + 4]
  local count, blob, words = number_of(ARGV[i + 5]), ARGV[i + 6], number_of(ARGV[i + 7])
  local record, first = run.st and get_field(run, field), i + 8
  if ARGV[first] == '@' then first = first + 3 end
  local verdict = 'A'
  if run.is_broken then
    verdict = 'C'
  elseif not run.st or not record then
    verdict = 'D'
  elseif run.st == 'E' then
    verdict = 'E'
  elseif string.match(record, '^%d+') ~= fence then
    verdict = 'S'
  elseif run.n < 1 or run.st == 'H' then
    -- A token lives and the counter says none: nothing in this run can be trusted, so it goes no further.
    verdict, run.st, run.touched = 'C', 'H', true
  elseif first > i + 8 and goes_on(run) and is_below_closed(run, ARGV[i + 9]) then
    local codes = {}
    run.touched = true
    run.n = run.n - 1
    drop_below_closed(run, codes, token, ARGV[i + 10])
    close_transition(run, 0, '', codes)
  elseif ARGV[first] == 'y' and ARGV[first + 1] ~= '' and run.retries >= tonumber(ARGV[first + 1]) then
    verdict = 'B'
  elseif ARGV[first] == 'T' and may_park(run) and not are_first(run, ARGV[first + 1], ARGV[first + 2]) then
    verdict = 'B'
  else
    local codes = {}
    run.touched = true
    if not apply_operations(run, codes, token, fence, record, first, i + 7 + words) then
      set_record(run, field, false)
      run.n = run.n - 1
    end
    close_transition(run, count, blob, codes)
  end
  if number > 0 and verdict ~= 'S' and verdict ~= 'C' and verdict ~= 'B' then
    local stream = KEYS[2 + number]
    local ids = acked[stream] or {}
    ids[#ids + 1] = id
    acked[stream] = ids
  end
  verdicts[#verdicts + 1] = verdict
  i = i + 8 + words
end
settle_shares()
flush()
for k = 1, #emissions do waiting[emissions[k][5]] = true end

for k = first_opened, first_opened + 2 * opened - 1, 2 do
  local number, id = tonumber(ARGV[k]), ARGV[k + 1]
  local stream = KEYS[2 + number]
  local entry = redis.call('XRANGE', stream, id, id)[1]
  tokens[#tokens + 1] = entry and deliver(number, stream, id, entry[2]) or nil
end
for number = 1, #KEYS - 2 do
  if want <= 0 then break end
  local stream = KEYS[2 + number]
  local page = waiting[stream] and not paused[number]
    and redis.call('XREADGROUP', 'GROUP', 'workers', consumer, 'COUNT', want, 'STREAMS', stream, '>')
  local entries = page and page[1] and page[1][2] or {}
  for k = 1, #entries do
    local token = deliver(number, stream, entries[k][1], entries[k][2])
    if token then
      tokens[#tokens + 1] = token
      want = want - 1
    end
  end
end

local given, word = {}, table.concat(verdicts)
for k = 1, #tokens do given[k] = text(tokens[k][1]) .. ',' .. tokens[k][2] end
redis.call('HSET', WORKER, 'call', call, 'verdicts', word, 'given', table.concat(given, ' '), 'at', text(NOW))
return { is_over and 'OVER' or 'OK', word, text(NOW), unpack(tokens) }
