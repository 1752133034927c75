-- transitions: what one settled token does to its run, as flat operations:
--   o field value                                      keep a context value (also in a run that drains)
--   - field                                            a value is not needed any more
--   e token ready                                      emit a token
--   P token due ready                                  emit a token parked until due ("+ms" from now, or a time in ms)
--   a join slot status policy need arity ready         an arrival (status b, x: a loop's word to a gate)
--   i mark join slot status policy need arity ready    a milestone: live leaves the mark; dead is news only without it
--                                                      (policy -: its target is no join)
--   l field value                                      keep a loop's last iteration
--   d reason error closes                              drain the run; closes: 1 where something may have to be undone
--   x error closes                                     the run will end FAILED
--   k token                                            it is to be undone if the run does not end well
--   b compensation ready                               undo what was completed last (of the closing token)
--   v token ready                                      withdraw a token: it becomes a skip token
--   u mutex                                            this token needs the slot no more
--   p due ready                                        park this token (it stays in the ledger)
--   y budget due ready                                 the same, for another attempt; budget: of retries, '' without
--   w names due escalates ready                        park this token until a signal comes (includes/signals.lua)
--   m mutex ready                                      park this token until it holds the slot
--   c ready                                            this token again (a cursor)
--   r due                                              give this token back, nothing happened
--   s                                                  sweep what is parked
--   j                                                  wake what a pause has put aside
--   n                                                  note: only the events; the token stays as it is
--   t what due closes                                  a timer of the run: !timeout, !expire (release_timers)
--   O map count open terms                             a map has items (includes/maps.lua)
--   I map join item slot status arity                  an arrival at an aggregate
--   f map                                              the cursor of a map goes on
--   g map chunks                                       the collector of a map has stored the results of chunks
--   q map nodes mutexes                                clear up below a closed map
--   h field value                                      keep a context value if there is none yet
--   T name numbers                                     take early signals, behind one that it was released by; first but
--                                                      for @: B where others stand before them (includes/signals.lua)
--   @ records mutex                                    first of all: below a closed map the token goes, and nothing else
--   S ready                                            park this token until it has a slot (includes/shares.lua)
--   R name limit per ready                             this token again, when the bucket has one for it
--   A ready                                            park this token until what it wants is reserved (includes/purse.lua)
--   $ tokens cost                                      so much was spent
--   B tokens cost policy                               a run begins with a budget; '' no limit; policy f it refuses, p parks
--   F name tokens cost policy                          and shares another one with all runs of its workflow
--   L limit                                            a run begins of which at most so many tokens are worked on at once
--   H                                                  a run begins whose tokens may hold slots of concurrency keys
--   z reads                                            if the run is complete now, its output reads these fields
local function split(text)
  local words = {}
  for word in string.gmatch(text, '%S+') do words[#words + 1] = word end
  return words
end

local function park_logged(run, codes, token, fence, ready, due)
  due = due_at(due)
  park(run, token, fence, ready, due, 't')
  codes[#codes + 1] = 'P' .. place_of(token) .. ':' .. due
end

local function arrive_at(run, codes, i)
  arrive(run, codes, ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], number_of(ARGV[i + 4]), number_of(ARGV[i + 5]),
    ARGV[i + 6])
end

-- Per operation what it does, and how many words it has. Each is given the run, the codes, the token, its fence and
-- record, and the place of the operation in ARGV; it returns true where the token stays.
local OPERATIONS, WORDS = {}, { ['-'] = 2, P = 4, i = 9, l = 3, d = 4, x = 3, k = 2, b = 3, v = 3, u = 2, p = 3, y = 4, w = 5,
  m = 3, c = 2, r = 2, s = 1, j = 1, n = 1, t = 4, z = 2, O = 5, I = 7, f = 2, g = 3, q = 4, h = 3, ['@'] = 3, L = 2, H = 1, S = 2, R = 5,
  A = 2, ['$'] = 3, B = 4, F = 5, T = 3 }

OPERATIONS['-'] = function(run, _, _, _, _, i) set_field(run, ARGV[i + 1], false) end

function OPERATIONS.P(run, codes, _, _, _, i)
  if not goes_on(run) then return end
  run.n = run.n + 1
  park_logged(run, codes, ARGV[i + 1], FIRST_FENCE, ARGV[i + 3], ARGV[i + 2])
end

function OPERATIONS.i(run, codes, _, _, _, i)
  if not goes_on(run) then return end
  local mark = ARGV[i + 1]
  if ARGV[i + 4] == 'l' then
    if get_field(run, mark) then return end
    set_field(run, mark, '1')
  elseif get_field(run, mark) then
    set_field(run, mark, false)
    return
  end
  if ARGV[i + 5] ~= '-' then
    arrive_at(run, codes, i + 2)
  else
    emit(run, ARGV[i + 2], ARGV[i + 4] == 'l' and ARGV[i + 8] or SKIP_READY .. 'd||')
  end
end

function OPERATIONS.l(run, _, _, _, _, i)
  if goes_on(run) then set_context(run, ARGV[i + 1], ARGV[i + 2]) end
end

function OPERATIONS.d(run, _, _, _, _, i)
  if goes_on(run) then drain(run, ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]) end
end

function OPERATIONS.x(run, _, _, _, _, i)
  if not goes_on(run) then return end
  keep_first_error(run, 'failed', ARGV[i + 1])
  hold_closing(run, ARGV[i + 2])
end

function OPERATIONS.k(run, _, _, _, _, i) push_completed(run, ARGV[i + 1]) end

function OPERATIONS.b(run, _, _, fence, _, i)
  undo_last(run, fence, ARGV[i + 1], ARGV[i + 2])
  return true
end

function OPERATIONS.v(run, codes, _, _, _, i)
  if goes_on(run) then withdraw(run, codes, ARGV[i + 1], ARGV[i + 2]) end
end

function OPERATIONS.u(run, codes, token, _, _, i) free_mutex(run, codes, token, ARGV[i + 1]) end

function OPERATIONS.p(run, codes, token, fence, _, i)
  if not may_park(run) then return false end
  park_logged(run, codes, token, raise(fence), ARGV[i + 2], ARGV[i + 1])
  return true
end

function OPERATIONS.y(run, codes, token, fence, _, i)
  if not may_park(run) then return false end
  run.retries = run.retries + 1
  park_logged(run, codes, token, raise(fence), ARGV[i + 3], ARGV[i + 2])
  return true
end

function OPERATIONS.w(run, codes, token, fence, _, i)
  if not may_park(run) then return false end
  wait_for_signals(run, codes, token, raise(fence), ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4])
  return true
end

function OPERATIONS.m(run, codes, token, fence, _, i)
  if not may_park(run) then return false end
  ask_mutex(run, codes, token, raise(fence), ARGV[i + 1], ARGV[i + 2])
  return true
end

function OPERATIONS.c(run, _, token, fence, _, i)
  if not goes_on(run) then return false end
  enqueue(run, token, raise(fence), ARGV[i + 1])
  return true
end

function OPERATIONS.r(run, _, token, fence, record, i)
  local ready, field = ready_of(record), 'd' .. token
  if get_field(run, field) then
    -- Its handler has reported how far it got: the next one shall know.
    local head, reads, live = string.match(ready, '^(.*|)([^|]*)|([^|]*)$')
    ready = head .. with_read(reads, field) .. '|' .. live
  end
  park(run, token, raise(fence), ready, text(NOW + tonumber(ARGV[i + 1])), 'g', deliveries_of(record))
  return true
end

function OPERATIONS.s(run, codes, token, fence, record)
  local cursor = string.match(record, '^[^|]*|[^|]*|[^|]*|[^|]*|[^|]*|[^|]*|[^|]*|([^|]*)')
  local following = sweep(run, codes, cursor)
  if following == '0' then
    codes[#codes + 1] = 'S'
    return false
  end
  enqueue(run, token, raise(fence), 'w|system:high|1|' .. following .. '||', deliveries_of(record))
  return true
end

function OPERATIONS.j(run, codes, token, fence, record)
  local cursor = string.match(record, '^[^|]*|[^|]*|[^|]*|[^|]*|[^|]*|[^|]*|[^|]*|([^|]*)')
  local following = wake(run, cursor)
  if following == '0' then
    codes[#codes + 1] = 'U'
    return false
  end
  enqueue(run, token, raise(fence), 'u|system:high|1|' .. following .. '||', deliveries_of(record))
  return true
end

OPERATIONS['@'] = function() return false end

function OPERATIONS.O(run, codes, _, _, _, i)
  if goes_on(run) then put_items(run, codes, ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]) end
end

function OPERATIONS.I(run, codes, _, _, _, i)
  if not goes_on(run) then return end
  arrive_at_aggregate(run, codes, ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 5], number_of(ARGV[i + 6]))
end

function OPERATIONS.f(run, codes, token, fence, record, i)
  if not goes_on(run) or not fill_on(run, codes, ARGV[i + 1]) then return false end
  enqueue(run, token, raise(fence), ready_of(record))
  return true
end

function OPERATIONS.g(run, codes, token, fence, record, i)
  if not goes_on(run) or not chunks_collected(run, codes, ARGV[i + 1], ARGV[i + 2]) then return false end
  enqueue(run, token, raise(fence), ready_of(record))
  return true
end

function OPERATIONS.q(run, codes, token, fence, record, i)
  if not goes_on(run) then
    codes[#codes + 1] = 'E' .. place_of(token)
    return false
  end
  local cursor = string.match(record, '^[^|]*|[^|]*|[^|]*|[^|]*|[^|]*|[^|]*|[^|]*|([^|]*)')
  local following = clear_map(run, codes, cursor == '' and '0' or cursor, ARGV[i + 1], ARGV[i + 2], ARGV[i + 3])
  if following == '0' then
    codes[#codes + 1] = 'M' .. place_of(token)
    return false
  end
  enqueue(run, token, raise(fence), 'z|system:high|1|' .. following .. '||', deliveries_of(record))
  return true
end

function OPERATIONS.h(run, _, _, _, _, i)
  if not get_field(run, ARGV[i + 1]) then set_field(run, ARGV[i + 1], ARGV[i + 2]) end
end

function OPERATIONS.n() return true end

function OPERATIONS.T(run, _, _, _, _, i)
  if may_park(run) then take_early(run, ARGV[i + 1], ARGV[i + 2]) end
end

function OPERATIONS.L(run, _, _, _, _, i)
  run.watched, run.limit, run.busy, run.first, run.last = true, number_of(ARGV[i + 1]), 0, 1, 0
end

function OPERATIONS.A(run, _, token, fence, record, i)
  if not may_park(run) then return false end
  ask_budget(run, token, raise(fence), ARGV[i + 1], deliveries_of(record))
  return true
end

OPERATIONS['$'] = function(run, _, _, _, _, i) spend(run, ARGV[i + 1], ARGV[i + 2]) end

function OPERATIONS.B(run, _, _, _, _, i)
  run.watched, run.has_purse = true, true
  run.purse = { limit_tokens = tonumber(ARGV[i + 1]), limit_cost = tonumber(ARGV[i + 2]), policy = ARGV[i + 3], tokens = 0,
    cost = 0, held = 0, held_tokens = 0, held_cost = 0, first = 1, last = 0 }
end

function OPERATIONS.F(run, _, _, _, _, i)
  run.purse.fund = { name = ARGV[i + 1], limit_tokens = tonumber(ARGV[i + 2]), limit_cost = tonumber(ARGV[i + 3]),
    policy = ARGV[i + 4] }
end

function OPERATIONS.H(run) run.watched, run.sharing = true, true end

function OPERATIONS.S(run, _, token, fence, _, i)
  if not may_park(run) then return false end
  ask_slot(run, token, raise(fence), ARGV[i + 1])
  return true
end

function OPERATIONS.R(run, codes, token, fence, _, i)
  if not may_park(run) then return false end
  ask_pace(run, codes, token, raise(fence), i)
  return true
end

function OPERATIONS.t(run, _, _, _, _, i) set_run_timer(run, due_at(ARGV[i + 2]), ARGV[i + 1], ARGV[i + 3]) end

function OPERATIONS.z(run, _, _, _, _, i) run.reads = run.reads or split(ARGV[i + 1]) end

-- Returns true when the token stays. from..to: the operations in ARGV. The most frequent ones come first.
local function apply_operations(run, codes, token, fence, record, from, to)
  local stays, i = false, from
  while i <= to do
    local op = ARGV[i]
    if op == 'o' then
      set_context(run, ARGV[i + 1], ARGV[i + 2])
      i = i + 3
    elseif op == 'e' then
      if goes_on(run) then emit(run, ARGV[i + 1], ARGV[i + 2]) end
      i = i + 3
    elseif op == 'a' then
      if goes_on(run) then arrive_at(run, codes, i + 1) end
      i = i + 8
    else
      local operation = OPERATIONS[op]
      if not operation then error({ err = 'CORRUPT unknown operation ' .. tostring(op) }) end
      if operation(run, codes, token, fence, record, i) then stays = true end
      i = i + WORDS[op]
    end
  end
  return stays
end

-- Give the events of one transition their sequence numbers, and look at the counter once.
function close_transition(run, count, blob, codes)
  run.shut = nil
  if run.purse and may_park(run) then answer_row(run, codes) end
  if run.limit and may_park(run) then let_in(run) end
  if run.n == 1 and run.closing ~= '' and run.st ~= 'P' then
    release_closing(run, codes)
  elseif run.n == 0 and run.st ~= 'E' then
    if goes_on(run) and run.unfinished ~= 0 then
      codes[#codes + 1] = 'Z' .. text(run.unfinished)
      run.st = 'H'
    else
      done[#done + 1] = run
    end
  end
  local events = count + #codes
  if events > 0 then
    local last = #outbox
    outbox[last + 1] = run.id .. '|' .. text(run.seq + 1) .. '|' .. text(count) .. '|' .. table.concat(codes, ';')
    outbox[last + 2] = blob
    run.seq = run.seq + events
  end
end
