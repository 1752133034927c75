-- joins: arrivals, and when a join fires or dies (token-rules, section 3; the twin of sdk/marking/marking.py).
-- A record is "live,dead,failed,settled,told,slots", slots joined by "+".
local SKIP_READY = 'k|system:normal|1|'

local function read_join(run, field)
  local value = get_field(run, field)
  if not value then
    run.unfinished = run.unfinished + 1
    return 0, 0, 0, false, '', ''
  end
  local live, dead, failed, settled, told, slots = string.match(value, '^(%d+),(%d+),(%d+),(%d),(%a*),(.*)$')
  return tonumber(live), tonumber(dead), tonumber(failed), settled == '1', told, slots
end

-- Which in-edges came, if the policy is met now: "*", "-1,2" (all but) or "+0,3" (only), else nil.
-- policy: a all, e every, n at least `need` (any: 1), g gate.
local function fires(policy, need, arity, live, dead, failed, told, slots)
  if policy == 'g' then
    return told == 'x' and live == 1 and '*' or nil
  elseif policy == 'a' then
    if live + dead == arity and live > 0 and failed == 0 then
      return slots == '' and '*' or '-' .. string.gsub(slots, '%+', ',')
    end
  elseif policy == 'e' then
    return live == arity and '*' or nil
  elseif live == need then
    return '+' .. string.gsub(slots, '%+', ',')
  end
  return nil
end

-- join: the token key; slot: number of the in-edge; status: l, d, f, or b, x (a loop's word to a gate).
local function arrive(run, codes, join, slot, status, policy, need, arity, ready)
  local field = 'j' .. join
  local live, dead, failed, settled, told, slots = read_join(run, field)
  if status == 'b' or status == 'x' then
    told = status
  elseif status == 'l' then
    live = live + 1
  else
    dead = dead + 1
    if status == 'f' then failed = failed + 1 end
  end
  local kept = (policy == 'n' and status == 'l') or (policy == 'a' and (status == 'd' or status == 'f'))
  if kept and not settled then slots = slots == '' and slot or slots .. '+' .. slot end
  local arrived = live + dead + (told ~= '' and 1 or 0)
  if not settled then
    local came = fires(policy, need, arity, live, dead, failed, told, slots)
    local node, scope = string.match(join, '^(%d+):?(.*)$')
    if came then
      settled = true
      emit(run, join, ready .. came)
      codes[#codes + 1] = 'F' .. node .. ':' .. scope .. ':' .. came
    elseif arrived == arity and told ~= 'b' then
      settled = true
      local color = failed > 0 and 'f' or 'd'
      emit(run, join, SKIP_READY .. color .. '||')
      codes[#codes + 1] = 'D' .. node .. ':' .. scope .. ':' .. color
    end
    if settled then slots = '' end
  end
  if arrived >= arity then
    run.unfinished = run.unfinished - 1
    set_field(run, field, false)
  else
    set_field(run, field, live .. ',' .. dead .. ',' .. failed .. ',' .. (settled and '1' or '0') .. ',' .. told .. ','
      .. slots)
  end
end
