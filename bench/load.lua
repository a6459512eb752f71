-- The same POST over and over. BODY and KEY come from the environment; the figures go out as one JSON line.
-- Nothing is sent after SECONDS: what is under way then ends in the time that wrk still runs, so that no call is cut.
local ffi = require("ffi")
ffi.cdef [[ typedef struct { long s; long ns; } when; int clock_gettime(int, when *); ]]
local clock = ffi.new("when[1]")
local NEVER = 3600 * 1000

local function now()
  ffi.C.clock_gettime(1, clock)
  return tonumber(clock[0].s) + tonumber(clock[0].ns) * 1e-9
end

wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.headers["authorization"] = "Bearer " .. os.getenv("KEY")
wrk.body = os.getenv("BODY")

local seconds = tonumber(os.getenv("SECONDS"))
local last

function delay()
  local at = now()
  last = last or at + seconds
  return at < last and 0 or NEVER
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'FIGURES {"requests":%d,"p50":%d,"p99":%d,"refused":%d,"broken":%d}\n',
    summary.requests, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
