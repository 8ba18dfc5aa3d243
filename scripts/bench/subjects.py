"""The subjects of the comparison: their configuration, and how ours are started.

A subject is a class with `name`, `find()` (raises CannotStart), `can(scenario)` and `start(house, job)`. Each peer
(see peers.py) is set up for the least work it can do for the same job. rsp writes its forwarding headers and
runs a Lua `on_request` in every scenario but where it is to be compared without: that is the product as shipped. A new peer is one more class in SUBJECTS.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from . import parts
from .certificates import certificate
from .peers import Haproxy, HaproxySplice, Hitch, Nginx, Varnish
from .running import CannotStart, free_ports, version

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Job:
    """The task that a subject is started for."""

    scenario: object
    port: int
    servers: tuple
    cpus: list = None
    check_every: str = "2s"

    def pools(self):
        """All of the same servers: a rule chooses between three, and who is asked about a request has its own."""
        more = ("auth",) if self.scenario.has("auth") else ()
        return ("web", *(("api", "static") if self.scenario.chooses else ()), *more)


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
        pools = "".join(parts.rsp_pool(job.scenario, name, job.check_every) for name in job.pools())
        settings = parts.rsp_settings(job.scenario, house.folder("logs") / self.name, free_ports(1)[0])
        return f"{listen}\nlocal servers = {{ {servers} }}\n{pools}{parts.rsp_script(job.scenario)}{settings}"

    def start(self, house, job):
        conf = house.write(f"{self.name}/site.lua", self.config(house, job))
        return house.start(self.name, [self.binary, conf], job.cpus).wait_for(job.port)


class RspWithout(Rsp):
    """rsp without some of the parts of a scenario. It takes turns with the whole one, so that their ratio is that of
    the same minutes: two scenarios one after the other differ by more than such a part may cost."""

    name = "rsp-without"

    def can(self, scenario):
        return scenario.without is not None

    def of(self, scenario):
        """The scenario as this subject runs it."""
        return replace(scenario, parts=scenario.without)

    def start(self, house, job):
        return super().start(house, replace(job, scenario=self.of(job.scenario)))


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
        if scenario.log or scenario.parts or scenario.tls or scenario.kind == "slow":
            return False
        return scenario.workers == 1

    def start(self, house, job):
        command = [self.binary, f"127.0.0.1:{job.port}", *job.servers]
        return house.start("relay", command, job.cpus).wait_for(job.port)


SUBJECTS = {subject.name: subject for subject in (Rsp, RspWithout, Haproxy, HaproxySplice, Nginx, Hitch, Varnish, Relay)}


def handshakes_program():
    """The load generator of handshakes.rs."""
    load = Handshakes()
    load.build(Path("examples") / "handshakes", ["--example", "handshakes"])
    return load.binary
