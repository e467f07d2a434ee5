-- wrk script for scripts/bench serve, which reads the line that it prints:
--
--   requests/s   50th and 99th percentile in milliseconds   failed requests (no 2xx or 3xx response)   bytes for each response
--
--   wrk … -s styles.lua http://HOST:PORT/products/1/styles           this URL repeatedly
--   wrk … -s styles.lua http://HOST:PORT -- PRODUCTS                 styles of random products, ids 1 to PRODUCTS

local threads = 0

function setup(thread)
   threads = threads + 1
   thread:set("number", threads)
end

function init(args)
   local products = tonumber(args[1])
   if not products then return end -- without a function "request", wrk sends the same bytes and never calls Lua

   math.randomseed(os.time() * 64 + number) -- every thread and every run asks for others
   -- Made once: putting a request together costs wrk more than sending it.
   local before, after = wrk.format("GET", "/products/@/styles"):match("^(.-)@(.*)$")
   function request()
      return before .. math.random(products) .. after
   end
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format("%.0f %.3f %.3f %d %.0f\n",
      summary.requests / summary.duration * 1e6,
      latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
      errors.status + errors.connect + errors.read + errors.write + errors.timeout,
      summary.bytes / math.max(summary.requests, 1)))
end
