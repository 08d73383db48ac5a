-- A request as a fixed-length byte buffer with slots that change from request to request.
--
-- The bench writes one file per run: a whole HTTP request in which runs of control characters mark the slots:
--   10 bytes \1  a nonce that no other request has (digits)
--   13 bytes \2  a timestamp in milliseconds
--    7 bytes \3  the request's number
-- Filling copies a few bytes per slot into the buffer, so that a body of 1,000 metrics costs tens of microseconds:
-- the load generator must not be what is measured. bench/request.py fills the same templates to know what was sent.

local ffi = require "ffi"

local M = {}

local function offsets(text, mark, width)
    local found, at = {}, 1
    local pattern = string.rep(mark, width)
    while true do
        local first = string.find(text, pattern, at, true)
        if not first then break end
        found[#found + 1] = first - 1
        at = first + width
    end
    local array = ffi.new("int32_t[?]", #found + 1)
    for i, offset in ipairs(found) do array[i - 1] = offset end
    return array, #found
end

function M.load(path)
    local file = assert(io.open(path, "rb"))
    local text = file:read("*a")
    file:close()
    local buffer = ffi.new("uint8_t[?]", #text + 1)
    ffi.copy(buffer, text, #text)
    local template = { buffer = buffer, length = #text }
    template.nonces, template.nonce_count = offsets(text, "\1", 10)
    template.timestamps, template.timestamp_count = offsets(text, "\2", 13)
    template.numbers, template.number_count = offsets(text, "\3", 7)
    return template
end

-- The same two lines are in bench/request.py. Every number below 9,800,000 gives another nonce.
function M.nonce(n)
    local low = (n * 61803) % 100000
    local high = (n * 31415 + math.floor(n / 100000) * 1009) % 100000
    return string.format("%05d%05d", high, low)
end

function M.fill(template, n, first_ms)
    local buffer = template.buffer
    local nonce, timestamp, number = M.nonce(n), string.format("%013d", first_ms + n), string.format("%07d", n)
    for i = 0, template.nonce_count - 1 do ffi.copy(buffer + template.nonces[i], nonce, 10) end
    for i = 0, template.timestamp_count - 1 do ffi.copy(buffer + template.timestamps[i], timestamp, 13) end
    for i = 0, template.number_count - 1 do ffi.copy(buffer + template.numbers[i], number, 7) end
    return ffi.string(buffer, template.length)
end

return M
