-- wrk script for test_attacks.py. Prints requests/s, failed requests (no 2xx or 3xx response), and the duration in s.
--
--   pages            the largest pages
--   styles PRODUCTS  styles of random products
--   mixed PRODUCTS   all kinds of responses, in all encodings

local what, products
local documents = { "", "/styles", "/related", "/profile" }
local codings = { "identity", "gzip", "br", "zstd" }

function init(args)
   what, products = args[1], tonumber(args[2])
   math.randomseed(os.time())
end

function request()
   local page = "/products?page=" .. math.random(50) .. "&count=" .. (what == "pages" and 1000 or math.random(1000))
   local product = "/products/" .. math.random(products or 1)
   if what == "pages" then
      return wrk.format("GET", page)
   elseif what == "styles" then
      return wrk.format("GET", product .. "/styles")
   end
   local target = math.random(20) == 1 and page or product .. documents[math.random(4)]
   return wrk.format("GET", target, { Host = "test", ["Accept-Encoding"] = codings[math.random(4)] })
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format("%.1f %d %.3f\n",
      summary.requests / summary.duration * 1e6,
      errors.status + errors.connect + errors.read + errors.write + errors.timeout,
      summary.duration / 1e6))
end
