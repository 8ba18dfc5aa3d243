-- The server with the fewest requests in flight:
--   rsp.pool { servers = { … }, balance = require "rsp.least_busy" () }
-- Among equals they take turns: the one whose last turn is longest ago is next.
return function()
  local turn, last = 0, {} -- last[name]: the turn in which the server was picked

  return function(_, servers)
    local pick, fewest, oldest
    for i = 1, #servers do
      local busy, picked = servers[i].in_flight, last[servers[i].name] or 0
      if not pick or busy < fewest or (busy == fewest and picked < oldest) then
        pick, fewest, oldest = servers[i], busy, picked
      end
    end
    if pick then
      turn = turn + 1
      last[pick.name] = turn
    end
    return pick
  end
end
