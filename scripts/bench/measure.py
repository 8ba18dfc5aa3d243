"""One measurement of one subject under one scenario; each kind of scenario has its own.

`load`: a driver, and the CPU time the proxy used meanwhile. `frames`: the same with WebSocket messages. `calls`: the
same with system calls counted by the kernel. `handshakes`: a connection for each request, over TLS.
`slow`: what others notice of slow clients, and for how long these hold a server. `idle`: memory of connections that are idle after one request.
"""

import json
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass

from .drivers import ERRORS, PERCENTILES, Load
from .certificates import believing
from .origins import FRAMES, SIZES, SLOW, UPLOADS
from .running import CannotStart, program
from .subjects import handshakes_program

SETTLE = 0.05  # closing the driver's connections belongs to the round


@dataclass(frozen=True)
class Round:
    """What one round has to know."""

    scenario: object
    running: object
    port: int
    seconds: int
    driver: object
    house: object
    cpus: list = None

    def load(self, seconds=None):
        url = f"{'https' if self.scenario.tls else 'http'}://127.0.0.1:{self.port}{self.scenario.path}"
        load = Load(self.scenario, url, seconds or self.seconds, self.house, self.cpus)
        if self.scenario.kind == "frames":
            return own(load, FRAMES, "drive", self.port, load.seconds, self.scenario.connections, self.scenario.size)
        if self.scenario.kind == "handshakes":
            words = (f"127.0.0.1:{self.port}", load.seconds, self.scenario.connections, self.scenario.handshake)
            return said(load.call([handshakes_program(), *words]), "handshakes")
        if self.scenario.kind == "slow":
            words = (self.port, load.seconds, self.scenario.connections, self.scenario.path, self.scenario.upload)
            return own(load, SLOW, "drive", *words)
        if self.scenario.upload and self.driver.name == "wrk":
            return own(load, UPLOADS, self.port, load.seconds, self.scenario.connections, self.scenario.path, load.body())
        return self.driver.run(load)


def own(load, script, *words):
    """A driver of ours, which says what wrk's hook says."""
    return said(load.call([sys.executable, "-B", script, *words]), script.stem)


def said(text, name):
    for line in text.splitlines():
        if line.startswith("@"):
            return json.loads(line[1:])
    raise CannotStart(f"{name}: {text.strip()[-400:]}")


def moved(scenario, result):
    """Requests that the proxy worked for. wrk stops in the middle of large answers; their bytes are in its sum."""
    size = SIZES.get(scenario.path, 0)
    if scenario.large and not scenario.upload and result.get("bytes"):
        return result["bytes"] / size
    return result["requests"]


def figures(scenario, result, spent_ns=None):
    """A driver's result as the figures that everything else reads."""
    requests = moved(scenario, result)
    errors = {kind: result[kind] for kind in ERRORS if result.get(kind)}
    if not requests:
        errors["no requests"] = 1
    made = {f"{name}_us": result.get(name) or None for name in PERCENTILES}
    made |= {"requests": requests, "per_second": requests * 1e6 / max(result["us"], 1), "errors": errors}
    if "held" in result:
        made["held_ms"] = result["held"] * 1000
    if spent_ns is not None:
        made["cpu_us"] = spent_ns / 1000 / requests if requests else None
    return made


def load(work):
    """Idle before and after, so schedstat is exact."""
    before = work.running.cpu_ns()
    result = work.load()
    time.sleep(SETTLE)
    return figures(work.scenario, result, work.running.cpu_ns() - before)


# ---- memory


def ask(port, tls=False):
    """A connection that had one answer and stays open."""
    sock = socket.create_connection(("127.0.0.1", port), 5)
    if tls:
        sock = believing().wrap_socket(sock)
    sock.sendall(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")
    got = b""
    while b"\r\n\r\n" not in got or len(got.partition(b"\r\n\r\n")[2]) < 128:
        more = sock.recv(4096)
        if not more:
            raise OSError("closed before the answer was whole")
        got += more
    return sock


def idle(work):
    """The subject is a fresh one. A few connections before, so that what is made once is made."""
    open_now = []
    try:
        for _ in range(16):
            ask(work.port, work.scenario.tls).close()
        time.sleep(SETTLE)
        before = work.running.memory()
        count = work.scenario.connections
        open_now.extend(ask(work.port, work.scenario.tls) for _ in range(count))
        time.sleep(4 * SETTLE)
        grown = work.running.memory() - before
    except OSError as error:
        raise CannotStart(f"{len(open_now)} idle connections, then: {error}") from error
    finally:
        for sock in open_now:
            sock.close()
    return {"requests": count, "bytes": grown / count, "errors": {}}


# ---- system calls


def perf(pids, out):
    words = [program("perf"), "stat", "-x,", "-e", "raw_syscalls:sys_enter", "-o", out, "-p", pids]
    return words, lambda text: sum(int(line.split(",")[0]) for line in text.splitlines() if "raw_syscalls" in line)


def strace(pids, out):
    """Slows the proxy down, so that more events wait for each epoll_wait and the figure is a little lower."""
    words = [program("strace"), "-c", "-f", "-o", out, *(word for pid in pids.split(",") for word in ("-p", pid))]
    return words, strace_total


def strace_total(text):
    """The `calls` column of the last line, which may have an `errors` column after it."""
    for line in text.splitlines():
        if line.rstrip().endswith(" total"):
            return int(line.split()[3])
    raise ValueError("no total")


def count(tool, work, pids):
    """Calls a request as one tool counts them."""
    out = work.house.dir / "calls.out"
    out.unlink(missing_ok=True)
    words, total = tool(",".join(map(str, sorted(pids))), out)
    watching = work.house.start(tool.__name__, words)
    time.sleep(0.3)  # it says nothing when it is attached
    result = work.load()
    watching.process.send_signal(signal.SIGINT)
    try:
        watching.process.wait(10)
        return {**figures(work.scenario, result), "calls": total(out.read_text()) / result["requests"]}
    except (OSError, ValueError, ZeroDivisionError, subprocess.TimeoutExpired) as error:
        raise CannotStart(f"{tool.__name__}: {error}: {watching.said()[-200:]}") from error
    finally:
        work.house.end(watching)


def calls(work):
    reasons = []
    for tool in (perf, strace):
        try:
            return count(tool, work, work.running.pids())
        except CannotStart as why:
            reasons.append(str(why))
    raise CannotStart("; ".join(reasons))


KINDS = {"load": load, "frames": load, "handshakes": load, "slow": load, "idle": idle, "calls": calls}


def measure(work):
    return KINDS[work.scenario.kind](work)
