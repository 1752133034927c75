-- sweep: take away what is parked in a run that drains; about 250 fields of the run a call, and up to
-- four times as many where the server is rehashing: a page is never longer than what one call may write.
-- Returns the cursor where to continue, "0" when all has been seen.
local function sweep(run, codes, cursor)
  local page = redis.call('HSCAN', run.key, cursor, 'MATCH', 't*', 'COUNT', 250)
  local fields = page[2]
  check_type(TIMERS, 'zset')
  for i = 1, #fields, 2 do
    local token = string.sub(fields[i], 2)
    local record = run.val[fields[i]]
    if record == nil then record = fields[i + 1] end
    if record then
      local fence, place = string.match(record, '^(%d+)|(%a)')
      if place ~= 'q' and place ~= 'g' and place ~= 'c' then
        set_record(run, fields[i], false)
        stop_waiting(run, token, place)
        if place == 'p' or place == 'r' then set_field(run, 'v' .. token, false) end
        run.n = run.n - 1
        timers_gone[#timers_gone + 1] = run.id .. '|' .. token .. '|' .. fence
        codes[#codes + 1] = 'W' .. place_of(token)
      end
    end
  end
  return page[1]
end

local WAKER_READY = 'u|system:high|1|0||'

-- wake: queue again what a pause has put aside, and let those in that wait for slots, about 250 fields of the run a call.
-- Returns the cursor where to continue, "0" when all has been seen.
local function wake(run, cursor)
  local page = redis.call('HSCAN', run.key, cursor, 'MATCH', 't*', 'COUNT', 250)
  local fields = page[2]
  for i = 1, #fields, 2 do
    local record = run.val[fields[i]]
    if record == nil then record = fields[i + 1] end
    local fence, place = string.match(record or '', '^(%d+)|([ps])|')
    local token = string.sub(fields[i], 2)
    if place == 'p' then
      enqueue(run, token, raise(fence), ready_of(record), deliveries_of(record))
    elseif place == 's' then
      shares_asked[#shares_asked + 1] = { string.match(record, '[|+]asks=(%x+)'), run, token, fence }
    end
  end
  return page[1]
end
