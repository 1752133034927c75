-- maps: which items of a map are at work, how they end, and whose results are gathered (the twin of sdk/marking/maps.py).
-- Fields of the run, <map> being the map's token: n<map> the record (write_maps), "x" once a failed item has closed it;
-- N<map> what it says once, in lines: "window|chunk|closed by a failure|items a call|aggregate|cursor|collector|sweeper",
-- the aggregate's ready, and the words of the operations that an item begins with, \1 standing for its index;
-- q<map>:<scope and chunk> how the items of a chunk ended, "<offset><o|f|s><slots>" joined by ";".
local MAP = '^(%d+),(%d+),(%d+),(%d+),(%d+),(%d),(%d),(%d),(%d+),(.*)$'
local FILL_READY, COLLECT_READY, CLEAR_READY = 'f|system:normal|1|||', 'g|system:high|1||', 'z|system:high|1|||'
local ENDS = { l = 'o', f = 'f' }

-- @each call
local TERMS = {}

-- Returns the record, false where there is none, nil where a failure has closed it.
local function read_map(run, map)
  local known = run.maps and run.maps[map]
  if known then return known end
  local value = get_field(run, 'n' .. map)
  if not value then return false end
  if value == 'x' then return nil end
  local count, following, ok, failed, skipped, open, filling, collecting, collected, ready = string.match(value, MAP)
  run.maps = run.maps or {}
  run.maps[map] = {
    count = number_of(count), next = number_of(following), ok = number_of(ok), failed = number_of(failed),
    skipped = number_of(skipped), open = open, filling = filling, collecting = collecting,
    collected = number_of(collected), ready = ready,
  }
  return run.maps[map]
end

local function forget_map(run, map, mark)
  run.unfinished = run.unfinished - 1
  if run.maps then run.maps[map] = nil end
  set_field(run, 'n' .. map, mark)
  set_field(run, 'N' .. map, false)
end

-- A word with the places of the index, as parts to be joined by it.
local function parts_of(word)
  local parts, from = {}, 1
  while true do
    local at = string.find(word, '\1', from, true)
    parts[#parts + 1] = string.sub(word, from, at and at - 1 or -1)
    if not at then return parts end
    from = at + 1
  end
end

local function read_terms(run, map)
  local value = get_field(run, 'N' .. map)
  local terms = TERMS[value]
  if terms then return terms end
  local head, ready, template = string.match(value, '^([^\n]*)\n([^\n]*)\n(.*)$')
  local window, chunk, fast, count, aggregate, cursor, collector, sweeper =
    string.match(head, '^(%d+)|(%d+)|(%d)|(%d+)|([^|]+)|([^|]+)|([^|]+)|([^|]+)$')
  terms = {
    window = tonumber(window), chunk = tonumber(chunk), fast = fast == '1', per_call = tonumber(count),
    aggregate = aggregate, cursor = cursor, collector = collector, sweeper = sweeper, ready = ready, words = {},
  }
  for word in string.gmatch(template .. '\n', '([^\n]*)\n') do terms.words[#terms.words + 1] = parts_of(word) end
  TERMS[value] = terms
  return terms
end

-- The key of something of a map: its number, and behind its scope an index.
local function key_of(map, index)
  return string.find(map, ':', 1, true) and map .. '.' .. index or map .. ':' .. index
end

local arrive_at_aggregate

-- Emit items; false where there is room for more than one call may emit.
local function emit_items(run, codes, m, terms)
  local room = math.min(terms.window + m.ok + m.failed + m.skipped, m.count)
  local last, words = math.min(room, m.next + terms.per_call), terms.words
  m.touched = m.touched or m.next < last
  while m.next < last do
    local index, i = text(m.next), 1
    m.next = m.next + 1
    local function word(k) return table.concat(words[i + k], index) end
    while i <= #words do
      local op = words[i][1]
      if op == 'e' then
        emit(run, word(1), word(2))
        i = i + 3
      elseif op == 'a' then
        arrive(run, codes, word(1), word(2), word(3), word(4), number_of(word(5)), number_of(word(6)), word(7))
        i = i + 8
      else
        arrive_at_aggregate(run, codes, word(1), word(2), index, word(4), word(5), number_of(word(6)))
        i = i + 7
      end
    end
  end
  return m.next >= room
end

local function fill(run, codes, m, terms)
  if not emit_items(run, codes, m, terms) then
    m.filling = '1'
    emit(run, terms.cursor, FILL_READY)
  end
end

local function fire(run, codes, m, terms, mark)
  local live = text(m.count) .. '.' .. text(m.ok) .. '.' .. text(m.failed) .. '.' .. text(m.skipped) .. mark
  emit(run, terms.aggregate, terms.ready .. live)
  codes[#codes + 1] = 'I' .. place_of(terms.aggregate) .. ':' .. live
end

local function collect(run, map, m, terms, chunk)
  m.ready = m.ready == '' and chunk or m.ready .. '+' .. chunk
  if m.collecting == '0' then
    m.collecting = '1'
    emit(run, terms.collector, COLLECT_READY .. 'n' .. map .. '|')
  end
end

-- Where all items have settled: the last chunk is collected, then the aggregate has its token.
local function end_map(run, codes, map, m, terms)
  if m.open == '1' or m.ok + m.failed + m.skipped < m.count then return end
  local last = text(math.floor(m.count / terms.chunk))
  local is_alone = m.count <= terms.chunk and m.collected == 0 and m.ready == ''
  if not is_alone and not string.find('+' .. m.ready .. '+', '+' .. last .. '+', 1, true)
    and get_field(run, 'q' .. key_of(map, last)) then
    collect(run, map, m, terms, last)
  end
  if m.collecting == '0' then
    forget_map(run, map, false)
    fire(run, codes, m, terms, '')
  end
end

-- terms: as the field N of the map.
local function put_items(run, codes, map, count, open, value)
  local m = read_map(run, map)
  if m == nil then return end
  if not m then
    m = { count = 0, next = 0, ok = 0, failed = 0, skipped = 0, filling = '0', collecting = '0', collected = 0, ready = '' }
    run.maps = run.maps or {}
    run.maps[map] = m
    run.unfinished = run.unfinished + 1
    set_field(run, 'N' .. map, value)
  end
  m.count, m.open, m.touched = number_of(count), open, true
  local terms = read_terms(run, map)
  if m.filling == '0' then fill(run, codes, m, terms) end
  end_map(run, codes, map, m, terms)
end

local function settle_item(run, codes, map, m, index, status, slots)
  local terms = read_terms(run, map)
  if status == 'o' then
    m.ok = m.ok + 1
  elseif status == 'f' then
    m.failed = m.failed + 1
  else
    m.skipped = m.skipped + 1
  end
  m.touched = true
  local chunk = math.floor(index / terms.chunk)
  local offset = index - chunk * terms.chunk
  local field = 'q' .. key_of(map, text(chunk))
  local ends, one = get_field(run, field), text(offset) .. status .. slots
  set_field(run, field, ends and ends .. ';' .. one or one)
  if m.filling == '0' and m.next < m.count then fill(run, codes, m, terms) end
  m.full = m.full or {}
  local filled = m.full[chunk]
  if not filled then filled = ends and select(2, string.gsub(ends, ';', '')) + 1 or 0 end
  m.full[chunk] = filled + 1
  if filled + 1 == terms.chunk and (m.count > terms.chunk or m.open == '1') then
    collect(run, map, m, terms, text(chunk))
  end
  end_map(run, codes, map, m, terms)
end

-- The first failure in an item ends the map; a sweep takes away what is parked below.
local function close_map(run, codes, map, m, terms)
  m.failed = m.failed + 1
  forget_map(run, map, 'x')
  codes[#codes + 1] = 'A' .. place_of(map)
  fire(run, codes, m, terms, '!')
  emit(run, terms.sweeper, CLEAR_READY)
  run.shut = true
end

-- join: the aggregate's token with the item behind its scope.
function arrive_at_aggregate(run, codes, map, join, item, slot, status, arity)
  local m = read_map(run, map)
  if m == nil then return end
  local index = number_of(item)
  if not m or index >= m.next then error({ err = 'CORRUPT no item ' .. item .. ' of ' .. map .. ' is at work' }) end
  if status == 'f' and read_terms(run, map).fast then return close_map(run, codes, map, m, read_terms(run, map)) end
  if arity == 1 then return settle_item(run, codes, map, m, index, ENDS[status] or 's', '') end
  local field = 'j' .. join
  local live, dead, failed, _, _, slots = read_join(run, field)
  if status == 'l' then
    live, slots = live + 1, slots == '' and slot or slots .. '+' .. slot
  else
    dead = dead + 1
    if status == 'f' then failed = failed + 1 end
  end
  if live + dead < arity then
    set_field(run, field, live .. ',' .. dead .. ',' .. failed .. ',0,,' .. slots)
    return
  end
  run.unfinished = run.unfinished - 1
  set_field(run, field, false)
  settle_item(run, codes, map, m, index, failed > 0 and 'f' or live > 0 and 'o' or 's', slots)
end

-- The cursor goes on. Returns whether it has something left to do.
local function fill_on(run, codes, map)
  local m = read_map(run, map)
  if not m or m.filling ~= '1' then return false end
  m.touched = true
  if not emit_items(run, codes, m, read_terms(run, map)) then return true end
  m.filling = '0'
  return false
end

-- The collector has stored the results of chunks, joined by "+". Returns whether it has something left to do.
local function chunks_collected(run, codes, map, chunks)
  local m = read_map(run, map)
  if not m then return false end
  for chunk in string.gmatch(chunks, '%d+') do
    local first, rest = string.match(m.ready, '^(%d+)%+?(.*)$')
    if first ~= chunk then error({ err = 'CORRUPT chunk ' .. chunk .. ' of ' .. map .. ' is not to be collected' }) end
    m.ready, m.collected, m.touched = rest, m.collected + 1, true
  end
  if m.ready ~= '' then return true end
  m.collecting = '0'
  end_map(run, codes, map, m, read_terms(run, map))
  return false
end

-- Whether one of the maps whose records these are is closed.
local function is_below_closed(run, fields)
  for field in string.gmatch(fields, '%S+') do
    if get_field(run, field) == 'x' then return true end
  end
  return false
end

-- A token below a closed map goes without any effect but that its slot is free.
local function drop_below_closed(run, codes, token, mutex)
  codes[#codes + 1] = 'E' .. place_of(token)
  lose_paid(run, get_field(run, 't' .. token))
  set_record(run, 't' .. token, false)
  set_field(run, 'v' .. token, false)
  set_field(run, 'd' .. token, false)
  if mutex ~= '' then free_mutex(run, codes, token, mutex) end
end

-- Take away what is parked below a closed map, its half-filled joins and the maps that are open there; about 250 fields
-- of the run a call.
-- nodes: numbers of those below, "3-7 9"; mutexes: "<node>=<name>" of those that have one.
-- Returns the cursor where to continue, "0" when all has been seen.
local function clear_map(run, codes, cursor, map, nodes, mutexes)
  local below, names = {}, {}
  for from, to in string.gmatch(nodes, '(%d+)%-?(%d*)') do
    for number = tonumber(from), tonumber(to) or tonumber(from) do below[text(number)] = true end
  end
  for node, name in string.gmatch(mutexes, '(%d+)=(%S+)') do names[node] = name end
  local scope_of_map = string.match(map, '^%d+:?(.*)$')
  local prefix = scope_of_map == '' and '' or scope_of_map .. '.'
  local page = redis.call('HSCAN', run.key, cursor, 'MATCH', '[tjn]*', 'COUNT', 250)
  local fields = page[2]
  check_type(TIMERS, 'zset')
  for i = 1, #fields, 2 do
    local kind, key = string.sub(fields[i], 1, 1), string.sub(fields[i], 2)
    local record = run.val[fields[i]]
    if record == nil then record = fields[i + 1] end
    local node, scope = string.match(key, '^(%-?%d+):?(.*)$')
    local is_below = below[node] and scope ~= '' and string.sub(scope, 1, #prefix) == prefix
    if record and (is_below or key == map) then
      if kind == 'j' then
        set_field(run, fields[i], false)
        run.unfinished = run.unfinished - 1
        codes[#codes + 1] = 'Q' .. place_of(key)
      elseif kind == 'n' then
        if read_map(run, key) then
          forget_map(run, key, false)
          codes[#codes + 1] = 'C' .. place_of(key)
        end
      else
        local fence, place = string.match(record, '^(%d+)|(%a)')
        if place ~= 'q' and place ~= 'g' then
          set_record(run, fields[i], false)
          stop_waiting(run, key, place)
          set_field(run, 'v' .. key, false)
          run.n = run.n - 1
          timers_gone[#timers_gone + 1] = run.id .. '|' .. key .. '|' .. fence
          codes[#codes + 1] = 'W' .. place_of(key)
          if names[node] then free_mutex(run, codes, key, names[node]) end
        end
      end
    end
  end
  return page[1]
end
