-- rsp examples/classic.lua
--
-- The configuration of the original rsp, as its sampleconfig.lua had it: three strings, nothing else.
listenPort = "8000"
backendAddress = "127.0.0.1"
backendPort = "8888"
