-- deliver: an entry becomes a token with its run's state and the context values that its node reads.
-- Entries whose token is gone, or was queued again since, are acknowledged and dropped.
-- Reads go through pcall: where a run's key is of another type, its own token is left pending, and nobody else's call
-- fails. Nothing is written between them.
local RUNS = runs or {}
local ask = redis.pcall

local function is_broken(answer)
  return type(answer) == 'table' and answer.err ~= nil
end

local function find_value(ctx, field)
  if string.sub(field, 1, 1) ~= '?' then return ask('HGET', ctx, field) end
  -- "?o5~2~L7": node 5 in scope 2 . (the last iteration of loop 7 there)
  local name, scope
  for part in string.gmatch(string.sub(field, 2), '[^~]+') do
    if not name then
      name = part
    else
      local index = part
      if string.sub(part, 1, 1) == 'L' then
        index = ask('HGET', ctx, 'l' .. string.sub(part, 2) .. (scope and ':' .. scope or ''))
        if not index or is_broken(index) then return index end
      end
      scope = scope and scope .. '.' .. index or index
    end
  end
  return ask('HGET', ctx, name .. ':' .. scope)
end

-- kept: what this call has written itself. Returns false where the context is no hash.
local function read_values(ctx, reads, found, kept)
  if reads == '' then return true end
  if kept[reads] then
    found[#found + 1] = kept[reads]
    return true
  end
  if not string.find(reads, '?', 1, true) then
    local fields = {}
    for field in string.gmatch(reads, '%S+') do fields[#fields + 1] = field end
    local values = ask('HMGET', ctx, unpack(fields))
    if is_broken(values) then return false end
    for i = 1, #values do found[#found + 1] = values[i] end
    return true
  end
  for field in string.gmatch(reads, '%S+') do
    local value = find_value(ctx, field)
    if is_broken(value) then return false end
    found[#found + 1] = value
  end
  return true
end

-- Returns {number of the stream, entry id, run, token, run's state, IR, record, values...}, or nil.
local function deliver(number, stream, id, fields)
  local run, token, fence
  if fields and fields[1] == 't' then run, token, fence = string.match(fields[2], '^([^|]+)|([^|]+)|(%d+)$') end
  if run then
    local known, state, ir, record, kept = RUNS[run], nil, nil, nil, {}
    if known and known.touched and known.val['t' .. token] ~= nil then
      state, ir, record, kept = known.st, known.ir, known.val['t' .. token], known.kept
    else
      local head = ask('HMGET', BASE .. 'run:' .. run, 'st', 'ir', 't' .. token)
      if is_broken(head) then return nil end
      state, ir, record = head[1], head[2], head[3]
    end
    if record and (state == 'R' or state == 'D') and string.match(record, '^%d+') == fence then
      local found = { number, id, run, token, state, ir, record }
      local reads = string.match(record, '^[^|]*|[^|]*|[^|]*|[^|]*|[^|]*|[^|]*|[^|]*|[^|]*|([^|]*)')
      return read_values(BASE .. 'ctx:' .. run, reads, found, kept) and found or nil
    end
    if record and state == 'H' then return nil end
  end
  redis.call('XACK', stream, 'workers', id)
  redis.call('XDEL', stream, id)
  return nil
end
