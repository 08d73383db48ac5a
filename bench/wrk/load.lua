-- Sends filled templates for a fixed time, checks every answer, then waits for the answers still under way.
--
-- wrk -t1 -c20 -d90s -s load.lua URL -- CONFIG
-- CONFIG is a Lua file that returns: templates (paths), seconds, connections, first (number of the first request),
-- first_ms, expect ("empty", "run_id" or "count"), ids (file for the acknowledged run ids), counted and count (a text, and
-- how often an answer holds it), wrong (file for samples of wrong answers).
-- The last line of the output is "RESULT " and a JSON object, read by bench/load.py.

local ffi = require "ffi"
local requests = require "request"

ffi.cdef [[
    typedef struct { long s; long ns; } bench_time;
    int clock_gettime(int clock, bench_time *now);
    int getpid(void);
    int kill(int pid, int signal);
]]

local CLOCK_MONOTONIC, SIGINT, AN_HOUR_MS, WRONG_SAMPLES, RAMP_STEP_MS = 1, 2, 3600000, 5, 25

local config, templates, from, deadline, ids, samples
local clock = ffi.new("bench_time[1]")
local checked = false  -- wrk calls request() once at start-up, to parse it; that one is never sent
local opened = 0
local threads = {}

sent, acknowledged, in_window, wrong, idle_closed, drained = 0, 0, 0, 0, 0, false

local function now_s()
    ffi.C.clock_gettime(CLOCK_MONOTONIC, clock)
    return tonumber(clock[0].s) + tonumber(clock[0].ns) * 1e-9
end

function setup(thread) threads[#threads + 1] = thread end

function init(args)
    config = dofile(args[1])
    templates = {}
    for i, path in ipairs(config.templates) do templates[i] = requests.load(path) end
    if config.ids then ids = assert(io.open(config.ids, "wb")) end
    samples = assert(io.open(config.wrong, "wb"))
end

function request()
    if not checked then
        checked = true
        return requests.fill(templates[1], config.first, config.first_ms)
    end
    local text = requests.fill(templates[sent % #templates + 1], config.first + sent, config.first_ms)
    sent = sent + 1
    if config.connections > 1 and sent <= config.connections then
        text = text:gsub("\r\n", "\r\nConnection: close\r\n", 1)
    end
    return text
end

local function holds(body, text)
    local found, at = 0, 1
    while true do
        local first, last = string.find(body, text, at, true)
        if not first then return found end
        found, at = found + 1, last + 1
    end
end

local function is_right(status, body)
    if status ~= 200 then return false end
    if config.expect == "count" then return holds(body, config.counted) == config.count end
    if config.expect == "empty" then return body == "{}" or body:find("^%s*{%s*}%s*$") ~= nil end
    local id = body:match('"run_id"%s*:%s*"([^"]+)"')
    if id then ids:write(id, "\n") end
    return id ~= nil
end

function response(status, headers, body)
    if is_right(status, body) then
        acknowledged = acknowledged + 1
        local now = now_s()
        if now > from and now <= deadline then in_window = in_window + 1 end
        return
    end
    -- FastTrackML says 408 on connections that are idle because we wait for the others: no answer to a request. Were
    -- it one, that request stays without an answer, which is an error too.
    if status == 408 then
        idle_closed = idle_closed + 1
        return
    end
    wrong = wrong + 1
    if wrong <= WRONG_SAMPLES then samples:write(status, " ", body:sub(1, 300):gsub("%s+", " "), "\n") end
end

-- wrk opens all connections in one burst, which one worker of a server with several would take whole: 20 clients do not
-- come like that. So the first request of each connection is sent alone, 25 ms after the one before, and closes the
-- connection; wrk opens it again, and the time measured starts when that is over. Returns milliseconds to wait.
local function ramp(now)
    if not from then
        from = now + (config.connections > 1 and (config.connections + 1) * RAMP_STEP_MS / 1000 or 0)
        deadline = from + config.seconds
    end
    if config.connections == 1 then return 0 end
    opened = opened + 1
    if opened <= config.connections then return (opened - 1) * RAMP_STEP_MS end
    return math.max(0, math.ceil((from - now) * 1000))
end

-- wrk asks before each request how long to wait. Past the deadline nothing more is sent, and when every request sent
-- has its answer wrk is interrupted: so what is acknowledged is known to the last request.
function delay()
    local now = now_s()
    if not from or now < from then return ramp(now) end
    if now < deadline then return 0 end
    if not drained and acknowledged + wrong == sent then
        drained = true
        ffi.C.kill(ffi.C.getpid(), SIGINT)
    end
    return AN_HOUR_MS
end

function done(summary, latency, _)
    local thread = threads[1]
    local errors = summary.errors
    io.write(string.format(
        'RESULT {"sent": %d, "acknowledged": %d, "in_window": %d, "wrong": %d, "idle_closed": %d, "drained": %s, "p50_us": %d, '
            .. '"p99_us": %d, "max_us": %d, "connect": %d, "read": %d, "write": %d, "timeout": %d}\n',
        thread:get("sent"), thread:get("acknowledged"), thread:get("in_window"), thread:get("wrong"),
        thread:get("idle_closed"), tostring(thread:get("drained")), latency:percentile(50), latency:percentile(99), latency.max,
        errors.connect, errors.read, errors.write, errors.timeout))
end
