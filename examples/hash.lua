-- rsp examples/hash.lua
--
-- Three caches, each with a part of the site: a path is always asked of the same one, so that no page is stored three
-- times. A cache more or less moves only the paths of that one. A page that everybody wants spreads by itself: a cache
-- with more than 1.25 times its share of the requests in flight passes further ones on. Try:
--
--   for i in 1 2 3; do curl -s http://127.0.0.1:8080/a; curl -s http://127.0.0.1:8080/b; done

rsp.listen "127.0.0.1:8080"

rsp.pool {
  name = "cache",
  servers = {
    { "127.0.0.1:6081", name = "cache1" }, -- the name decides which paths it has: it may move to another address
    { "127.0.0.1:6082", name = "cache2" },
    { "127.0.0.1:6083", name = "cache3", weight = 2 }, -- twice the memory, twice the paths
  },
  balance = "hash",
  hash_by = "path", -- or "header:Host", "cookie:user", "query:id", or function(req) return … end
}
