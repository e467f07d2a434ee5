-- wrk script for scripts/bench serve. Prints the number of requests, requests/s, how many failed (no response, or a status of
-- 400 or more), and bytes for each response, headers included.
--
--   wrk … -s styles.lua http://HOST:PORT/products/1/styles     this URL repeatedly
--   wrk … -s styles.lua http://HOST:PORT -- PRODUCTS           styles of random products, ids 1 to PRODUCTS

local threads = 0

function setup(thread)
   threads = threads + 1
   thread:set("number", threads)
end

function init(args)
   local products = tonumber(args[1])
   if not products then return end -- without a function "request", wrk sends the same bytes and never calls Lua

   math.randomseed(os.time() * 64 + number) -- other products in every thread and every run
   -- Made once: putting a request together costs wrk more than sending it.
   local before, after = wrk.format("GET", "/products/@/styles"):match("^(.-)@(.*)$")
   function request()
      return before .. math.random(products) .. after
   end
end

function done(summary)
   local errors = summary.errors
   local failed = errors.status + errors.connect + errors.read + errors.write + errors.timeout
   local bytes = summary.bytes / math.max(summary.requests, 1)
   print(summary.requests, summary.requests / summary.duration * 1e6, failed, bytes)
end
