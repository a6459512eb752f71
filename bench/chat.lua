-- One short chat request, over and over. KEY, MODEL and PROMPT come from the environment; the figures go out as one JSON line.
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.headers["authorization"] = "Bearer " .. os.getenv("KEY")
wrk.body = '{"model":"' .. os.getenv("MODEL") .. '","max_tokens":32,"messages":[{"role":"user","content":"' .. os.getenv("PROMPT") .. '"}]}'

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'FIGURES {"requests":%d,"microseconds":%d,"p50":%d,"p99":%d,"refused":%d,"broken":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
