"""The subjects of the comparison: their configuration, and how ours are started.

A subject is a class with `name`, `find()` (raises CannotStart), `can(scenario)` and `start(house, job)`. Each peer
(see peers.py) is set up for the least work it can do for the same job. rsp writes its forwarding headers and
runs a Lua `on_request` in every scenario: that is the product as shipped. A new peer is one more class in SUBJECTS.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .certificates import certificate
from .peers import Haproxy, HaproxySplice, Hitch, Nginx, Varnish
from .running import CannotStart, version

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Job:
    """The task that a subject is started for."""

    scenario: object
    port: int
    servers: tuple
    cpus: list = None

    def pools(self):
        """The rule of the `rule` scenario chooses between three pools of the same servers."""
        return ("web", "api", "static") if self.scenario.rule else ("web",)


def target_dir():
    return Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")


class Ours:
    """A release binary of this project, built if it is not there; an existing one is taken as it is."""

    def __init__(self, binary=None):
        self.binary = Path(binary).resolve() if binary else None

    def build(self, place, words):
        binary = self.binary or target_dir() / "release" / place
        if not binary.exists() and not self.binary:
            if not shutil.which("cargo"):
                raise CannotStart(f"{binary} is not there and cargo is not installed")
            command = ["cargo", "build", "--release", *words]
            print(f"building {self.name}: {' '.join(command)}", flush=True)
            subprocess.run(command, cwd=ROOT, check=False)
        if not binary.exists():
            raise CannotStart(f"{binary} is not there: cargo build --release {' '.join(words)}")
        self.binary = binary

    def label(self, _scenario):
        return self.name


class Rsp(Ours):
    name = "rsp"

    def find(self):
        self.build("rsp", ["--bin", "rsp"])
        return version([self.binary, "-v"])

    def can(self, _scenario):
        return True

    def config(self, house, job):
        servers = ", ".join(f'"{s}"' for s in job.servers)
        listen = f'rsp.listen "127.0.0.1:{job.port}"'
        if job.scenario.tls:
            cert, key, _ = certificate(house)
            listen = f'rsp.listen {{ "127.0.0.1:{job.port}", tls = {{ cert = "{cert}", key = "{key}" }} }}'
        lines = [listen, f"local servers = {{ {servers} }}"]
        lines += [f'local {p} = rsp.pool {{ name = "{p}", servers = servers }}' for p in job.pools()]
        lines += ["rsp.on_request(function(req)"]
        if job.scenario.rule:
            lines += ['  if req.host == "api.example.com" then return api end']
            lines += ['  if req.path:sub(1, 8) == "/static/" then return static end']
        lines += ["  return web", "end)"]
        settings = []
        if job.scenario.log:
            settings += [f'access_log = {{ path = "{house.folder("logs")}/rsp.log", format = "combined" }}']
        if job.scenario.workers > 1:
            settings += [f"workers = {job.scenario.workers}"]
        lines += [f"rsp.settings {{ {', '.join(settings)} }}"] if settings else []
        return "\n".join(lines) + "\n"

    def start(self, house, job):
        conf = house.write("rsp/site.lua", self.config(house, job))
        return house.start("rsp", [self.binary, conf], job.cpus).wait_for(job.port)


class Handshakes(Ours):
    name = "handshakes"


class Relay(Ours):
    """Copies bytes and does not parse (examples/relay.rs): what sockets and epoll cost. It knows no rule and runs
    the `rule` scenario without one."""

    name = "relay"

    def find(self):
        self.build(Path("examples") / "relay", ["--example", "relay"])
        return "examples/relay.rs, a relay that does not parse"

    def can(self, scenario):
        return not scenario.log and not scenario.tls and scenario.workers == 1

    def start(self, house, job):
        command = [self.binary, f"127.0.0.1:{job.port}", *job.servers]
        return house.start("relay", command, job.cpus).wait_for(job.port)


SUBJECTS = {subject.name: subject for subject in (Rsp, Haproxy, HaproxySplice, Nginx, Hitch, Varnish, Relay)}


def handshakes_program():
    """The load generator of handshakes.rs."""
    load = Handshakes()
    load.build(Path("examples") / "handshakes", ["--example", "handshakes"])
    return load.binary
