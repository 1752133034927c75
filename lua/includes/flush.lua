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

-- One call for many words; Lua's stack bounds how many. PART is even, so that pairs stay together.
local PART = 1000
local function call_in_parts(command, key, words)
  for first = 1, #words, PART do
    redis.call(command, key, unpack(words, first, math.min(first + PART - 1, #words)))
  end
end

-- What is free of the account of all runs of a workflow goes to those of its runs that wait for it, in order; then it is
-- written. Who is let in goes on with it, by the transition that ends its call.
local ASKED_MAX = 50
local function settle_fund(name, f)
  local key, queue = BASE .. 'fund:' .. name, BASE .. 'fundq:' .. name
  local waiting = f.touched and redis.call('ZRANGE', queue, 0, ASKED_MAX - 1) or {}
  for i = 1, #waiting do
    local run = open_run(waiting[i], 'b')
    f.asking[run.id] = nil
    if run.st and run.has_purse and may_park(run) and run.n > 0 then
      purse_of(run)
      run.touched = true
      close_transition(run, 0, '', {})
    end
    if f.asking[run.id] then break end
    redis.call('ZREM', queue, run.id)
  end
  for id in pairs(f.asking) do redis.call('ZADD', queue, 'NX', text(NOW), id) end
  if not f.touched then return end
  redis.call('HSET', key, 'tokens', text(f.tokens), 'cost', text(f.cost), 'held_tokens', text(f.held_tokens), 'held_cost',
    text(f.held_cost))
  for member, amount in pairs(f.holders) do
    if amount then
      redis.call('HSET', key, 'h' .. member, amount)
    else
      redis.call('HDEL', key, 'h' .. member)
    end
  end
end

local function flush()
  for name, f in pairs(funds) do settle_fund(name, f) end
  for i = 1, #emissions do
    local e = emissions[i]
    local run, field, fence, reads, id = e[1], e[2], e[3], e[7], nil
    local word = run.id .. '|' .. string.sub(field, 2) .. '|' .. fence
    if reads == '' then
      id = redis.call('XADD', e[5], '*', 't', word)
    else
      id = redis.call('XADD', e[5], '*', 't', word, 'r', reads)
    end
    -- An entry of a token that was queued again since, in this very call, is a stale one.
    if run.val[field] == e[6] then run.val[field] = fence .. '|q|' .. e[8] .. '|' .. id .. '|' .. e[4] end
  end
  for i = 1, #run_order do
    local run = run_order[i]
    if run.touched then
      if run.maps then write_maps(run) end
      if run.purse then write_purse(run) end
      local set, gone, values = run.ctx, {}, run.val
      local last = #set + 2
      set[last - 1] = 'h'
      set[last] = run.st .. '|' .. text(run.n) .. '|' .. text(run.seq) .. '|' .. text(run.unfinished) .. '|' .. text(run.retries)
        .. (run.watched and run.closing .. write_room(run) or run.closing) .. '|' .. run.ir
      for field in pairs(run.dirty) do
        local value = values[field]
        if value then
          set[last + 1], set[last + 2] = field, value
          last = last + 2
        else
          gone[#gone + 1] = field
        end
      end
      call_in_parts('HSET', run.key, set)
      call_in_parts('HDEL', run.key, gone)
    end
  end
  call_in_parts('ZADD', TIMERS, timers_set)
  call_in_parts('ZREM', TIMERS, timers_gone)
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
