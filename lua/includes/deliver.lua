-- deliver: an entry becomes a token with its run's state and the context values that its node reads.
-- Entries whose token is gone, or has another entry by now, are acknowledged and dropped: so are those that somebody has
-- doubled, also while the token is worked on.
-- Reads go through pcall: where a run's key is of another type, its own token is left pending, and nobody else's call
-- fails. Nothing is written between them.
-- @each call
local RUNS, ask = runs or {}, redis.pcall

local function is_broken(answer)
  return type(answer) == 'table' and answer.err ~= nil
end

local function find_value(key, field)
  if string.sub(field, 1, 1) ~= '?' then return ask('HGET', key, field) end
  -- "?o5~2~L7": node 5 in scope 2 . (the last iteration of loop 7 there)
  local name, scope
  for part in string.gmatch(string.sub(field, 2), '[^~]+') do
    if not name then
      name = part
    else
      local index = part
      if string.sub(part, 1, 1) == 'L' then
        index = ask('HGET', key, 'l' .. string.sub(part, 2) .. (scope and ':' .. scope or ''))
        if not index or is_broken(index) then return index end
      end
      scope = scope and scope .. '.' .. index or index
    end
  end
  return ask('HGET', key, name .. ':' .. scope)
end

-- Returns {head fields..., values...}: the values of `wanted` and then of `reads`, in one call where none is a path.
local function ask_fields(key, wanted, reads)
  local fields, paths = wanted, string.find(reads, '?', 1, true)
  if not paths then
    for field in string.gmatch(reads, '%S+') do fields[#fields + 1] = field end
    return ask('HMGET', key, unpack(fields))
  end
  local found = #fields > 0 and ask('HMGET', key, unpack(fields)) or {}
  if is_broken(found) then return found end
  for field in string.gmatch(reads, '%S+') do
    local value = find_value(key, field)
    if is_broken(value) then return value end
    found[#found + 1] = value
  end
  return found
end

-- Returns {number of the stream, entry id, run, token, run's state, IR, record, values...}, or nil.
-- An entry names what its token reads, so that all comes with one call; one that does not is as good.
local function deliver(number, stream, id, fields)
  local run, token, fence
  if fields and fields[1] == 't' then run, token, fence = string.match(fields[2], '^([^|]+)|([^|]+)|(%d+)$') end
  if run then
    local key, name, known, values = BASE .. 'run:' .. run, 't' .. token, RUNS[run], nil
    local reads, state, ir, record = fields[4], nil, nil, nil
    if known and known.touched and known.val[name] ~= nil then
      record, state, ir = known.val[name], known.st, known.ir
    else
      local found = ask_fields(key, { 'h', name }, reads or '')
      if is_broken(found) then return nil end
      record = found[2]
      if found[1] then
        state, ir = string.sub(found[1], 1, 1), string.sub(found[1], -32)
      end
      if reads then values = found end
    end
    local held, entry = string.match(record or '', '^(%d+)|%a|%d+|([^|]*)|')
    local is_its_own = held == fence and entry == id
    if state == 'P' and is_its_own then
      -- A paused run: the token is put aside until it goes on.
      redis.call('HSET', key, name, (string.gsub(record, '^(%d+)|q|', '%1|p|')))
    elseif is_its_own and state ~= 'E' and state ~= 'H' then
      local token_found = { number, id, run, token, state, ir, record }
      if values then
        for i = 3, #values do token_found[5 + i] = values[i] end
        return token_found
      end
      reads = reads or string.match(record, '|([^|]*)|[^|]*$')
      if reads ~= '' then
        local kept = known and known.val[reads]
        values = kept and { kept } or ask_fields(key, {}, reads)
        if is_broken(values) then return nil end
        for i = 1, #values do token_found[7 + i] = values[i] end
      end
      return token_found
    end
    if record and state == 'H' then return nil end
  end
  redis.call('XACK', stream, 'workers', id)
  redis.call('XDEL', stream, id)
  return nil
end
