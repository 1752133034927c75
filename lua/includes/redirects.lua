-- redirects: what others do to a living token, wherever it is (the twin of sdk/marking/waiting.py and Marking.withdraw).
local function living(run, token)
  local record = get_field(run, 't' .. token)
  if not record then return nil end
  local fence, place, kind = string.match(record, '^(%d+)|(%a)|[^|]*|[^|]*|(%a)')
  if kind ~= 'n' then return nil end
  return record, fence, place
end

-- It becomes a skip token under the same id. Returns whether one lived.
local function withdraw(run, codes, token, ready)
  local record, fence, place = living(run, token)
  if not record then return false end
  if string.find('+' .. string.match(record, '|([^|]*)|[^|]*|[^|]*$') .. '+', '+open+', 1, true) then
    -- A map that has opened is not withdrawn: no more items come.
    if place ~= 'w' then return false end
    stop_waiting(run, token, place)
    release(run, codes, token, raise(fence), ready_of(record), 's-')
    return true
  end
  stop_waiting(run, token, place)
  lose_paid(run, record)
  set_field(run, 'v' .. token, false)
  enqueue(run, token, raise(fence), ready)
  codes[#codes + 1] = 'V' .. place_of(token)
  return true
end

-- It comes to the end that `value` says, by the next worker. Returns whether one lived.
local function force(run, codes, token, value)
  local record, fence, place = living(run, token)
  if not record then return false end
  stop_waiting(run, token, place)
  lose_paid(run, record)
  local attempt, reads, live = string.match(record, '|([^|]*)|[^|]*|([^|]*)|([^|]*)$')
  local field = 'v' .. token
  set_field(run, field, value)
  reads = with_read(reads, field)
  enqueue(run, token, raise(fence), 'n|system:high|' .. attempt .. '|forced|' .. reads .. '|' .. live)
  codes[#codes + 1] = 'J' .. place_of(token)
  return true
end
