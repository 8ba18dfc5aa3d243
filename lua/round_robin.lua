-- Each server in its turn:  rsp.pool { servers = { … }, balance = require "rsp.round_robin" () }
--
-- The server whose last turn is longest ago is next, the first of the pool among equals. So the order holds when
-- `servers` lacks one for a while (it is down, or failed for this very request), where a plain counter would slip.
return function()
  local turn, last = 0, {} -- last[name]: the turn in which the server was picked

  return function(_, servers)
    local pick, oldest
    for i = 1, #servers do
      local picked = last[servers[i].name] or 0
      if not oldest or picked < oldest then
        pick, oldest = servers[i], picked
      end
    end
    if pick then
      turn = turn + 1
      last[pick.name] = turn
    end
    return pick
  end
end
