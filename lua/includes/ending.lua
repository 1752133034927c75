-- ending: a run that drains, and what is undone when nothing else is left of it (the twin of Marking.drain and others).
-- Fields of the run: cp the token that was completed last of those to be undone; c<token> the one before it.
local SWEEP_READY, CLOSING_READY = 'w|system:high|1|0||', 'x|system:normal|1||cp|'

local function keep_first_error(run, reason, message)
  if not get_field(run, 'why') then
    set_field(run, 'why', reason)
    if message ~= '' then set_field(run, 'err', message) end
  end
end

-- closes: whether anything may have to be undone.
local function hold_closing(run, closes)
  if closes == '1' and not get_field(run, 't-3') then
    set_field(run, 't-3', FIRST_FENCE .. '|c|0||' .. CLOSING_READY)
    run.n = run.n + 1
    run.closing = '+'
  end
end

local function drain(run, reason, message, closes)
  keep_first_error(run, reason, message)
  run.st = 'D'
  emit(run, '-2', SWEEP_READY)
  hold_closing(run, closes)
end

-- After a transition: where nothing but the closing token is left, it is its turn.
local function release_closing(run, codes)
  local record = get_field(run, 't-3')
  run.st, run.closing = 'C', ''
  enqueue(run, '-3', raise(string.match(record, '^%d+')), CLOSING_READY)
  codes[#codes + 1] = 'B'
end

local function push_completed(run, token)
  set_field(run, 'c' .. token, get_field(run, 'cp') or '')
  set_field(run, 'cp', token)
end

-- What was done last is undone first: its compensation is emitted, and the closing token waits for it.
local function undo_last(run, fence, compensation, ready)
  local top = get_field(run, 'cp')
  local below = get_field(run, 'c' .. top)
  set_field(run, 'c' .. top, false)
  set_field(run, 'cp', below ~= '' and below or false)
  emit(run, compensation, ready)
  set_field(run, 't-3', raise(fence) .. '|c|0||' .. CLOSING_READY)
  run.closing = '+'
end
