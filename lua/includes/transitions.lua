-- transitions: what one settled token does to its run, as flat operations:
--   o field value                                      keep a context value (also in a run that drains)
--   e token ready                                      emit a token
--   P token due ready                                  emit a token parked until due ("+ms" from now, or a time in ms)
--   a join slot status policy need arity ready         an arrival (status b, x: a loop's word to a gate)
--   l field value                                      keep a loop's last iteration
--   d reason error ready                               drain the run; ready: of its sweep token
--   x error                                            the run will end FAILED
--   p due ready                                        park this token (it stays in the ledger)
--   c ready                                            this token again (a cursor)
--   r due                                              give this token back, nothing happened
--   s                                                  sweep what is parked
--   n                                                  note: only the events; the token stays as it is
--   z reads                                            if the run is complete now, its output reads these fields
local function split(text)
  local words = {}
  for word in string.gmatch(text, '%S+') do words[#words + 1] = word end
  return words
end

local function keep_first_error(run, reason, message)
  if not get_field(run, 'why') then
    set_field(run, 'why', reason)
    set_field(run, 'err', message)
  end
end

local function park_logged(run, codes, token, fence, ready, due)
  if string.sub(due, 1, 1) == '+' then due = text(NOW + tonumber(string.sub(due, 2))) end
  park(run, token, fence, ready, due, 't')
  local node, scope = string.match(token, '^(%-?%d+):?(.*)$')
  codes[#codes + 1] = 'P' .. node .. ':' .. scope .. ':' .. due
end

-- Returns true when the token stays. from..to: the operations in ARGV.
local function apply_operations(run, codes, token, fence, record, from, to)
  local stays, i = false, from
  local function raise() return text(tonumber(fence) + 1) end
  while i <= to do
    local op = ARGV[i]
    local runs_on = run.st == 'R'
    if op == 'o' then
      set_context(run, ARGV[i + 1], ARGV[i + 2])
      i = i + 3
    elseif op == 'e' then
      if runs_on then emit(run, ARGV[i + 1], ARGV[i + 2]) end
      i = i + 3
    elseif op == 'a' then
      if runs_on then
        arrive(run, codes, ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], tonumber(ARGV[i + 5]),
          tonumber(ARGV[i + 6]), ARGV[i + 7])
      end
      i = i + 8
    elseif op == 'l' then
      if runs_on then set_context(run, ARGV[i + 1], ARGV[i + 2]) end
      i = i + 3
    elseif op == 'd' then
      if runs_on then
        keep_first_error(run, ARGV[i + 1], ARGV[i + 2])
        run.st = 'D'
        emit(run, '-2', ARGV[i + 3])
      end
      i = i + 4
    elseif op == 'x' then
      if runs_on then keep_first_error(run, 'failed', ARGV[i + 1]) end
      i = i + 2
    elseif op == 'p' then
      if runs_on then
        park_logged(run, codes, token, raise(), ARGV[i + 2], ARGV[i + 1])
        stays = true
      end
      i = i + 3
    elseif op == 'P' then
      if runs_on then
        run.n = run.n + 1
        park_logged(run, codes, ARGV[i + 1], FIRST_FENCE, ARGV[i + 3], ARGV[i + 2])
      end
      i = i + 4
    elseif op == 'c' then
      if runs_on then
        enqueue(run, token, raise(), ARGV[i + 1])
        stays = true
      end
      i = i + 2
    elseif op == 'r' then
      local ready = string.match(record, '^[^|]*|[^|]*|[^|]*|[^|]*|(.*)$')
      park(run, token, raise(), ready, text(NOW + tonumber(ARGV[i + 1])), 'g')
      stays = true
      i = i + 2
    elseif op == 's' then
      local cursor = string.match(record, '^[^|]*|[^|]*|[^|]*|[^|]*|[^|]*|[^|]*|[^|]*|([^|]*)')
      local following = sweep(run, codes, cursor)
      if following ~= '0' then
        enqueue(run, token, raise(), 'w|system:high|1|' .. following .. '||')
        stays = true
      else
        codes[#codes + 1] = 'S'
      end
      i = i + 1
    elseif op == 'n' then
      stays = true
      i = i + 1
    elseif op == 'z' then
      run.reads = run.reads or split(ARGV[i + 1])
      i = i + 2
    else
      error({ err = 'CORRUPT unknown operation ' .. tostring(op) })
    end
  end
  return stays
end

-- Give the events of one transition their sequence numbers, and look at the counter once.
local function close_transition(run, count, blob, codes)
  if run.n == 0 and run.st ~= 'E' then
    if run.st == 'R' and run.jn ~= 0 then
      codes[#codes + 1] = 'Z' .. run.jn
      run.st = 'H'
    else
      done[#done + 1] = run
    end
  end
  local events = count + #codes
  if events > 0 then
    outbox[#outbox + 1] = run.id .. '|' .. (run.seq + 1) .. '|' .. count .. '|' .. table.concat(codes, ';')
    outbox[#outbox + 1] = blob
    run.seq = run.seq + events
  end
end
