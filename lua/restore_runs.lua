#!lua
--[[ restore_runs: write what the log says of runs into a partition that close_partition has closed.
  KEYS[1] meta (hash)
  ARGV[1] epoch of the recovery   ARGV[2] calls of it before this one
  then per part of a run: run, head, codes, is its counter zero ('1', else ''), number of words and words of its
    fields (field, value), of its tokens (token, place, due or '', deliveries, ready), of its other timers (name, what
    stands behind it or '' for the fence, due)
  Returns {word, calls}: OK | FENCED: the partition is not closed for this epoch, or a call of it was lost
  A token in place q is queued; any other keeps its place, with a timer where it is due. All bear the first fence of
  the epoch. Codes: of events that follow the log. Not idempotent: what was not answered is begun again in a later
  epoch. Writes: the runs, streams, timers, done, the outbox, meta. Cost: O(words)
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
local epoch, calls = ARGV[1], tonumber(ARGV[2])
local found = redis.call('HMGET', META, 'epoch', 'next', 'restored')
if found[1] or found[2] ~= epoch or tonumber(found[3]) ~= calls then return { 'FENCED', found[3] or '0' } end
EPOCH = epoch
FIRST_FENCE = text(tonumber(epoch) * 4294967296 + 1)
check_type(DONE, 'stream')
check_type(OUTBOX, 'stream')
check_type(TIMERS, 'zset')

local i = 3
local function words()
  local first = i + 1
  i = first + tonumber(ARGV[i])
  return first, i - 1
end

while i <= #ARGV do
  local run, codes, is_done = open_run(ARGV[i], 'h'), ARGV[i + 2], ARGV[i + 3] ~= ''
  local st, n, seq, unfinished, retries, closing, room, ir = string.match(ARGV[i + 1], HEAD .. '(.*)$')
  run.st, run.n, run.seq, run.unfinished = st, number_of(n), number_of(seq), number_of(unfinished)
  run.retries, run.closing, run.ir, run.touched = number_of(retries), closing, ir, true
  read_room(run, room)
  i = i + 4
  local first, last = words()
  for k = first, last, 2 do set_context(run, ARGV[k], ARGV[k + 1]) end
  first, last = words()
  for k = first, last, 5 do
    put_back(run, ARGV[k], ARGV[k + 1], FIRST_FENCE, ARGV[k + 4], ARGV[k + 2], ARGV[k + 3])
    if run.sharing then restore_share(run, ARGV[k]) end
    restore_pace(run, ARGV[k])
    restore_fund(run, ARGV[k])
  end
  first, last = words()
  for k = first, last, 3 do
    if ARGV[k + 1] == '' then
      set_timer(run, ARGV[k + 2], ARGV[k], FIRST_FENCE)
    else
      set_run_timer(run, ARGV[k + 2], ARGV[k], ARGV[k + 1])
    end
  end
  if codes ~= '' then
    outbox[#outbox + 1] = run.id .. '|' .. (run.seq + 1) .. '|0|' .. codes
    outbox[#outbox + 1] = ''
    run.seq = run.seq + select(2, string.gsub(codes, ';', '')) + 1
  end
  if is_done then done[#done + 1] = run end
end
flush()
return { 'OK', text(redis.call('HINCRBY', META, 'restored', 1)) }
