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
      if place == 't' then
        set_field(run, fields[i], false)
        run.n = run.n - 1
        timers_gone[#timers_gone + 1] = run.id .. '|' .. token .. '|' .. fence
        local node, scope = string.match(token, '^(%-?%d+):?(.*)$')
        codes[#codes + 1] = 'W' .. node .. ':' .. scope
      end
    end
  end
  return page[1]
end
