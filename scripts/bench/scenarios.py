"""What is measured: one row a scenario, and one measurement of it.

The load comes from wrk. Its figures are read through wrk's own `done` hook, in full precision, instead of from
the rounded text it prints.
"""

import json
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass

from .running import CannotStart, program
from .subjects import SIZES

DONE = """function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\n@{"requests":%d,"us":%d,"bytes":%d,"p50":%d,"p99":%d,"connect":%d,"read":%d,"write":%d,"timeout":%d,"status":%d}\\n',
    summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99),
    e.connect, e.read, e.write, e.timeout, e.status))
end
"""


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    path: str = "/"
    connections: int = 64
    close: bool = False
    rule: bool = False
    quick_rounds: int = 1


SCENARIOS = {
    s.name: s
    for s in (
        Scenario("small", "small keep-alive, 64 connections", quick_rounds=2),
        Scenario("rule", "the same with a host and path rule in Lua", rule=True, quick_rounds=2),
        Scenario("one", "small keep-alive, 1 connection", connections=1),
        Scenario("close", "new connection per request", close=True),
        Scenario("16k", "16 KiB response", path="/16k"),
        Scenario("1m", "1 MiB response, 16 connections", path="/1m", connections=16),
    )
}


def answers(scenario, port):
    """Fetches the page a few times before anything is measured: a wrong body would be measured as a fast one."""
    seen = set()
    for _ in range(4):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{scenario.path}", timeout=5) as answer:
                body, origin = answer.read(), answer.headers.get("X-Origin")
        except (urllib.error.URLError, OSError) as error:
            raise CannotStart(f"does not answer: {error}") from error
        if len(body) != SIZES[scenario.path]:
            raise CannotStart(f"gave {len(body)} bytes instead of {SIZES[scenario.path]}")
        seen.add(origin)
    if len(seen) != 2:
        raise CannotStart(f"should use two origins in turns, used {sorted(map(str, seen))}")


def load(scenario, port, seconds, script, cpus):
    """Runs wrk once; gives what its `done` hook wrote."""
    command = [program("wrk"), "-t1", f"-c{scenario.connections}", f"-d{seconds}s", "--timeout", "5s", "--latency"]
    command += ["-s", str(script), f"http://127.0.0.1:{port}{scenario.path}"]
    if scenario.close:
        command[1:1] = ["-H", "Connection: close"]
    if cpus:
        command = [program("taskset"), "-c", ",".join(map(str, cpus)), *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30)
    for line in done.stdout.splitlines():
        if line.startswith("@"):
            return json.loads(line[1:])
    raise CannotStart(f"wrk failed: {(done.stderr or done.stdout).strip()}")


def measure(scenario, running, port, seconds, script, cpus):
    """One round: load, and the CPU that the proxy used for it. Idle before and after, so schedstat is exact."""
    before = running.cpu_ns()
    result = load(scenario, port, seconds, script, cpus)
    time.sleep(0.05)  # the closing of wrk's connections belongs to the round
    spent = running.cpu_ns() - before
    errors = {k: result[k] for k in ("connect", "read", "write", "timeout", "status") if result[k]}
    requests = result["requests"]
    if not requests:
        errors["no requests"] = 1
    return {
        "requests": requests,
        "per_second": requests * 1e6 / max(result["us"], 1),
        "p50_us": result["p50"],
        "p99_us": result["p99"],
        "cpu_us": spent / 1000 / requests if requests else float("nan"),
        "errors": errors,
    }
