-- requeue: a queued token gets another entry, at high priority: its old one is in dead hands, or is gone.
-- The fence is raised, so that whoever still holds the old one changes nothing. One more delivery is counted.
-- fence, place, entry or due time, stream without its patience: of what somebody has written.
local RECORD = '^(%d+)|(%a)|%d+|([^|]*)|%a|([^|~]*)[^|]*|%d+|[^|]*|[^|]*|[^|]*$'

-- record: of place q.
local function requeue(run, token, record)
  local fence, deliveries, kind, queue, rest =
    string.match(record, '^(%d+)|q|(%d+)|[^|]*|([^|]*)|([^|~]*):%a+(.*)$')
  deliveries = text(tonumber(deliveries) + 1)
  run.touched = true
  enqueue(run, token, raise(fence), kind .. '|' .. queue .. ':high' .. rest, deliveries)
  close_transition(run, 0, '', { 'K' .. place_of(token) .. ':' .. deliveries })
end
