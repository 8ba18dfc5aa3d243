"""The load generators: wrk, and as alternatives ab, siege, hey and h2load.

A driver has `name`, `can(scenario)` and `run(load)`, which gives one dict: requests, us (duration), p50 … p999 in
microseconds (None where the program does not say), and errors by kind under ERRORS. Each parser is a function of the
program's text. wrk's figures come through its own `done` hook, in full precision.
"""

import json
import os
import re
import subprocess
from dataclasses import dataclass

from .running import CannotStart, program

ERRORS = ("connect", "read", "write", "timeout", "status")
PERCENTILES = ("p50", "p75", "p90", "p99", "p999")


@dataclass(frozen=True)
class Load:
    """One call of a driver."""

    scenario: object
    url: str
    seconds: int
    house: object
    cpus: list = None

    def body(self):
        """The upload's body as a file."""
        path = self.house.dir / f"body-{self.scenario.upload}"
        if not path.exists():
            self.house.write(path.name, b"x" * self.scenario.upload)
        return path

    def call(self, command, **words):
        if self.cpus:
            command = [program("taskset"), "-c", ",".join(map(str, self.cpus)), *command]
        words = {"capture_output": True, "text": True, "errors": "replace", "timeout": self.seconds + 120, **words}
        done = subprocess.run([str(word) for word in command], **words)
        return done.stdout + "\n" + done.stderr


def milliseconds(text):
    return None if text is None else round(float(text) * 1000)


def found(pattern, text, which=1):
    match = re.search(pattern, text, re.MULTILINE)
    return match.group(which) if match else None


def needed(pattern, text, name):
    value = found(pattern, text)
    if value is None:
        raise CannotStart(f"{name} failed: {text.strip()[-400:]}")
    return value


DONE = """
function done(summary, latency, requests)
  local e = summary.errors
  local function at(p) return latency:percentile(p) end
  io.write(string.format(
    '\\n@{"requests":%d,"us":%d,"bytes":%d,"p50":%d,"p75":%d,"p90":%d,"p99":%d,"p999":%d,"connect":%d,"read":%d,"write":%d,"timeout":%d,"status":%d}\\n',
    summary.requests, summary.duration, summary.bytes, at(50), at(75), at(90), at(99), at(99.9),
    e.connect, e.read, e.write, e.timeout, e.status))
end
"""
PIPELINE = """
local all
init = function(args)
  local many = {}
  for i = 1, %d do many[i] = wrk.format() end
  all = table.concat(many)
end
request = function() return all end
"""


class Wrk:
    name = "wrk"

    def can(self, _scenario):
        return True  # uploads are made by uploads.py instead

    def script(self, scenario):
        return DONE + (PIPELINE % scenario.pipeline if scenario.pipeline > 1 else "")

    def run(self, load):
        scenario = load.scenario
        script = load.house.write("driver.lua", self.script(scenario))
        threads = min(len(load.cpus or [0]), scenario.connections) if scenario.workers > 1 else 1
        command = ["-t", threads, "-c", scenario.connections, "-d", f"{load.seconds}s", "--timeout", "30s", "--latency"]
        fields = [*scenario.fields(), *(["Connection: close"] if scenario.close else [])]
        command += [word for field in fields for word in ("-H", field)]
        return wrk_figures(load.call([program("wrk"), *command, "-s", script, load.url]))


def wrk_figures(text):
    for line in text.splitlines():
        if line.startswith("@"):
            return json.loads(line[1:])
    raise CannotStart(f"wrk failed: {text.strip()[-400:]}")


class Ab:
    name = "ab"

    def can(self, scenario):
        return scenario.pipeline == 1

    def run(self, load):
        scenario = load.scenario
        words = ["-q", "-t", load.seconds, "-n", 2000000, "-c", scenario.connections, "-s", 30]
        words += [] if scenario.close else ["-k"]
        words += ["-p", load.body(), "-T", "application/octet-stream"] if scenario.upload else []
        words += [word for field in scenario.fields() for word in ("-H", field)]
        return ab_figures(load.call([program("ab"), *words, load.url]))


def ab_figures(text):
    seconds = float(needed(r"^Time taken for tests:\s+([\d.]+)", text, "ab"))
    at = {name: milliseconds(found(rf"^\s+{share}%\s+(\d+)", text)) for name, share in (("p50", 50), ("p75", 75), ("p90", 90), ("p99", 99))}
    failed = int(found(r"^Failed requests:\s+(\d+)", text) or 0)
    status = int(found(r"^Non-2xx responses:\s+(\d+)", text) or 0)
    requests = int(needed(r"^Complete requests:\s+(\d+)", text, "ab"))
    return {"requests": requests, "us": round(seconds * 1e6), **at, "p999": None, "read": failed, "status": status}


class Siege:
    name = "siege"

    def can(self, scenario):
        return scenario.pipeline == 1 and scenario.connections <= 1000  # a thread each

    def run(self, load):
        scenario = load.scenario
        connection = "close" if scenario.close else "keep-alive"
        settings = f"verbose = false\ncolor = off\nquiet = true\njson_output = true\nlimit = 1000\nconnection = {connection}\nlogging = false\n"
        rc = load.house.write("siege.conf", settings)
        words = ["-R", rc, "-b", "-c", scenario.connections, "-t", f"{load.seconds}S"]
        words += [word for field in scenario.fields() for word in ("-H", field)]
        url = f"{load.url} POST <{load.body()}" if scenario.upload else load.url
        home = {**os.environ, "HOME": str(load.house.folder("siege"))}  # it makes ~/.siege otherwise
        return siege_figures(load.call([program("siege"), *words, url], env=home))


def siege_figures(text):
    number = lambda key: float(needed(rf'"{key}":\s*([\d.]+)', text, "siege"))
    figures = {"requests": int(number("transactions")), "us": round(number("elapsed_time") * 1e6)}
    return {**figures, **dict.fromkeys(PERCENTILES), "read": int(number("failed_transactions"))}


class Hey:
    name = "hey"

    def can(self, scenario):
        return scenario.pipeline == 1

    def run(self, load):
        scenario = load.scenario
        words = ["-z", f"{load.seconds}s", "-c", scenario.connections, "-t", 5, "-disable-compression"]
        words += ["-disable-keepalive"] if scenario.close else []
        words += ["-m", "POST", "-D", load.body()] if scenario.upload else []
        words += [word for field in scenario.fields() for word in ("-H", field)]
        return hey_figures(load.call([program("hey"), *words, load.url]))


def hey_figures(text):
    seconds = float(needed(r"^\s+Total:\s+([\d.]+) secs", text, "hey"))
    codes = {int(code): int(count) for code, count in re.findall(r"\[(\d{3})\]\s+(\d+) responses", text)}
    at = {name: found(rf"^\s+{share}%+ in ([\d.]+) secs", text) for name, share in (("p50", 50), ("p75", 75), ("p90", 90), ("p99", 99))}
    at = {name: None if value is None else round(float(value) * 1e6) for name, value in at.items()}
    failed = sum(int(count) for count in re.findall(r"^\s+\[(\d+)\]\t.*(?:http|dial|tcp|EOF)", text, re.MULTILINE))
    wrong = sum(count for code, count in codes.items() if code >= 400)
    return {"requests": sum(codes.values()), "us": round(seconds * 1e6), **at, "p999": None, "read": failed, "status": wrong}


class H2load:
    name = "h2load"

    def can(self, scenario):
        return scenario.pipeline == 1 and not scenario.close

    def run(self, load):
        scenario = load.scenario
        words = ["--h1", "-t", 1, "-c", scenario.connections, "-D", load.seconds]
        words += ["-d", load.body()] if scenario.upload else []
        words += [word for field in scenario.fields() for word in ("-H", field)]
        return h2load_figures(load.call([program("h2load"), *words, load.url]))


UNITS = {"us": 1, "ms": 1000, "s": 1_000_000, "m": 60_000_000}


def h2load_figures(text):
    finished = re.search(r"^finished in ([\d.]+)(us|ms|s|m)\b", text, re.MULTILINE)
    counts = re.search(r"^requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", text, re.MULTILINE)
    if not finished or not counts:
        raise CannotStart(f"h2load failed: {text.strip()[-400:]}")
    us = round(float(finished.group(1)) * UNITS[finished.group(2)])
    succeeded, failed, errored, timeout = map(int, counts.groups())
    figures = {"requests": succeeded, "us": us, **dict.fromkeys(PERCENTILES)}
    return {**figures, "status": failed - errored, "read": errored - timeout, "timeout": timeout}


DRIVERS = {driver.name: driver for driver in (Wrk, Ab, Siege, Hey, H2load)}
