-- partition: the keys of one partition, the clock, and what this call will write.
-- Keys are derived from the tag of KEYS[1] ("...{p}:meta"); all are listed in KEYS.md.
-- @each call
local META = KEYS[1]
local BASE = string.sub(META, 1, -5)
local OUTBOX, DONE, TIMERS = BASE .. 'outbox', BASE .. 'done', BASE .. 'timers'
local clock = redis.call('TIME')
local NOW = clock[1] * 1000 + math.floor(clock[2] / 1000)
local EPOCH = redis.call('HGET', META, 'epoch')
local checked = {}

-- Refuse a key of another type before anything is written: a script is not rolled back.
local function check_type(key, want)
  if not checked[key] then
    local found = redis.call('TYPE', key).ok
    if found ~= 'none' and found ~= want then
      error({ err = 'CORRUPT ' .. key .. ' is a ' .. found .. ', not a ' .. want })
    end
    checked[key] = true
  end
end

-- Numbers cross as strings: %.0f is exact up to 2^53. Formatting and reading them costs more than all else that is done
-- with the small ones, so each is done once a call.
-- @each call
local NUMERALS, NUMBERS = {}, {}

local function text(number)
  local found = NUMERALS[number]
  if not found then
    found = string.format('%.0f', number)
    NUMERALS[number] = found
  end
  return found
end

local function number_of(numeral)
  local found = NUMBERS[numeral]
  if not found then
    found = tonumber(numeral)
    NUMBERS[numeral] = found
  end
  return found
end
