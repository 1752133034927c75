-- signals: tokens that wait for names, and signals that came early (the twin of sdk/marking/waiting.py).
-- Fields of the run: w:<name> tokens that wait, in order (some may have gone); W<token> the names that it waits for, and
-- "@<ms>" behind them while somebody else is to be told then; g:<name> numbers of early signals, in order, those of a run
-- that this one continues below 0; G<number> and v<token> their values.
local SIGNALS_MAX = 1000

-- Add a word to the extra of a ready or of what follows the entry id in a record.
local function with_word(ready, word)
  local head, extra, tail = string.match(ready, '^([^|]*|[^|]*|[^|]*|)([^|]*)(|.*)$')
  return head .. (extra == '' and word or extra .. '+' .. word) .. tail
end

-- Add a field to the reads of a ready, once.
local function with_read(reads, field)
  if string.find(' ' .. reads .. ' ', ' ' .. field .. ' ', 1, true) then return reads end
  return reads == '' and field or reads .. ' ' .. field
end

local function ready_of(record)
  return string.match(record, '^[^|]*|[^|]*|[^|]*|[^|]*|(.*)$')
end

local function deliveries_of(record)
  return string.match(record, '^[^|]*|[^|]*|(%d+)')
end

local function place_of(token)
  local node, scope = string.match(token, '^(%-?%d+):?(.*)$')
  return node .. ':' .. scope
end

local function raise(fence)
  return text(tonumber(fence) + 1)
end

local function release(run, codes, token, fence, ready, word)
  enqueue(run, token, fence, with_word(ready, word))
  codes[#codes + 1] = 'L' .. place_of(token) .. ':' .. word
end

-- The first of names that has an early signal, the earliest of all: its index from 0, its name and its number.
local function earliest(run, names)
  local index, found, first, k = nil, nil, nil, 0
  for name in string.gmatch(names, '%S+') do
    local kept = get_field(run, 'g:' .. name)
    local number = kept and tonumber(string.match(kept, '^%S+'))
    if number and (not first or number < first) then index, found, first = k, name, number end
    k = k + 1
  end
  return index, found, first
end

-- Whether the early signals of a name begin with these numbers, joined by spaces.
local function are_first(run, name, numbers)
  local kept = get_field(run, 'g:' .. name)
  return kept and string.sub(kept .. ' ', 1, #numbers + 1) == numbers .. ' '
end

-- They are taken by a token that one of their name has released before.
local function take_early(run, name, numbers)
  local rest = string.sub(get_field(run, 'g:' .. name), #numbers + 2)
  set_field(run, 'g:' .. name, rest ~= '' and rest or false)
  for number in string.gmatch(numbers, '%S+') do set_field(run, 'G' .. number, false) end
end

local function wait_for_signals(run, codes, token, fence, names, due, escalates, ready)
  local index, name, number = earliest(run, names)
  if index then
    local field = 'G' .. text(number)
    set_field(run, 'v' .. token, get_field(run, field))
    set_field(run, field, false)
    local rest = string.match(run.val['g:' .. name], '^%S+ (.*)$')
    set_field(run, 'g:' .. name, rest or false)
    release(run, codes, token, fence, ready, 's' .. index)
    return
  end
  if due ~= '' then
    due = due_at(due)
    codes[#codes + 1] = 'P' .. place_of(token) .. ':' .. due
  end
  park(run, token, fence, ready, due, 'w')
  local told_at = escalates ~= '' and due_at(escalates)
  set_field(run, 'W' .. token, told_at and names .. ' @' .. told_at or names)
  for each in string.gmatch(names, '%S+') do
    local waiting = get_field(run, 'w:' .. each)
    set_field(run, 'w:' .. each, waiting and waiting .. ' ' .. token or token)
  end
  if told_at then set_timer(run, told_at, '!escalate/' .. token, fence) end
end

-- Who waits for nothing any more leaves its names; the lists of the names are cleaned when they are read.
local function stop_waiting(run, token, place)
  if place == 'w' then set_field(run, 'W' .. token, false) end
  if place == 'b' then purse_of(run) end -- who stands behind it in the row is answered at the end of the transition
end

-- The place of a name among those that a parked token waits for, from 0; nil where it does not wait for it.
local function index_of(run, token, name)
  local record = get_field(run, 't' .. token)
  if not record or not string.find(record, '^%d+|w|') then return nil end
  local k = 0
  for each in string.gmatch(get_field(run, 'W' .. token) or '', '%S+') do
    if each == name then return k, record end
    k = k + 1
  end
  return nil
end

-- Whether a word about a token comes when the token waits for it no more: the time of its wait is over, or it has gone on
-- since it asked. What comes before it asks is kept for it.
local function is_late(run, token, name, is_asked)
  if token == '' or index_of(run, token, name) then return false end
  if is_asked then return true end
  local extra = string.match(get_field(run, 't' .. token) or '', '|([^|]*)|[^|]*|[^|]*$')
  return extra ~= nil and string.match(extra, '[^+]*$') == 's-'
end

-- Returns whether the signal was of use: it released who has waited longest, or is kept.
local function signal(run, codes, name, number, value)
  local waiting = get_field(run, 'w:' .. name)
  while waiting do
    local token, rest = string.match(waiting, '^(%S+) ?(.*)$')
    waiting = rest ~= '' and rest or false
    local index, record = index_of(run, token, name)
    if index then
      set_field(run, 'w:' .. name, waiting)
      set_field(run, 'W' .. token, false)
      set_field(run, 'v' .. token, value)
      release(run, codes, token, raise(string.match(record, '^%d+')), ready_of(record), 's' .. index)
      return true
    end
  end
  if get_field(run, 'w:' .. name) then set_field(run, 'w:' .. name, false) end
  local kept = get_field(run, 'g:' .. name)
  local _, spaces = string.gsub(kept or '', ' ', ' ')
  if kept and spaces + 1 >= SIGNALS_MAX then return false end
  set_field(run, 'g:' .. name, kept and kept .. ' ' .. number or number)
  set_field(run, 'G' .. number, value)
  return true
end
