-- rsp test examples/hash.lua

local function caches(t, paths)
  local of = {}
  for i = 1, paths do of[i] = t:request("/page/" .. i).server end
  return of
end

rsp.test("a path is always asked of the same cache, and each cache has some", function(t)
  local first = caches(t, 60)
  t:equal(caches(t, 60), first)
  local seen = {}
  for _, cache in ipairs(first) do seen[cache] = (seen[cache] or 0) + 1 end
  t:ok(seen.cache1 and seen.cache2 and seen.cache3)
end)

rsp.test("without a cache only its own paths move", function(t)
  local before = caches(t, 60)
  t:server("cache/cache2", { up = false })
  for i, cache in ipairs(caches(t, 60)) do
    t:ok(cache ~= "cache2")
    if before[i] ~= "cache2" then t:equal(cache, before[i], "/page/" .. i) end
  end
end)
