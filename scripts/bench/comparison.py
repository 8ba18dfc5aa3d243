"""One run of the comparison: which scenarios, which subjects, rounds in turns, what was measured.

All subjects of a scenario run at the same time in front of the same origins, and only the one whose turn it is
has load. A subject that cannot take part is reported and left out.
"""

import sys
import time
from dataclasses import dataclass

from . import origins
from .checks import answers
from .drivers import DRIVERS, Load
from .measure import Round, measure
from .running import CannotStart, free_ports
from .subjects import Job
from .table import compared, short


def note(text):
    print(f"\n*** {text} ***\n", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Plan:
    """What a run measures: (scenario, rounds, seconds) in order."""

    steps: tuple
    warm: bool = True
    driver: str = "wrk"


class Pace:
    """Prints the progress of a run and the time left."""

    def __init__(self, whole, clock=time.monotonic):
        self.whole, self.done, self.clock, self.begun = whole, 0, clock, clock()

    def step(self, count=1):
        self.done = min(self.done + count, self.whole)

    def words(self):
        if not self.done:
            return "  0 %"
        left = (self.clock() - self.begun) * (self.whole - self.done) / self.done
        rest = f"{left / 60:.0f} min" if left >= 90 else f"{left:.0f} s"
        return f"{100 * self.done // self.whole:3} %, {rest} left"


class Backends:
    """The servers behind the subjects, started when a scenario first needs them."""

    def __init__(self, house, cpus):
        self.house, self.cpus, self.made, self.running = house, cpus, {}, []

    def ports(self, kind):
        if kind not in self.made:
            self.made[kind] = free_ports(2)
            for i, port in enumerate(self.made[kind]):
                self.running.append(self.start(kind, i + 1, port))
        return self.made[kind]

    def start(self, kind, number, port):
        if kind == "echo":
            return origins.start_echo(self.house, port, self.cpus)
        if kind == "one":
            return origins.start_one_at_a_time(self.house, f"{kind}{number}", port, self.cpus)
        workers = max(1, len(self.cpus or [0]) // 2)
        words = {"everywhere": kind == "many", "workers": workers}
        return origins.start_origin(self.house, f"{kind}{number}", port, self.cpus, **words)

    def end(self):
        for running in self.running:
            self.house.end(running)

    def servers(self, scenario):
        kinds = {"frames": "echo", "slow": "one"}
        kind = kinds.get(scenario.kind) or ("many" if scenario.servers > 2 else "origin")
        return tuple(origins.addresses(self.ports(kind), scenario.servers))


class Comparison:
    """`measured` is scenario name → subject name → rounds; consistent at any time, for a Ctrl-C."""

    def __init__(self, plan, house, subjects, cpus, measured, failed):
        self.plan, self.house, self.subjects = plan, house, subjects
        self.proxy_cpus, self.load_cpus = cpus
        self.driver = DRIVERS[plan.driver]()
        self.backends = Backends(house, self.load_cpus)
        self.measured, self.failed = measured, failed
        self.pace = Pace(sum(rounds * len(self.able(s)) for s, rounds, _ in plan.steps) or 1)

    def able(self, scenario):
        return [s for s in self.subjects if s.can(scenario)]

    def run(self):
        for scenario, rounds, seconds in self.plan.steps:
            if not self.driver.can(scenario) and scenario.kind in ("load", "calls"):
                note(f"{scenario.name}: {self.driver.name} cannot do that, left out")
                self.pace.step(rounds * len(self.able(scenario)))
                continue
            self.scenario(scenario, rounds, seconds)

    def scenario(self, scenario, rounds, seconds):
        """All rounds of one scenario, the subjects taking turns; another one goes first each round."""
        results = self.measured.setdefault(scenario.name, {})
        servers = self.backends.servers(scenario)
        started = {}
        for subject in self.able(scenario):
            self.start(scenario, subject, servers, started)
        order = list(started)
        for turn in range(rounds):
            direct = self.without_proxy(scenario, servers[0], seconds) if scenario.direct else None
            for subject in (s for s in order if s in started):
                self.turn(scenario, (turn, rounds, seconds), subject, servers, started, results, direct)
            order = order[1:] + order[:1]
        for running, _ in started.values():
            self.house.end(running)

    def start(self, scenario, subject, servers, started):
        """Starts, checks and warms up a subject, or reports it and leaves it out."""
        port = free_ports(1)[0]
        count = len(self.house.all)
        try:
            running = subject.start(self.house, Job(scenario, port, servers, self.proxy_cpus))
            started[subject] = (running, port)
            of = getattr(subject, "of", lambda scenario: scenario)
            answers(of(scenario), port, getattr(subject, "one_server", False))
            if self.plan.warm and scenario.kind != "idle":
                self.work(scenario, running, port, 1).load()
        except CannotStart as why:
            for left in self.house.all[count:]:
                if subject not in started:
                    self.house.end(left)
            self.leave_out(scenario, subject, started, why)

    def leave_out(self, scenario, subject, started, why):
        note(f"{scenario.name}: {subject.name} is left out: {why}")
        self.failed.append(f"{scenario.name}: {subject.name}: {why}")
        if subject in started:
            self.house.end(started.pop(subject)[0])

    def work(self, scenario, running, port, seconds):
        return Round(scenario, running, port, seconds, self.driver, self.house, self.load_cpus)

    def without_proxy(self, scenario, server, seconds):
        load = Load(scenario, f"http://{server}{scenario.path}", seconds, self.house, self.load_cpus)
        return self.driver.run(load)["p50"]

    def turn(self, scenario, place, subject, servers, started, results, direct):
        turn, rounds, seconds = place
        try:
            if scenario.kind == "idle" and turn:  # memory that was used once is not given back
                self.house.end(started.pop(subject)[0])
                self.start(scenario, subject, servers, started)
                if subject not in started:
                    return
            running, port = started[subject]
            figures = measure(self.work(scenario, running, port, seconds))
            if direct is not None:
                figures["direct_us"] = direct
            results.setdefault(subject.name, []).append(figures)
            self.progress(scenario, f"{turn + 1}/{rounds}", subject, figures)
            if running.process.poll() is not None:
                raise CannotStart(f"ended during round {turn + 1}: {running.said() or 'without a word'}")
        except CannotStart as why:
            self.leave_out(scenario, subject, started, why)

    def progress(self, scenario, place, subject, figures):
        self.pace.step()
        figure = compared(scenario)
        wrong = f"  ERRORS {figures['errors']}" if figures["errors"] else ""
        rate = f"{figures['per_second']:10,.0f} req/s" if "per_second" in figures else " " * 16
        said = f"{short(figures.get(figure)):>9} {scenario.unit.split(' a ')[0]}"
        line = f"{self.pace.words():>18}  {scenario.name:15} round {place}  {subject.label(scenario):15}{rate} {said}{wrong}"
        print(line, file=sys.stderr, flush=True)


def steps(scenarios, sweeps, given):
    """The plan's steps: the scenarios with all their rounds, the sweeps' points with fewer and shorter ones."""
    full, short_ones = given.rounds or 5, given.rounds or 2
    seconds = given.seconds or (1 if given.quick else 3)
    of = lambda scenario: given.rounds or (max(scenario.quick, 1) if given.quick else full)
    made = [(s, of(s), seconds * s.stretch) for s in scenarios]
    brief = given.seconds or (1 if given.quick else 2)
    made += [(s, 1 if given.quick else short_ones, brief * s.stretch) for sweep in sweeps for _, s in sweep.points]
    return tuple(made)
