"""The goals: limits for rsp relative to its peers. The only place with these numbers.

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


DOWN = {"haproxy+splice": 0.60}
UP = {"haproxy+splice": 0.95}
GOALS = (
    Goal("small keep-alive request", "small", {"relay": 1.08, "haproxy": 0.80, "nginx": 0.82}),
    Goal("the same with a Lua host and path rule", "rule", {"relay": 1.10, "haproxy": 0.62, "nginx": 0.72}),
    Goal("metrics and JSON access log over neither", "observed", {"rsp-without": 1.06}),
    Goal("Lua rule and a header set; over no script", "lua", {"rsp-without": 1.06, "haproxy": 0.66, "nginx": 0.75}),
    Goal("a limit on the rate over that", "rate", {"rsp-without": 1.04}),
    Goal("another server asked about each request", "auth", {"nginx": 0.70}),
    Goal("the full configuration", "full", {"haproxy": 0.75}),
    Goal("one connection, CPU", "one", {"relay": 1.08, "haproxy": 0.78, "nginx": 0.85}),
    Goal("16 KiB response", "16k", {"relay": 1.10, "haproxy": 0.76, "nginx": 0.76}),
    Goal("1 MiB response", "1m", DOWN),
    Goal("16 MiB response", "16m", DOWN),
    Goal("1 MiB upload", "1m-up", UP),
    Goal("16 MiB upload", "16m-up", UP),
    Goal("slow readers: time that a server is held", "slow-down", {"nginx": 1.5}, figure="held_ms"),
    Goal("slow readers: p99 of others", "slow-down", {"nginx": 1.5}, figure="p99_us"),
    Goal("slow uploads: p99 of others", "slow-up", {"nginx": 1.5}, figure="p99_us"),
    Goal("new connection per request", "close", {"haproxy": 0.75, "nginx": 0.85}),
    Goal("TLS, small keep-alive request", "tls", {"haproxy": 0.75}),
    Goal("TLS 1.3 handshake, full", "tls-full", {"haproxy": 0.60}),
    Goal("TLS 1.3 handshake, resumed", "tls-resumed", {"haproxy": 0.60}),
    Goal("TLS, 1 MiB response", "tls-1m", {"haproxy": 0.85}),
    Goal("TLS, idle connection, memory", "tls-idle", {"haproxy": 0.50}, figure="bytes"),
    Goal("idle connection, memory", "idle", {"haproxy": 0.20}, figure="bytes"),
    Goal("growth of CPU, 4,000 connections over 64", "4000", {"haproxy": 1.0, "nginx": 1.0}, over="small"),
    Goal("system calls a small request", "calls", {"itself": 4.5}, figure="calls"),
    Goal("user instructions, trivial handler", "instructions", {"itself": 6500}, figure="trivial"),
    Goal("user instructions, host and path rule", "instructions", {"itself": 8500}, figure="rule"),
)
RATCHET = Path(__file__).resolve().parent / "instructions.ratchet"


def counted(text):
    """The ratchet of scripts/instructions as one round of a scenario; callgrind is too slow for every comparison, and its
    figure is exact anyway."""
    words = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    return {"rsp": [{name: float(figure) for name, figure in words} | {"errors": {}}]}


def with_counted(all_results):
    return {**all_results, "instructions": counted(RATCHET.read_text())} if RATCHET.exists() else all_results


@dataclass(frozen=True)
class Verdict:
    """`value` is None if one side was not measured."""

    work: str
    peer: str
    limit: float
    value: float

    def measured(self):
        """With enough digits to differ from the limit."""
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
