"""What is measured: one row a scenario, and sweeps, which are one scenario at several values of one thing.

`SCENARIOS` is the table of the manual (src/manual/benchmarks.md) and of the goals (goals.py); `SWEEPS` are the curves
of the page. A scenario is data: subjects, drivers and measurements read from it what they have to do.
"""

from dataclasses import dataclass, replace

from .origins import MIB, SIZES, UPLOAD


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    kind: str = "load"  # or "idle", "calls", "frames", "handshakes", "slow": see measure.py
    path: str = "/"
    connections: int = 64
    servers: int = 2
    headers: int = 1  # fields of a request, Host is the first
    upload: int = 0  # bytes of a request's body
    size: int = 0  # bytes of a WebSocket message
    pipeline: int = 1  # requests sent before the first answer is read
    workers: int = 1
    close: bool = False  # a new connection for each request
    tls: bool = False  # with the client, version 1.3
    handshake: str = ""  # one for each request: full, resumed or pq (see handshakes.rs)
    rule: bool = False  # a host and path rule in Lua
    log: bool = False  # access log in combined format, to a file
    parts: tuple = ()  # what is turned on besides: see parts.py
    without: tuple = None  # the parts of `rsp-without`, which takes turns with rsp to say what the others cost
    direct: bool = False  # also without a proxy, to say what the proxy adds
    figure: str = "cpu_us"  # what is compared
    stretch: int = 1  # rounds are so many times as long
    quick: int = 1  # rounds of --quick; 0 leaves it out

    @property
    def large(self):
        return max(self.upload, SIZES.get(self.path, 0)) >= 64 << 10

    def has(self, part):
        return part in self.parts

    @property
    def chooses(self):
        """Whether a script chooses between three pools."""
        return self.rule or self.has("script")

    @property
    def unit(self):
        units = {"idle": "bytes a connection", "calls": "system calls a request", "slow": "ms a server is held"}
        return units.get(self.kind, "µs CPU a request")

    def fields(self):
        """Header fields besides Host, as a browser and a CDN would send them."""
        known = [
            "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
            "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "Accept-Language: en-US,en;q=0.5",
            "Cookie: session=3f2a9c0d51b84e7fa6; theme=dark; visited=1",
        ]
        more = [f"X-Field-{n:02}: the value of one more field" for n in range(self.headers)]
        return (known + more)[: self.headers - 1]


def upload(name, size, title, **words):
    return Scenario(name, title, path=UPLOAD, upload=size, connections=16, **words)


def handshakes(name, handshake, title):
    return Scenario(name, title, kind="handshakes", connections=16, tls=True, handshake=handshake)


def slow(name, title, **words):
    return Scenario(name, title, kind="slow", connections=20, servers=1, figure="held_ms", stretch=3, quick=0, **words)


FULL = ("script", "rate", "metrics", "json", "checks", "least")
MAIN = (
    Scenario("small", "small keep-alive, 64 connections", quick=2),
    Scenario("rule", "the same with a host and path rule in Lua", rule=True, quick=2),
    Scenario("observed", "small keep-alive, metrics and JSON access log", parts=("metrics", "json"), without=()),
    Scenario("lua", "small keep-alive, host test, path test, header set in Lua", parts=("script",), without=("bare",)),
    Scenario("rate", "the same with a limit on the rate of a client", parts=("script", "rate"), without=("script",)),
    Scenario("auth", "small keep-alive, another server asked about each request", parts=("auth",)),
    Scenario("full", "checks, least connections, metrics, JSON log, rate limit, Lua rule", parts=FULL),
    Scenario("one", "small keep-alive, 1 connection", connections=1, direct=True, quick=2),
    Scenario("4000", "small keep-alive, 4,000 connections", connections=4000, stretch=3),
    Scenario("close", "new connection per request", close=True),
    Scenario("16k", "16 KiB response", path="/16k"),
    Scenario("1m", "1 MiB response, 16 connections", path="/1m", connections=16),
    Scenario("16m", "16 MiB response, 16 connections", path="/16m", connections=16),
    upload("1m-up", MIB, "1 MiB upload, 16 connections"),
    upload("16m-up", 16 * MIB, "16 MiB upload, 16 connections"),
    slow("slow-down", "20 clients read 16 MiB at 50 kB/s, one-worker server, others beside them", path="/16m"),
    slow("slow-up", "20 clients upload 1 MiB at 50 kB/s, one-worker server, others beside them", path=UPLOAD, upload=MIB),
    Scenario("log", "small keep-alive, access log to a file", log=True, quick=0),
    Scenario("pipeline", "16 requests pipelined, 16 connections", connections=16, pipeline=16, quick=0),
    Scenario("frames", "WebSocket messages of 128 B, 64 connections", kind="frames", path="/ws/", size=128, quick=0),
    Scenario("tls", "TLS: small keep-alive, 64 connections", tls=True),
    handshakes("tls-full", "full", "TLS: handshake per request, X25519, ECDSA P-256"),
    handshakes("tls-resumed", "resumed", "TLS: the same, sessions resumed"),
    handshakes("tls-pq", "pq", "TLS: the same, full, X25519MLKEM768"),
    Scenario("tls-1m", "TLS: 1 MiB response, 16 connections", path="/1m", connections=16, tls=True),
    Scenario("tls-idle", "TLS: idle keep-alive connections, memory", kind="idle", connections=1000, figure="bytes", tls=True),
    Scenario("idle", "idle keep-alive connections, memory", kind="idle", connections=2000, figure="bytes"),
    Scenario("calls", "system calls, 64 connections", kind="calls", figure="calls"),
)
SCENARIOS = {s.name: s for s in MAIN}


@dataclass(frozen=True)
class Sweep:
    """One scenario at several values of one field; `points` are (value, scenario)."""

    name: str
    title: str
    axis: str
    points: tuple


def sweep(name, title, axis, base, points):
    made = tuple((x, replace(base, name=f"{name}={x}", title=f"{axis}: {x:,}", **words)) for x, words in points)
    return Sweep(name, title, axis, made)


def workers_sweep(counts):
    base = Scenario("", "", connections=256, figure="per_second")
    return sweep("workers", "Requests per second against workers", "workers", base, [(n, {"workers": n}) for n in counts])


# What opens many connections is measured for longer, so that opening them weighs little.
STRETCH = {1000: 2, 4000: 3, 10000: 4}
SMALL_PAGE = Scenario("", "")


def values(field, *points):
    return [(value, {field: value, "stretch": STRETCH.get(value, 1)}) for value in points]


SIZE_POINTS = [(size, {"path": path, "connections": 64 if size < MIB else 16}) for path, size in SIZES.items()]
SWEEPS = {
    s.name: s
    for s in (
        sweep("connections", "CPU a request against connections", "connections", SMALL_PAGE, values("connections", 1, 4, 16, 64, 256, 1000, 4000)),
        sweep("size", "CPU a request against the size of the response", "bytes of body", SMALL_PAGE, SIZE_POINTS),
        sweep("servers", "CPU a request against servers of the pool", "servers", SMALL_PAGE, values("servers", 2, 10, 100, 1000, 10000)),
        sweep("headers", "CPU a request against its header fields", "header fields", SMALL_PAGE, values("headers", 5, 20, 40, 80)),
    )
}
