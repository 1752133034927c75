-- flush: everything this call changes, in one go. Nothing is read from here on but entry ids.
-- Context values come first: they are the only keys whose type was not checked, and a failure here changes nothing else.
local function flush()
  for i = 1, #run_order do
    local run = run_order[i]
    if #run.ctx > 0 then redis.call('HSET', BASE .. 'ctx:' .. run.id, unpack(run.ctx)) end
  end
  for i = 1, #emissions do
    local e = emissions[i]
    local id = redis.call('XADD', e[5], '*', 't', e[1].id .. '|' .. e[2] .. '|' .. e[3])
    set_field(e[1], 't' .. e[2], e[3] .. '|q|0|' .. id .. '|' .. e[4])
  end
  for i = 1, #run_order do
    local run = run_order[i]
    if run.touched then
      local set, gone = { 'n', text(run.n), 'seq', text(run.seq) }, {}
      if run.st ~= run.was then
        set[5], set[6] = 'st', run.st
      end
      if run.jn ~= run.had then
        set[#set + 1] = 'jn'
        set[#set + 1] = text(run.jn)
      end
      for field in pairs(run.dirty) do
        local value = run.val[field]
        if value then
          set[#set + 1] = field
          set[#set + 1] = value
        else
          gone[#gone + 1] = field
        end
      end
      redis.call('HSET', run.key, unpack(set))
      if #gone > 0 then redis.call('HDEL', run.key, unpack(gone)) end
    end
  end
  for i = 1, #timers_set, 2 do redis.call('ZADD', TIMERS, timers_set[i], timers_set[i + 1]) end
  for i = 1, #timers_gone do redis.call('ZREM', TIMERS, timers_gone[i]) end
  if #outbox > 0 then
    local sequence = redis.call('HINCRBY', META, 'pseq', 1)
    local head = EPOCH .. ' ' .. text(sequence) .. ' ' .. text(NOW)
    redis.call('XADD', OUTBOX, '*', 'h', head, unpack(outbox))
  end
  for i = 1, #done do
    local run = done[i]
    redis.call('XADD', DONE, '*', 'r', run.id, 'i', run.ir)
  end
  for stream, ids in pairs(acked) do
    redis.call('XACK', stream, 'workers', unpack(ids))
    redis.call('XDEL', stream, unpack(ids))
  end
end
