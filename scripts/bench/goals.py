"""The goals: how rsp has to stand beside its peers. The only place that has these numbers.

A limit is the largest ratio of rsp's best round to the peer's. Under OVER the figure is first divided by the same
subject's figure of another scenario: growth from 64 to 4,000 connections. A limit against "itself" is absolute.
"""

from dataclasses import dataclass, field
from pathlib import Path

from .table import best, short


@dataclass(frozen=True)
class Goal:
    work: str
    scenario: str
    limits: dict = field(default_factory=dict)
    figure: str = "cpu_us"
    over: str = ""


LARGE = {"haproxy+splice": 0.95, "haproxy": 0.50, "nginx": 0.28, "relay": 0.80}
GOALS = (
    Goal("small keep-alive request", "small", {"haproxy": 0.68, "nginx": 0.67, "relay": 1.15}),
    Goal("the same with a Lua host and path rule", "rule", {"haproxy": 0.38, "nginx": 0.47, "relay": 1.25}),
    Goal("one connection, CPU", "one", {"haproxy": 0.60, "nginx": 0.75, "relay": 1.10}),
    Goal("one connection, p50 added", "one", {"haproxy": 0.60, "nginx": 0.75, "relay": 1.10}, figure="added_us"),
    Goal("16 KiB response", "16k", {"haproxy": 0.62, "nginx": 0.70, "relay": 1.15}),
    Goal("1 MiB response", "1m", LARGE),
    Goal("16 MiB response", "16m", LARGE),
    Goal("1 MiB upload", "1m-up", LARGE),
    Goal("16 MiB upload", "16m-up", LARGE),
    Goal("new connection per request", "close", {"haproxy": 0.80, "nginx": 0.75}),
    Goal("idle connection, memory", "idle", {"haproxy": 0.20, "nginx": 0.33}, figure="bytes"),
    Goal("growth of CPU, 4,000 connections over 64", "4000", {"haproxy": 1.0, "nginx": 1.0}, over="small"),
    Goal("CPU a request, 2 workers over 1", "workers=2", {"itself": 1.10}, over="workers=1"),
    Goal("system calls a small request", "calls", {"itself": 4.15}, figure="calls"),
    Goal("user instructions, trivial handler", "instructions", {"itself": 6500}, figure="trivial"),
    Goal("user instructions, host and path rule", "instructions", {"itself": 8500}, figure="rule"),
)
RATCHET = Path(__file__).resolve().parent / "instructions.ratchet"


def counted(text):
    """What scripts/instructions wrote into its ratchet, as one round of a scenario; callgrind is too slow to count
    the instructions in every comparison, and its figure is exact anyway."""
    words = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    return {"rsp": [{name: float(figure) for name, figure in words} | {"errors": {}}]}


def with_counted(all_results):
    return {**all_results, "instructions": counted(RATCHET.read_text())} if RATCHET.exists() else all_results


@dataclass(frozen=True)
class Verdict:
    """`value` is None where one side was not measured."""

    work: str
    peer: str
    limit: float
    value: float

    def measured(self):
        """With as many digits as tell it from the limit."""
        said = short(self.value)
        near = self.value is not None and self.value != self.limit and said == short(self.limit)
        return f"{self.value:.4f}" if near else said

    @property
    def word(self):
        return "not measured" if self.value is None else "met" if self.value <= self.limit else "MISSED"


def amount(goal, all_results, subject):
    value = best(all_results.get(goal.scenario, {}).get(subject), goal.figure)
    if not goal.over or value is None:
        return value
    base = best(all_results.get(goal.over, {}).get(subject), goal.figure)
    return value / base if base else None


def judge(goal, all_results, peer):
    mine = amount(goal, all_results, "rsp")
    theirs = 1.0 if peer == "itself" else amount(goal, all_results, peer)
    known = mine is not None and theirs is not None and theirs > 0
    return mine / theirs if known else None


def verdicts(all_results):
    """All goals whose scenario was measured, in order. `all_results`: scenario → subject → rounds."""
    for goal in GOALS:
        if goal.scenario in all_results:
            for peer, limit in goal.limits.items():
                yield Verdict(goal.work, peer, limit, judge(goal, all_results, peer))


def goal_rows(all_results):
    rows = [("goal", "against", "limit", "measured", "")]
    for v in verdicts(all_results):
        rows.append((v.work, v.peer, short(v.limit), v.measured(), v.word))
    return rows
