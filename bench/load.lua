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
for name, value in (os.getenv("HEADERS") or ""):gmatch("([^:\n]+): ([^\n]*)") do
  wrk.headers[name] = value
end
wrk.body = os.getenv("BODY")

local seconds = tonumber(os.getenv("SECONDS"))
local last
local threads = {}
sent = 0  -- of a thread; not local, for `done` runs in another state and asks for it

function setup(thread)
  table.insert(threads, thread)
end

function delay()
  local at = now()
  last = last or at + seconds
  if at >= last then return NEVER end
  sent = sent + 1
  return 0
end

function done(summary, latency, requests)
  local errors, begun = summary.errors, 0
  for _, thread in ipairs(threads) do begun = begun + thread:get("sent") end
  io.write(string.format(
    'FIGURES {"requests":%d,"p50":%d,"p99":%d,"refused":%d,"broken":%d,"sent":%d}\n',
    summary.requests, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write + errors.timeout, begun))
end
