-- requeue: a queued token gets another entry, at high priority: its old one is in dead hands, or is gone.
-- The fence is raised, so that whoever still holds the old one changes nothing. One more delivery is counted.
local requeued = {}

-- record: of place q. Checks all; write_requeued adds the entries, and flush writes the rest.
local function requeue(run, token, record)
  local fence, deliveries, kind, queue, patience, rest =
    string.match(record, '^(%d+)|q|(%d+)|[^|]*|([^|]*)|([^|~]*):%a+(~?%d*)|(.*)$')
  local name = queue .. ':high'
  local stream = BASE .. 'q:' .. name
  check_type(stream, 'stream')
  fence, deliveries = raise(fence), text(tonumber(deliveries) + 1)
  requeued[#requeued + 1] = {
    run, token, fence, deliveries, kind .. '|' .. name .. patience .. '|' .. rest, stream,
  }
  if patience ~= '' then set_timer(run, due_at('+' .. string.sub(patience, 2)), '!queue/' .. token, fence) end
  run.touched = true
  close_transition(run, 0, '', { 'K' .. place_of(token) .. ':' .. deliveries })
end

local function write_requeued()
  for i = 1, #requeued do
    local run, token, fence, deliveries, ready, stream = unpack(requeued[i])
    local words = { 't', run.id .. '|' .. token .. '|' .. fence }
    local reads = string.match(ready, '|([^|]*)|[^|]*$')
    if reads ~= '' then words[3], words[4] = 'r', reads end
    local id = redis.call('XADD', stream, '*', unpack(words))
    set_field(run, 't' .. token, fence .. '|q|' .. deliveries .. '|' .. id .. '|' .. ready)
  end
end
