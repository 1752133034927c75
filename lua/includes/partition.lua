-- partition: the keys of one partition, the clock, and what this call will write.
-- Keys are derived from the tag of KEYS[1] ("...{p}:meta"); all are listed in KEYS.md.
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

-- Numbers cross as strings: %.0f is exact up to 2^53.
local function text(number)
  return string.format('%.0f', number)
end
