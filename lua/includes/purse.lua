-- purse: tokens of a run with a budget ask for what a call can take at most (the twin of sdk/purse.py).
-- Fields of the run: b what is spent, reserved and allowed; B<number> the tokens that wait, in order (some may have gone).
-- A token that waits is in place "b", with its number where others have when they are due.
local GRANTS_MAX, GONE_MAX = 200, 1000

local function ask_budget(run, token, fence, ready, deliveries)
  local p, details = purse_of(run), 'd' .. token
  if get_field(run, details) then
    -- Its handler has reported how far it got: the next one shall know.
    local head, reads, live = string.match(ready, '^(.*|)([^|]*)|([^|]*)$')
    ready = head .. with_read(reads, details) .. '|' .. live
  end
  p.last = p.last + 1
  set_field(run, 'B' .. text(p.last), token)
  park(run, token, fence, ready, '', 'b', deliveries)
  set_field(run, 't' .. token, fence .. '|b|' .. deliveries .. '|' .. text(p.last) .. '|' .. ready)
end

local function spend(run, tokens, cost)
  local p = purse_of(run)
  p.tokens, p.cost = p.tokens + tonumber(tokens), p.cost + tonumber(cost)
end

-- Somebody takes a token away while its call may be under way: what was reserved for that counts as spent.
local function lose_paid(run, record)
  local tokens, cost = nil, nil
  if run.has_purse then tokens, cost = paid_of(record) end
  if tokens then spend(run, tokens, cost) end
end

local function raise_budget(run, tokens, cost)
  local p = purse_of(run)
  if p.limit_tokens then p.limit_tokens = p.limit_tokens + tonumber(tokens) end
  if p.limit_cost then p.limit_cost = p.limit_cost + tonumber(cost) end
end

local function is_within(p, tokens, cost)
  return (not p.limit_tokens or tokens <= p.limit_tokens) and (not p.limit_cost or cost <= p.limit_cost)
end

-- At the end of a transition: answer those that wait, in order, as long as it is known what to say to the first. Of many
-- only a part: whose call is let in ends by a transition, which goes on with it.
local function answer_row(run, codes)
  local p, granted, gone = run.purse, 0, 0
  while p.first <= p.last and granted < GRANTS_MAX and (gone < GONE_MAX or p.held == 0) do
    local number = text(p.first)
    local token = get_field(run, 'B' .. number)
    local record = token and get_field(run, 't' .. token)
    local fence, deliveries, kept, ready = string.match(record or '', '^(%d+)|b|(%d+)|(%d+)|(.*)$')
    if kept == number then
      local tokens, cost = string.match(ready, '[|+]wants=(%d+)%.(%d+)%.')
      tokens, cost = tonumber(tokens) + p.tokens, tonumber(cost) + p.cost
      local word, code
      if is_within(p, tokens + p.held_tokens, cost + p.held_cost) then
        word, code = 'paid=%1', 'b'
      elseif p.policy == 'f' and not is_within(p, tokens, cost) then
        word, code = 'broke', 'e'
      else
        return
      end
      enqueue(run, token, raise(fence), (string.gsub(ready, 'wants=([%d.]+)', word, 1)), deliveries)
      codes[#codes + 1] = code .. place_of(token)
      granted = granted + 1
    else
      gone = gone + 1
    end
    if token then set_field(run, 'B' .. number, false) end
    p.first = p.first + 1
  end
end
