-- slots: one token of a run holds a mutex, others wait in the order in which they asked (the twin of sdk/marking/waiting.py).
-- Fields of the run: m:<name> the token that holds it; M:<name> tokens that wait (some may have gone).
local function grant(run, codes, token, fence, ready)
  enqueue(run, token, fence, with_word(ready, 'held'))
  codes[#codes + 1] = 'G' .. place_of(token)
end

-- A holder that a drain has taken away has freed nothing: what is gone holds nothing.
local function ask_mutex(run, codes, token, fence, name, ready)
  local holder = get_field(run, 'm:' .. name)
  if not holder or not get_field(run, 't' .. holder) then
    set_field(run, 'm:' .. name, token)
    grant(run, codes, token, fence, ready)
    return
  end
  park(run, token, fence, ready, '', 'm')
  local waiters = get_field(run, 'M:' .. name)
  set_field(run, 'M:' .. name, waiters and waiters .. ' ' .. token or token)
end

-- Whoever frees a slot gives it to who asked first and still waits.
local function free_mutex(run, codes, token, name)
  if get_field(run, 'm:' .. name) ~= token then return end
  local waiters = may_park(run) and get_field(run, 'M:' .. name)
  while waiters do
    local following, rest = string.match(waiters, '^(%S+) ?(.*)$')
    waiters = rest ~= '' and rest or false
    local record = get_field(run, 't' .. following)
    if record and string.find(record, '^%d+|m|') then
      set_field(run, 'm:' .. name, following)
      set_field(run, 'M:' .. name, waiters)
      grant(run, codes, following, raise(string.match(record, '^%d+')), ready_of(record))
      return
    end
  end
  set_field(run, 'm:' .. name, false)
  if get_field(run, 'M:' .. name) then set_field(run, 'M:' .. name, false) end
end
