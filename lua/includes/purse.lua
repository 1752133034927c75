-- purse: tokens of a run with a budget ask for what a call can take at most (the twin of sdk/marking/purse.py).
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
  if p.fund then
    local f = fund_of(p.fund.name)
    f.tokens, f.cost, f.touched = f.tokens + tonumber(tokens), f.cost + tonumber(cost), true
  end
end

-- Somebody takes a token away while its call may be under way: what was reserved for that counts as spent.
local function lose_paid(run, record)
  local tokens, cost = nil, nil
  if run.has_purse then tokens, cost = paid_of(record) end
  if tokens then spend(run, tokens, cost) end
end

local function raise_budget(run, tokens, cost)
  local p = purse_of(run)
  for _, limits in ipairs({ p, p.fund }) do
    if limits.limit_tokens then limits.limit_tokens = limits.limit_tokens + tonumber(tokens) end
    if limits.limit_cost then limits.limit_cost = limits.limit_cost + tonumber(cost) end
  end
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
      tokens, cost = tonumber(tokens), tonumber(cost)
      local shared = p.fund
      local f = shared and fund_of(shared.name)
      local word, code
      if is_within(p, tokens + p.tokens + p.held_tokens, cost + p.cost + p.held_cost)
        and (not f or is_within(shared, tokens + f.tokens + f.held_tokens, cost + f.cost + f.held_cost)) then
        word, code = 'paid=%1', 'b'
      elseif (p.policy == 'f' and not is_within(p, tokens + p.tokens, cost + p.cost))
        or (f and shared.policy == 'f' and not is_within(shared, tokens + f.tokens, cost + f.cost)) then
        word, code = 'broke', 'e'
      else
        -- For its own budget a run waits by itself: its calls under way answer it.
        if f and is_within(p, tokens + p.tokens + p.held_tokens, cost + p.cost + p.held_cost) then f.asking[run.id] = true end
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

-- A recovery puts the run of a token back: what is reserved for that is reserved in the account of all runs too.
local function restore_fund(run, token)
  local shared = run.has_purse and string.match(get_field(run, 'b') or '', ';(%x+),')
  if not shared then return end
  local record = run.val['t' .. token]
  local tokens, cost = paid_of(record)
  if tokens then
    local key = BASE .. 'fund:' .. shared
    if redis.call('HSETNX', key, 'h' .. run.id .. '|' .. token, tokens .. '.' .. cost) == 1 then
      redis.call('HINCRBY', key, 'held_tokens', tokens)
      redis.call('HINCRBY', key, 'held_cost', cost)
    end
  elseif string.find(record, '^%d+|b|') then
    redis.call('ZADD', BASE .. 'fundq:' .. shared, 'NX', text(NOW), run.id)
  end
end
