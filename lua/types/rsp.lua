---@meta rsp
-- Definitions of what an rsp config may say, for the Lua language server: rsp types > rsp.lua, and name that file
-- in the editor's `workspace.library`. They are those of the very version that printed them.

---A time: "500ms", "5s", "2m", "1h", or a number of seconds; from 1ms to 24h.
---@alias rsp.Time string|number

---Bytes: a number, "16k", "1m" or "1g".
---@alias rsp.Size string|integer

---An address: "127.0.0.1:8080", "[::1]:8080", "name:8080" or "unix:/run/app.sock"; of a server also
---"srv:_http._tcp.app.internal" and "https://app.internal:8443", of a listener "systemd:name" (sockets that systemd has opened). Names of listeners are resolved when the config is loaded, those of servers while rsp runs.
---@alias rsp.Address string

---A response status, a range, or several: 200, "200-399", "200,204".
---@alias rsp.Statuses integer|string|(integer|string)[]

---@class rsp
rsp = {}

---Where to accept clients. Call it once for each address. Port 0 is any free one; "[::]:80" is IPv6 only.
---@param listener rsp.Address|rsp.Listener
function rsp.listen(listener) end

---@class rsp.Listener
---@field [1] rsp.Address where clients connect to
---@field name? string its identity in logs and for session tickets; the address without it
---@field tls? rsp.Tls clients speak TLS
---@field redirect? "https" every request is answered with a redirect to the same URL with https
---@field sni? rsp.Sni finds the pool for a connection whose TLS passes through, by the name in its ClientHello; nil refuses it
---@field proxy_protocol? boolean every connection begins with a PROXY header (version 1 or 2) that says who the client is; only addresses in `trusted` may connect
---@field backlog? integer connections that may wait for being accepted: 4096, and no more than the kernel's net.core.somaxconn
---@field defer_accept? boolean TCP: a connection is accepted when its first bytes are there (TCP_DEFER_ACCEPT); false without it
---@field receive_buffer? rsp.Size TCP: the kernel's buffer for what clients send (SO_RCVBUF); as the kernel sees fit without it
---@field send_buffer? rsp.Size TCP: the kernel's buffer for what goes to clients (SO_SNDBUF); as the kernel sees fit without it
---@field busy_poll? integer TCP: microseconds a read looks at the network card itself (SO_BUSY_POLL); none without it

---TLS with the clients of a listener. Paths are relative to the directory of the config file.
---@class rsp.Tls
---@field cert? string PEM: the certificate and those of the authorities between it and the root; this, `certs` or `dir`
---@field key? string PEM: its key; the file of `cert` without it
---@field ocsp? string DER: an OCSP response that is sent with it
---@field certs? rsp.Certificate[] several; the client's SNI chooses, the first is the default
---@field dir? string all of a directory: NAME.pem (certificate and key), NAME.crt with NAME.key; the first by name is the default
---@field min_version? "1.2"|"1.3" the oldest version that clients may use: "1.2"
---@field client_ca? string PEM: authorities whose certificates clients must show
---@field client_auth? "required"|"optional" with `client_ca`: whether clients without a certificate pass; "required" without it
---@field client_header? string the header in which servers find the subject of the client's certificate
---@field tickets? string keys that seal sessions, 48 or 80 bytes in base64 a line; random ones without it
---@field watch? boolean certificates are read again when their files change; false without it
---@field keylog? boolean secrets of sessions are written to the file of SSLKEYLOGFILE; false without it
---@field hsts? integer seconds of Strict-Transport-Security; not sent without it

---@class rsp.Certificate
---@field cert string PEM: the certificate and those of the authorities between it and the root
---@field key? string PEM: its key; the file of `cert` without it
---@field ocsp? string DER: an OCSP response that is sent with it

---A group of servers that can stand in for each other.
---@param pool rsp.PoolOptions
---@return rsp.Pool
function rsp.pool(pool) end

---@class rsp.PoolOptions
---@field name? string its identity in logs; "pool1", "pool2" … in order without it
---@field servers (rsp.Address|rsp.ServerOptions)[] at least one
---@field balance? "round_robin"|"least_connections"|"least_latency"|"random"|"first"|"source_hash"|"hash"|rsp.Balance which server is next; "round_robin" without it
---@field hash_by? string|rsp.HashBy what `balance = "hash"` goes by: "path", "header:NAME", "cookie:NAME", "query:NAME" or a function
---@field slow_start? rsp.Time how long the share of a server that came back grows to the whole; at once without it
---@field max_idle? integer idle connections that each worker keeps to a server: 64
---@field min_idle? integer connections that each worker opens to a server before they are needed: 0
---@field sticky? rsp.Sticky requests of one browser stay with one server by a cookie; off without it
---@field health? "tcp"|rsp.Health checks of every server; off without it
---@field eject? boolean|rsp.Eject servers that fail real requests are left out for a while; `false`: never
---@field retries? integer other servers that a request may be tried on: 2
---@field retry_budget? number retries as a share of the requests of the last 10 s, plus 3 a second: 0.2
---@field queue? rsp.Queue requests that wait for a server below its max_connections
---@field abort_on_close? boolean a client that ends its side while it waits for the response has left: the request is given up and the server's connection closed; default `false`: it is still answered
---@field send_proxy? "v1"|"v2" connections to the servers begin with a PROXY header that says who the client is; they are not shared between clients
---@field strict? boolean responses with bare line feeds, a status of 600 or more and the like are refused (502) instead of mended; false without it
---@field receive_buffer? rsp.Size the kernel's buffer for what a server sends on a TCP connection (SO_RCVBUF); as the kernel sees fit without it
---@field send_buffer? rsp.Size the kernel's buffer for what goes to a server (SO_SNDBUF); as the kernel sees fit without it
---@field busy_poll? integer microseconds a read looks at the network card itself (SO_BUSY_POLL); none without it
---@field buffer_request? rsp.Size a request's body is held until it is whole or so large, before a server is asked; `req:body()` reads as much; off without it
---@field buffer_response? rsp.Size so much of a response is read from a server before its client takes it, which frees the server sooner; off without it
---@field hedge? rsp.Hedge a request whose server takes long is sent to a second one too; off without it
---@field mirror? rsp.Mirror a share of the requests is copied to another pool; off without it
---@field trailers? boolean trailers of requests go on to the servers, those that are safe; false without it: they end at rsp
---@field timeouts? rsp.PoolTimeouts how long to wait for its servers

---@class rsp.ServerOptions
---@field [1] rsp.Address where it listens
---@field name? string its identity in logs and for handlers; the address without it
---@field weight? integer its share of the requests, from 0 to 256: 1; 0: only sticky requests and those that run
---@field max_connections? integer requests that it may have at one time, of all workers; no limit without it
---@field backup? boolean used only while no other server is available; false without it
---@field disabled? boolean not used until an operator enables it; false without it
---@field sni? string of https://: the name that is asked for and that the certificate must be for; the address's host without it
---@field ca? string of https://: PEM of the authorities that its certificate is verified by; those of the system without it
---@field verify? boolean of https://: false believes any certificate; true without it
---@field cert? string of https://: PEM of a certificate that is shown to the server
---@field key? string of https://: PEM of its key; the file of `cert` without it
---@field resolve? rsp.Time how often its name is resolved again; when the record expires without it

---Sticky sessions.
---@class rsp.Sticky
---@field cookie string the cookie's name
---@field secret string signs the cookie's value
---@field max_age? rsp.Time how long browsers keep the cookie; until they are closed without it

---Checks of every server of a pool.
---@class rsp.Health
---@field path? string what is asked for: "/"
---@field interval? rsp.Time between two checks: 2s
---@field timeout? rsp.Time for one check: 1s
---@field rise? integer checks in a row that have to pass until a server is up again: 2
---@field fall? integer checks in a row that have to fail until it is down: 3
---@field status? rsp.Statuses those that pass: "200-399"
---@field body? string a text that the body of the response has to contain; any body passes without it
---@field host? string the `Host` of the request; the server's address without it
---@field method? string "GET" without it
---@field port? integer another port of the server's address

---Ejection of servers that fail real requests.
---@class rsp.Eject
---@field failures? integer failures in a row (connects, closes without a response, response timeouts, `status`): 3
---@field error_rate? number the share of failures in the last 10 s that is too much, from 20 requests on; not looked at without it
---@field status? rsp.Statuses responses that are failures too, from 500 to 599; none without it
---@field pause? rsp.Time how long a server is left out the first time, doubling up to 30s: 1s
---@field most? number the share of the pool's servers that may be left out: 0.5

---Requests that wait for a server.
---@class rsp.Queue
---@field most? integer how many: 1000; 0: none waits
---@field timeout? rsp.Time how long each: 5s

---Second tries of requests whose server takes long.
---@class rsp.Hedge
---@field after? "p95"|rsp.Time how long the first server may take: as long as 95 of 100 responses without it
---@field budget? number second tries as a share of the pool's requests of the last 10 s: 0.02

---Copies of requests for another pool, whose responses nobody gets.
---@class rsp.Mirror
---@field pool string|rsp.Pool where they go
---@field share? number the share of the requests that is copied: 1

---How long to wait for the servers of a pool.
---@class rsp.PoolTimeouts
---@field connect? rsp.Time until a connection is there: 3s
---@field response? rsp.Time until the first byte of a response: 60s
---@field gap? rsp.Time between two reads of a response: 60s
---@field idle? rsp.Time a connection kept for the next request: 4s

---Picks one of `servers`. Called again for a retry, without the servers that failed.
---@alias rsp.Balance fun(req: rsp.Request, servers: rsp.Server[]): rsp.Server

---Returns what requests of one server have in common; nil where there is nothing.
---@alias rsp.HashBy fun(req: rsp.Request): string?

---A pool, as `rsp.pool` returned it.
---@class rsp.Pool
---@field name string its identity in logs and for handlers

---A server that a balance function may pick.
---@class rsp.Server
---@field name string its name in the config; its address without one
---@field address string as written in the config; of a name the address that it has now
---@field in_flight integer requests it has now, of all workers
---@field weight integer its weight in the config
---@field up boolean false where only ejected servers are left
---@field latency number? moving average of the time to the first byte of its responses, in seconds; nil before the first one

---Called with the name in a ClientHello, in lower case and without a dot at its end; nil if there is none. Returns as
---`on_request` does, but no answer; nil refuses the connection.
---@alias rsp.Sni fun(name: string?): rsp.Pool|string|nil, rsp.Server|string|nil, boolean?

---Where a request goes: a pool or its name; a pool and one server of it (or its name), no other of which is tried unless
---`true` follows; an answer. `nil` takes the only pool.
---@alias rsp.OnRequest fun(req: rsp.Request): rsp.Pool|string|rsp.Answer|nil, rsp.Server|string|nil, boolean?

---Called for each request. At most one.
---@param f rsp.OnRequest
function rsp.on_request(f) end

---Called for each final response of a server, before it goes to the client. At most one.
---@param f fun(req: rsp.Request, res: rsp.Response)
function rsp.on_response(f) end

---Called for each answer that rsp makes itself or the script made, before it goes to the client: not where no request
---could be read. Where it fails, the answer stays as it was. At most one.
---@param f fun(req: rsp.Request, res: rsp.Response)
function rsp.on_answer(f) end

---Called for each request that has ended and has a line in an access log with `format = "json"`: what it sets in `log` is
---added to the line. `res` is nil where there was no response; nothing of `req` and `res` can be changed. At most one.
---@param f fun(req: rsp.Request, res: rsp.Response?, log: rsp.Log)
function rsp.on_log(f) end

---Called for each new connection before anything of it is read (but a PROXY header): `false` closes it, and so does an
---error. At most one.
---@param f fun(conn: rsp.Connection): boolean?
function rsp.on_connect(f) end

---Called once in each worker, before its first request and after each reload. At most one.
---@param f fun()
function rsp.on_start(f) end

---Calls `f` again and again in each worker, from 100ms to 24h; a reload ends it. Up to 100 of them.
---@param period rsp.Time
---@param f fun()
function rsp.every(period, f) end

---Fields of a line in the access log: names of letters, digits and `_-.`, none that every line has; at most 32. Texts are
---cut after 1024 bytes.
---@class rsp.Log
---@field [string] string|number|boolean|nil a field of the line: a name of letters, digits and _-.

---A connection that begins.
---@class rsp.Connection
---@field client_ip string the client's address, of a PROXY header where there is one; "unix:" on a unix socket
---@field listener string the name of its listener

---What was agreed on with a client over TLS.
---@class rsp.TlsInfo
---@field version "1.2"|"1.3" of TLS
---@field cipher string the cipher suite by its IANA name
---@field sni string? the name that the client asked for
---@field alpn string? "http/1.1", or nil if the client offered nothing
---@field client_subject string? the subject of the client's certificate
---@field client_verified boolean whether it showed one: it was verified

---A request. It can be used until its handler returns.
---@class rsp.Request
---@field method string as sent: "GET"
---@field target string as sent: path and query
---@field path string without the query; can be set: visible ASCII, begins with "/"
---@field query string? behind the "?"; can be set, nil removes it
---@field host string lower case, without the port and without a dot at its end; can be set, with a port too
---@field scheme string "http", or "https" where a trusted proxy says so in X-Forwarded-Proto
---@field version string "1.0" or "1.1"
---@field tls rsp.TlsInfo? what was agreed on with the client; nil without TLS
---@field client_ip string behind trusted proxies what they say (PROXY header, X-Forwarded-For): the last address that is not trusted; "unix:" for a client on a unix socket
---@field client_port integer 0 where it is not known: X-Forwarded-For seldom has one, a unix socket never
---@field id string as sent in X-Request-ID
---@field listener string the name of the listener that it came in at
---@field headers rsp.Headers as they go to the server
---@field cookies table<string, string?> can be set, nil removes
---@field args table<string, string?> the query's arguments, read only
local Request = {}

---The request's body, for which the handler waits: in `on_request`, up to the largest `buffer_request` of the pools. The
---server gets it all the same.
---@return string? body nil if it is larger, or no memory is left
---@return string? reason "too large", "no memory"
function Request:body() end

---The headers of a request or response. Names ignore case. `headers[name]` gives the first value; assigning a string or a
---list of strings replaces all values there are, nil removes them; all of these also take away what a client sent with `_`
---for `-`. To keep the values of the server (`Set-Cookie`), `add`.
---`pairs` gives names and values in order.
---@class rsp.Headers
---@field [string] string? the first value; nil if there is none
local Headers = {}

---Adds one more header of this name: `res.headers:add("Set-Cookie", "seen=1; Path=/")`.
---@param name string
---@param value string
function Headers:add(name, value) end

---All values of this name in order, empty where there is none.
---@param name string
---@return string[]
function Headers:all(name) end

---@class rsp.Response
---@field status integer can be set to 200 to 599, but not to or from 204, 205 and 304
---@field reason string the phrase behind the status, as the server sent it
---@field headers rsp.Headers as they go to the client
---@field cookies table<string, string|rsp.Cookie|nil> what Set-Cookie sets; assigning adds one in place of those of its name, nil removes them

---A cookie for the client: `res.cookies.canary = { "1", max_age = "1h", path = "/" }`.
---@class rsp.Cookie
---@field [1] string its value: visible ASCII without blanks, quotes, comma, semicolon and backslash
---@field max_age? integer|string seconds or a time such as "1h"; 0 deletes it; until the browser is closed without it
---@field expires? integer seconds since 1970, as os.time() gives them
---@field path? string below which it is sent back; the directory of the request without it
---@field domain? string sent back to all below this name; only to the same host without it
---@field same_site? "strict"|"lax"|"none" whether it is sent along from other sites; "none" needs `secure`
---@field secure? boolean sent back over https only
---@field http_only? boolean hidden from scripts of the page
---@field partitioned? boolean kept apart for each site that embeds this one; needs `secure`

---An answer of rsp's own, made by `rsp.respond` or `rsp.redirect`.
---@class rsp.Answer

---@class rsp.AnswerOptions
---@field status? integer 200 without it
---@field headers? table<string, string|number|string[]> a list for a header that stands several times
---@field body? string empty without it

---Answers the request without asking a server: `return rsp.respond { status = 404 }`.
---@param answer rsp.AnswerOptions
---@return rsp.Answer
function rsp.respond(answer) end

---Sends the client elsewhere: `return rsp.redirect("https://example.com" .. req.target)`.
---@param url string
---@param status? integer 302 without it
---@return rsp.Answer
function rsp.redirect(url, status) end

---Closes the client's connection without an answer: `return rsp.abort()`. The log says 444.
---@return rsp.Answer
function rsp.abort() end

---Values that all workers share, kept over reloads and handed over in an upgrade. When there are too many, expired ones
---go first, then those that were not used for the longest time.
---@param name string two calls with one name are one thing
---@param options? rsp.SharedOptions
---@return rsp.Shared
function rsp.shared(name, options) end

---@class rsp.SharedOptions
---@field entries? integer how many keys: 10000
---@field memory? rsp.Size for all of them, from 128k: 16m

---Keys are strings of at most 1 KiB.
---@class rsp.Shared
local Shared = {}

---The value of a key, nil where there is none.
---@param key string
---@return string|number|boolean|nil
function Shared:get(key) end

---Sets the value of a key.
---@param key string
---@param value string|number|boolean at most 64 KiB
---@param ttl? rsp.Time how long it is kept; until there are too many without it
---@return true
function Shared:set(key, value, ttl) end

---Sets a value where there is none.
---@param key string
---@param value string|number|boolean
---@param ttl? rsp.Time
---@return boolean set false: there is one
function Shared:add(key, value, ttl) end

---Adds to a number, or begins with it. Integers stay integers.
---@param key string
---@param by? number 1 without it
---@param ttl? rsp.Time from the first time on
---@return number
function Shared:incr(key, by, ttl) end

---Removes a key.
---@param key string
---@return boolean deleted false: there was none
function Shared:delete(key) end

---A limit on requests by key, for all workers together.
---@param options rsp.RateOptions
---@return rsp.Rate
function rsp.rate(options) end

---@class rsp.RateOptions
---@field name? string "rate1", "rate2" … in order without it; a limit keeps what it knows over a reload by its name
---@field rate integer how many requests
---@field per? rsp.Time in this time: 1s
---@field burst? integer how many pass at once: `rate`
---@field entries? integer how many keys are known at one time: 100000
---@field dry_run? boolean nothing is refused, only counted in `rsp_limit_refused_total`; false without it

---@class rsp.Rate
local Rate = {}

---Takes one request of this key.
---@param key string
---@return boolean allowed
---@return number? wait seconds until it would be
function Rate:allow(key) end

---Sets `RateLimit`, and `Retry-After` where the next request would be refused; takes nothing. Of a response, or of a
---table for `rsp.respond`.
---@param res rsp.Response|rsp.AnswerOptions
---@param key string
function Rate:headers(res, key) end

---A limit on requests that run at one time, by key, for all workers together.
---@param options rsp.ConcurrencyOptions
---@return rsp.Concurrency
function rsp.concurrency(options) end

---@class rsp.ConcurrencyOptions
---@field name? string "concurrency1", "concurrency2" … in order without it
---@field most integer how many of one key

---@class rsp.Concurrency
local Concurrency = {}

---Takes a place for this request until it ends, however it ends.
---@param req rsp.Request
---@param key string
---@return boolean entered false: all places are taken
function Concurrency:enter(req, key) end

---Shares of the requests: `rsp.split { { web, 95 }, { canary, 5 }, by = "client_ip" }`.
---@param options rsp.SplitOptions
---@return rsp.Split
function rsp.split(options) end

---@class rsp.SplitOptions
---@field [integer] { [1]: rsp.Pool|string, [2]: integer } a pool and its weight
---@field by? string|rsp.HashBy "client_ip", "host", "path", "header:NAME", "cookie:NAME", "query:NAME" or a function: requests with one key go one way; without it, and without a key, they take turns
---@field name? string splits of different names choose different clients; "split1", "split2" … in order without it

---@class rsp.Split
local Split = {}

---The choice for this request.
---@param req rsp.Request
---@return rsp.Pool|string
function Split:pick(req) end

---A set of networks and addresses: `rsp.cidr { "10.0.0.0/8", "::1" }`.
---@param networks string[]
---@return rsp.Cidr
function rsp.cidr(networks) end

---@class rsp.Cidr
local Cidr = {}

---Whether the address is in one of the networks.
---@param ip string
---@return boolean
function Cidr:has(ip) end

---A file of lines `key value`, kept outside of the script's memory, with comments from "#" on. It is read again when it
---changes; one that is wrong is logged and not used.
---@param file string relative to the directory of the config file
---@param options? rsp.MapOptions
---@return rsp.Map
function rsp.map(file, options) end

---@class rsp.MapOptions
---@field kind? "exact"|"prefix"|"suffix"|"cidr" how keys are compared, the longest match wins: "exact"

---@class rsp.Map
local Map = {}

---The value of a key, nil where there is none.
---@param key string
---@return string?
function Map:get(key) end

---Users and passwords of a file as `htpasswd` writes it, which is read again when it changes.
---@param file string relative to the directory of the config file
---@return rsp.BasicAuth
function rsp.basic_auth(file) end

---@class rsp.BasicAuth
local BasicAuth = {}

---The user that the request's `Authorization` names, if the password is right. The handler may have to wait for that,
---where `rsp.sleep` may.
---@param req rsp.Request
---@return string? user
---@return rsp.Answer? answer to return where there is no user: a 401, or a 503 while too many passwords are being checked
function BasicAuth:check(req) end

---A regular expression in the syntax of Rust's regex crate, which never backtracks.
---@param pattern string
---@return rsp.Regex
function rsp.regex(pattern) end

---@class rsp.Regex
local Regex = {}

---As `string.match`: the captures, or the whole match where there are none; nil where nothing matches.
---@param text string
---@return string? ...
function Regex:match(text) end

---As `string.gsub`, with a string to put there: "%1" is a capture, "%0" the match, "%%" a percent sign.
---@param text string
---@param replacement string
---@param most? integer all without it
---@return string, integer
function Regex:gsub(text, replacement, most) end

---JSON. A table with the keys 1 to n is a list, an empty one an object; a list that was decoded stays one when it is
---empty. Fields are written in the order of their names.
---@class rsp.Json
---@field null any what stands for JSON's null
rsp.json = {}

---Raises what JSON cannot say: functions, gaps in lists, tables in themselves.
---@param value any
---@return string
function rsp.json.encode(value) end

---Reads JSON.
---@param text string
---@return any value nil if the text is no JSON
---@return string? reason
function rsp.json.decode(text) end

---Marks a table as a list, also while it is empty: `rsp.json.array {}`.
---@generic T
---@param list T[]
---@return T[]
function rsp.json.array(list) end

---@class rsp.Coding
---@field encode fun(bytes: string): string never fails
---@field decode fun(text: string): string?, string? nil and a reason for what is none

---Written with "+/" and padding; both alphabets are read, with padding or without it.
---@type rsp.Coding
rsp.base64 = {}

---@type rsp.Coding
rsp.hex = {}

---`%XX` for all but letters, digits and "-._~"; "+" is no blank.
---@type rsp.Coding
rsp.url = {}

---SHA-256.
---@param text string
---@return string hash in lower-case hex
function rsp.sha256(text) end

---HMAC with SHA-256 (RFC 2104).
---@param key string
---@param text string
---@return string code in lower-case hex
function rsp.hmac_sha256(key, text) end

---Compares two secrets in a time that does not say where they differ.
---@param a string
---@param b string
---@return boolean
function rsp.equal(a, b) end

---Random bytes of the system.
---@param bytes integer at most 65536
---@return string
function rsp.random(bytes) end

---Seconds since 1970, with a fraction.
---@return number
function rsp.now() end

---Writes a line to rsp's log.
---@param level "error"|"warn"|"info"|"debug"
---@param text string
function rsp.log(level, text) end

---Settings of the whole program. At most one call.
---@param settings rsp.Settings
function rsp.settings(settings) end

---@class rsp.Settings
---@field workers? integer|"auto" threads that serve, each with its own event loop, its own run of this script and its own share of the connections: 1; "auto": one a core
---@field max_connections? integer client connections at one time: 10000
---@field max_connections_per_client? integer connections of one client (IPv4 address, IPv6 /64) at one time; others are closed at once; no limit without it
---@field new_connections_per_client? integer new connections of one client a second; others are closed at once; no limit without it
---@field buffer_memory? rsp.Size for bodies that are held (`buffer_request`) or read ahead (`buffer_response`), of all workers: "256m"; bodies that find none stream
---@field max_body? rsp.Size the largest request body; a larger one is answered 413; no limit without it
---@field max_head? rsp.Size the longest request head, from "1k" to "64k": "16k"; a response head may be twice as long
---@field max_fields? integer the most fields of a request, from 10 to 1000: 100; a response may have twice as many
---@field min_request_rate? rsp.Size bytes a second that a client has to send of a request body, on average over `timeouts.rate`: 100; 0 for none
---@field min_response_rate? rsp.Size bytes a second that a client has to take of a response, over `timeouts.rate` or `timeouts.write`, the longer: 50; 0 for none
---@field access_log? string|rsp.AccessLog "-" for stdout, a path, "syslog:/dev/log" or "syslog:udp:10.0.0.1:514"; off without it
---@field trusted? string[] networks whose forwarding headers and PROXY headers are believed: { "10.0.0.0/8" }; "unix:" for whoever connects to a unix socket of rsp
---@field fallback? rsp.Pool|string where requests go whose handler failed
---@field drain_timeout? rsp.Time how long running requests and WebSockets may take to end at a stop: 30s
---@field acme_challenge_dir? string where files answer ACME challenges (HTTP-01): the tokens' directory, or its root
---@field drain_delay? rsp.Time how long rsp goes on serving after it was told to stop, so that others notice: 0
---@field upgrade_drain_timeout? rsp.Time as `drain_timeout`, for a process that a new binary replaces; `drain_timeout` without it
---@field admin? string|rsp.Admin the address of /ready, /live, /metrics and /api: "127.0.0.1:9180"; off without it
---@field control? string|rsp.Control the unix socket for commands (rsp ctl): "/run/rsp/control.sock"; off without it
---@field metrics? rsp.Metrics what /metrics tells besides the rest
---@field user? string|integer who rsp runs as once everything is open (name or number): whoever started it without it
---@field group? string|integer the group of `user`: that user's own without it
---@field resolver? string the name server that is asked for the names of servers: "127.0.0.1:53"; those of /etc/resolv.conf without it
---@field splice? boolean|integer|string bodies of known length pass through the kernel alone (splice(2)) from this many bytes left; default `"64k"`, `false`: never
---@field upgrades? string[] protocols that clients may switch to with `Upgrade`: { "websocket" }; docker's "tcp" is another
---@field trace? boolean a request without a valid `traceparent` gets one, and the id of its trace as its own: false
---@field via? string the name to add to `Via`; none is added without it
---@field timeouts? rsp.Timeouts how long to wait for clients
---@field script? rsp.Script what a script may use, and what becomes of its failures

---Waits. In `on_request`, `on_response`, `on_start` and functions of `rsp.every`; others go on meanwhile.
---@param time rsp.Time up to 60s, which is also the most that a handler waits in all
function rsp.sleep(time) end

---Sends a request to a pool, as rsp sends those of clients, and waits for the response. Where `rsp.sleep` may wait.
---@param request rsp.Fetch
---@return rsp.Fetched? response nil if there is none
---@return string? reason "timeout", "refused", "too large" …
function rsp.fetch(request) end

---@class rsp.Fetch
---@field pool rsp.Pool|string whose balancing, TLS, timeouts and retries are used
---@field method? string "GET"
---@field path? string with its query: "/"
---@field headers? table<string, string|number|string[]> without `Host` the server's own is sent
---@field body? string none without it
---@field timeout? rsp.Time for all of it: 5s
---@field max_body? rsp.Size the largest body of a response: 1m

---@class rsp.Fetched
---@field status integer of the response
---@field headers table<string, string> the first value of each; names ignore case
---@field body string all of it

---Looks up the addresses of a host, and waits for that. Where `rsp.sleep` may wait.
---@param name string
---@return string[]? addresses nil if there is none
---@return string? reason
function rsp.resolve(name) end

---@class rsp.Script
---@field time? rsp.Time CPU time of one call of a handler, from "1ms" to "1s": "10ms"
---@field memory? rsp.Size memory of the script's data in each worker, from "4m" to "1g": "64m"
---@field waiting? integer handlers of all workers that may wait at one time; the request of one more is answered 503: 10000
---@field globals? boolean handlers may set globals, which all requests of a worker share: false
---@field on_response_error? "answer"|"pass" what the client gets where on_response fails: a 500 ("answer"), or the server's response as it came ("pass")

---@class rsp.Admin
---@field [1] string the address
---@field token? string who sends it (`Authorization: Bearer`) may change the state of servers; nobody may without one
---@field hosts? string[] names under which it is asked for, besides its address and `localhost`

---@class rsp.Metrics
---@field hosts? integer so many of the busiest hosts are counted by name, up to 1000; none without it

---@class rsp.Control
---@field [1] string the path of the socket
---@field mode? string permissions of its file, as chmod writes them: "600"
---@field group? string the group of its file
---@field level? "admin"|"observe" what its commands may do: "admin"; "observe" only looks

---@class rsp.AccessLog
---@field [1]? string the path, "-" for stdout, "syslog:/dev/log" or "syslog:udp:10.0.0.1:514"
---@field path? string the same
---@field format? "combined"|"rsp"|"haproxy"|"json" "combined" without it; the others have pool, server, times and how it ended as well
---@field sample? number the share of the requests without an error that is logged, from 0 to 1: 1

---How long to wait for clients.
---@class rsp.Timeouts
---@field handshake? rsp.Time for the TLS handshake of a client: 10s
---@field head? rsp.Time for a whole request head, from its first byte: 10s
---@field body? rsp.Time between two reads of a request body: 30s
---@field idle? rsp.Time for the next request: 60s
---@field write? rsp.Time for the client to take what is written: 60s
---@field tunnel? rsp.Time without a byte in either direction of a tunnel: 1h
---@field rate? rsp.Time over which the minimum rates are averaged: 30s

---A test of the routing script, in a file `*_test.lua`: `rsp test CONFIG.lua` runs it. A config has no `rsp.test`.
---@param name string what holds, as a sentence
---@param f fun(t: rsp.Tester) fails where it raises
function rsp.test(name, f) end

---A site without sockets, on a clock of its own, made anew for each test.
---@class rsp.Tester
local Tester = {}

---Sends a request through `on_connect`, `on_request` and balancing.
---@param request string|rsp.TestRequest a table, or only the URL
---@return rsp.TestResult
function Tester:request(request) end

---What the client gets where the server of the last request responds so.
---@param response? rsp.TestResponse
---@return rsp.TestResult
function Tester:response(response) end

---Connects a client without a request.
---@param connection? rsp.TestConnection
---@return rsp.TestConnected
function Tester:connect(connection) end

---Sets the state of a server.
---@param name string "POOL/SERVER"
---@param state rsp.TestServer
function Tester:server(name, state) end

---Moves the clock, and runs the functions of `rsp.every` that are due.
---@param time rsp.Time
function Tester:advance(time) end

---Sets who answers `rsp.fetch`; without one it gets nil.
---@param f? fun(req: rsp.TestFetch): rsp.TestResponse?, string?
function Tester:fetch(f) end

---Sets who answers `rsp.resolve`; without one it gets nil.
---@param f? fun(name: string): string[]?, string?
function Tester:resolve(f) end

---Fails unless both are the same, tables by what is in them.
---@param got any
---@param expected any
---@param note? string stands in the message
function Tester:equal(got, expected, note) end

---Fails if the value is nil or false.
---@param value any
---@param note? string stands in the message
function Tester:ok(value, note) end

---@class rsp.TestRequest
---@field method? string "GET"
---@field url? string "http://example.com/a?b=1" or a path: "/"
---@field headers? table<string, string|number|string[]> without `Host` that of the URL is sent
---@field from? string the client's address, with a port or not: "198.51.100.7"; "unix:" for one on a unix socket
---@field body? string none without it
---@field listener? string the name of the listener; the first that fits the URL without it
---@field version? "1.0"|"1.1" of HTTP: "1.1"
---@field tls? rsp.TestTls what was agreed on with the client

---@class rsp.TestTls
---@field version? "1.2"|"1.3" of TLS: "1.3"
---@field cipher? string the cipher suite by its IANA name
---@field sni? string the name that the client asked for: the host of the URL
---@field alpn? string none without it
---@field client_subject? string the subject of the client's certificate; it showed none without it
---@field client_verified? boolean true with a subject

---@class rsp.TestResponse
---@field status? integer 200
---@field headers? table<string, string|number|string[]> a list for a header that stands several times
---@field body? string empty without it

---@class rsp.TestConnection
---@field from? string as of a request
---@field listener? string the name of the listener; the first with `sni`, else the first, without it
---@field sni? string the name in the ClientHello; none without it

---@class rsp.TestConnected
---@field accepted boolean false where `on_connect` or `sni` refuses it
---@field pool string? where a connection that passes through goes
---@field server string? the server of it that balancing picks
---@field error string? why it is refused

---@class rsp.TestServer
---@field up? boolean as checks would find it; true at first
---@field in_flight? integer requests it has now: 0 at first
---@field latency? rsp.Time the average time to the first byte; none at first
---@field weight? integer from 0 to 256; as the config says at first
---@field state? "ready"|"drain"|"maint" as an operator would set it

---@class rsp.TestFetch
---@field pool string whose server is asked
---@field method string of the request
---@field path string with the query
---@field headers table<string, string> the first value of each; names ignore case
---@field body string empty where there is none

---What came of a request or a response. Other fields raise.
---@class rsp.TestResult
---@field pool string? where the request goes; nil for an answer
---@field server string? the server that balancing picked; nil where the request waits for one
---@field status integer? of an answer or a response; nil where the request goes to a server
---@field headers rsp.TestHeaders what the server gets, or the client
---@field body string the request's, or the answer's
---@field error string? what went wrong
---@field method string? as the server gets it
---@field target string? path and query as the server gets them
---@field host string? as the server gets it

---Names ignore case.
---@class rsp.TestHeaders
---@field [string] string? the first value
local TestHeaders = {}

---All values of this name in order, empty where there is none.
---@param name string
---@return string[]
function TestHeaders:all(name) end
