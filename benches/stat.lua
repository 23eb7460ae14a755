-- AGG.STAT as a Lua script, for comparison: a hash holds the 5-minute and hourly windows of a metric, each with count,
-- sum, min, max and last. Of a counter it aggregates the rate. A window that a later sample closes is pushed to a list for
-- the pollers. Users who migrate to the module have scripts like this one.
--
--   EVALSHA sha 2 stat:<node>:<metric> queue:<node> value ABS|DIFF [tags]
local metric, queue = KEYS[1], KEYS[2]
local value, kind, tags = tonumber(ARGV[1]), ARGV[2], ARGV[3] or ''
if not value then
    return redis.error_reply('ERR the value is not a number')
end

local time = redis.call('TIME')
local seconds = tonumber(time[1])
local now = seconds + tonumber(time[2]) / 1000000

local stored = redis.call('HMGET', metric, 'total', 'at',
    '300:start', '300:count', '300:sum', '300:min', '300:max',
    '3600:start', '3600:count', '3600:sum', '3600:min', '3600:max')
local changed = {'kind', kind, 'tags', tags}

local function set(field, to)
    changed[#changed + 1] = field
    changed[#changed + 1] = to
end

-- A counter is a total, of which the increase counts. A lower value means that it was reset.
local sample = value
if kind == 'DIFF' then
    set('total', ARGV[1])
    set('at', string.format('%.6f', now))
    local total, at = tonumber(stored[1]), tonumber(stored[2])
    if not total then
        redis.call('HSET', metric, unpack(changed))
        return 1
    end
    local increase = value - total
    if increase < 0 then
        increase = value
    end
    sample = increase / math.max(now - at, 0.5)
end

local function count(window, first)
    local start = seconds - seconds % window
    local open = tonumber(stored[first])
    local n, sum = tonumber(stored[first + 1]), tonumber(stored[first + 2])
    local min, max = tonumber(stored[first + 3]), tonumber(stored[first + 4])
    if open and open < start then
        redis.call('RPUSH', queue, cjson.encode({
            metric = metric, kind = kind, window = window, start = open, count = n, sum = sum,
            avg = sum / n, min = min, max = max, tags = tags,
        }))
        redis.call('LTRIM', queue, -100000, -1)
        open = nil
    end
    local name = window .. ':'
    if open then
        set(name .. 'count', n + 1)
        set(name .. 'sum', sum + sample)
        if sample < min then
            set(name .. 'min', sample)
        end
        if sample > max then
            set(name .. 'max', sample)
        end
    else
        set(name .. 'start', start)
        set(name .. 'count', 1)
        set(name .. 'sum', sample)
        set(name .. 'min', sample)
        set(name .. 'max', sample)
    end
    set(name .. 'last', sample)
end

count(300, 3)
count(3600, 8)
redis.call('HSET', metric, unpack(changed))
return 1
