-- wrk script for scripts/bench serve: the styles of random products, ids 1 to PRODUCTS.
--
--   wrk … -s styles.lua http://HOST:PORT -- PRODUCTS

local threads = 0

function setup(thread)
   threads = threads + 1
   thread:set("number", threads)
end

function init(args)
   products = tonumber(args[1])
   math.randomseed(os.time() * 64 + number) -- other products in every thread and every run
   -- Made once: putting a request together costs wrk more than sending it.
   before, after = wrk.format("GET", "/products/@/styles"):match("^(.-)@(.*)$")
end

function request()
   return before .. math.random(products) .. after
end
