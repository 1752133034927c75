#!lua flags=allow-oom
--[[ renew_leases: keep what a worker holds, tell it what it has lost.
  KEYS[1] meta (hash)   KEYS[2..] queue streams, in the worker's order
  ARGV[1] consumer, then per token: run, token, fence, number of the stream, entry id, when the attempt's time is up
    in ms ('0': never), details for the next attempt ('': none that are new)
  Returns {word, verdicts}: word OK | CLOSED; verdicts: a letter per token, A kept, D kept and its run drains,
    M kept and a failed item has closed a map around it, S stale: the token is gone or another's, E its run has ended or is halted, O overdue: not kept
  Writes: idle times of entries, details (field d<token> of the run). Cost: O(tokens)
  Also where the server is full: it needs no memory, and whoever cannot renew loses what it has.
  XCLAIM knows no fence and would steal an entry from who has taken it over: the record's fence and entry, and the
  entry's owner, are compared first.
]]
-- @include partition
-- @include runs
-- @include groups
if not EPOCH then return { 'CLOSED', '' } end
local consumer, has = ARGV[1], {}
for number = 2, #KEYS do has[number - 1] = has_group(KEYS[number], 'workers') end

local function keep(number, id)
  if not has[number] then return true end
  local stream = KEYS[number + 1]
  local held = redis.call('XPENDING', stream, 'workers', id, id, 1)[1]
  if held and held[2] ~= consumer then return false end
  if held then
    redis.call('XCLAIM', stream, 'workers', consumer, 0, id, 'JUSTID')
  else
    -- Somebody has deleted the consumer or made the group again: by the record it is still this worker's.
    redis.call('XCLAIM', stream, 'workers', consumer, 0, id, 'FORCE', 'JUSTID')
  end
  return true
end

-- The records of such maps are among what the token reads.
local function is_closed(run, record)
  for field in string.gmatch(' ' .. string.match(record, '|([^|]*)|[^|]*$'), ' (n[%d:.]+)') do
    if get_field(run, field) == 'x' then return true end
  end
  return false
end

local verdicts = {}
for i = 2, #ARGV, 7 do
  local token, fence, number, id = ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3]), ARGV[i + 4]
  local due, details = tonumber(ARGV[i + 5]), ARGV[i + 6]
  local run = open_run(ARGV[i], 't' .. token)
  local record = run.st and get_field(run, 't' .. token)
  local held, kept = string.match(record or '', '^(%d+)|q|%d+|([^|]*)|')
  local verdict = run.st == 'D' and 'D' or 'A'
  if run.st == 'E' or run.st == 'H' then
    verdict = 'E'
  elseif held ~= fence or kept ~= id then
    verdict = 'S'
  elseif due > 0 and NOW > due then
    verdict = 'O'
  elseif not keep(number, id) then
    verdict = 'S'
  else
    if details ~= '' then redis.call('HSET', run.key, 'd' .. token, details) end
    if verdict == 'A' and is_closed(run, record) then verdict = 'M' end
  end
  verdicts[#verdicts + 1] = verdict
end
return { 'OK', table.concat(verdicts) }
