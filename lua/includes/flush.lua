-- flush: everything this call changes, in one go. Nothing is read from here on but entry ids and what a completion says.

-- The word that a run's counter is zero. Where the last transition has named what the run's output reads, and nothing
-- went wrong, its values go along.
local function tell_done(run)
  local words = { 'r', run.id, 'i', run.ir }
  if run.reads and run.st == 'R' then
    local found = redis.call('HMGET', run.key, 'why', unpack(run.reads))
    if not found[1] then
      words[5], words[6] = 'o', ''
      for i = 1, #run.reads do
        if found[i + 1] then
          words[#words + 1] = run.reads[i]
          words[#words + 1] = found[i + 1]
        end
      end
    end
  end
  redis.call('XADD', DONE, '*', unpack(words))
end

local function flush()
  for i = 1, #emissions do
    local e = emissions[i]
    local token, ready, reads, id = e[2], e[4], e[7], nil
    if reads == '' then
      id = redis.call('XADD', e[5], '*', 't', e[1].id .. '|' .. token .. '|' .. e[3])
    else
      id = redis.call('XADD', e[5], '*', 't', e[1].id .. '|' .. token .. '|' .. e[3], 'r', reads)
    end
    -- An entry of a token that was queued again since, in this very call, is a stale one.
    if e[1].val['t' .. token] == e[6] then e[1].val['t' .. token] = e[3] .. '|q|' .. e[8] .. '|' .. id .. '|' .. ready end
  end
  for i = 1, #run_order do
    local run = run_order[i]
    if run.touched then
      if run.maps then write_maps(run) end
      local set, gone = run.ctx, {}
      set[#set + 1] = 'h'
      set[#set + 1] = run.st .. '|' .. text(run.n) .. '|' .. text(run.seq) .. '|' .. text(run.jn) .. '|' .. text(run.retries)
        .. run.closing .. '|' .. run.ir
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
    redis.call('XADD', OUTBOX, '*', 'h', EPOCH .. ' ' .. sequence .. ' ' .. NOW, unpack(outbox))
  end
  for i = 1, #done do tell_done(done[i]) end
  for stream, ids in pairs(acked) do
    redis.call('XACK', stream, 'workers', unpack(ids))
    redis.call('XDEL', stream, unpack(ids))
  end
end
