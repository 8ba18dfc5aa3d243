"""The simulation of the balancing algorithms: runs it, and reads, shows and judges its figures.

The simulation itself is in Rust (scripts/bench/balance), since it runs the product's own code. It prints one line a
figure; `measured` is {scenario: {algorithm: {figure: value}}}.
"""

import re
import subprocess
from dataclasses import dataclass

from .running import CannotStart, program
from .subjects import ROOT, target_dir
from .svg import duration

ALGORITHMS = ("round_robin", "least_connections", "least_latency", "random", "first", "source_hash", "hash")
LOAD_AWARE = ("least_connections", "least_latency", "random")
SCENARIOS = {
    "equal": "10 equal servers at 70 % of their capacity",
    "speeds": "3 servers of speeds 1:2:4 at 70 % of their total capacity",
    "weights": "3 servers of speeds and weights 1:2:4 at 70 %",
    "limits": "3 servers of speeds 1:2:4 with max_connections = 2 at 70 %: what waits, waits in rsp",
    "zipf": "20 servers at 70 %, 10,000 keys whose popularity falls as 1/n",
    "hot": "10 servers, 100 requests at once, one key has half of them",
    "slow": "10 servers at 50 %, one of them is ten times slower for 20 s of 60",
    "failures": "10 servers at 50 %, one refuses for 10 s, later another one freezes for 10 s",
    "outage": "4 servers under 2,000 requests a second, all of them refuse for 10 s",
    "remove": "one of 100 servers is taken out, 100,000 keys",
    "thousands": "10,000 servers of speeds 1, 2 and 4 at 70 %, 4 workers",
}
CHECKED = ("speeds", "limits", "hot", "outage", "remove")
SIZES = (2, 10_000)


def percent(value):
    return f"{100 * value:.2f} %"


FIGURES = {  # figure: (head of its column, how it is shown)
    "p50_us": ("p50", duration),
    "p99_us": ("p99", duration),
    "spread": ("spread", "{:.2f}".format),
    "peak": ("peak", "{:.2f}".format),
    "attempts": ("attempts", "{:.3f}".format),
    "failed": ("failed", percent),
    "recovered_us": ("recovered", duration),
    "moved": ("moved keys", percent),
}


def build(profile):
    command = ["cargo", "build", "--quiet", "--locked", "--profile", profile, "--example", "balance"]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        raise CannotStart("the simulation could not be built")
    return target_dir() / profile / "examples" / "balance"


def simulate(binary, names, seed):
    done = subprocess.run([binary, "run", str(seed), *names], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotStart(f"the simulation failed: {done.stderr.strip()[-400:]}")
    return read(done.stdout)


def read(text):
    measured = {}
    for line in text.splitlines():
        scenario, algorithm, figure, value = line.split("\t")
        measured.setdefault(scenario, {}).setdefault(algorithm, {})[figure] = float(value)
    return measured


def rows(results):
    """The table of one scenario, its head first; only columns that have figures."""
    figures = [f for f in FIGURES if any(f in of_one for of_one in results.values())]
    shown = lambda of_one, figure: FIGURES[figure][1](of_one[figure]) if figure in of_one else "-"
    table = [("", *(FIGURES[f][0] for f in figures))]
    return table + [(name, *(shown(of_one, f) for f in figures)) for name, of_one in results.items()]


# ---- instructions of a pick


def count_picks(binary, house, sizes=SIZES, number=2000):
    """Instructions of a request's balancing, {algorithm: {servers: instructions}}: callgrind writes a file for each
    call of the function that picks."""
    out, name = house.dir / "picks.out", "balance::work::picks"
    valgrind = [program("valgrind"), "--tool=callgrind", f"--callgrind-out-file={out}"]
    words = [f"--zero-before={name}", f"--dump-after={name}", binary, "picks", str(number), *map(str, sizes)]
    done = subprocess.run([*valgrind, *words], capture_output=True, text=True, check=False)
    counted = {}
    for at, line in enumerate((line for line in done.stdout.splitlines() if line.startswith("picks\t")), 1):
        _, algorithm, servers, requests = line.split("\t")
        total = re.search(r"^totals: (\d+)", (house.dir / f"picks.out.{at}").read_text(), re.MULTILINE)
        counted.setdefault(algorithm, {})[int(servers)] = int(total[1]) / int(requests)
    if not counted:
        raise CannotStart(f"callgrind counted nothing: {done.stderr.strip()[-400:]}")
    return counted


def pick_rows(counted):
    few, many = SIZES
    yield ("", f"{few} servers", f"{many:,} servers", "ratio")
    for algorithm, of_sizes in counted.items():
        yield (algorithm, f"{of_sizes[few]:,.0f}", f"{of_sizes[many]:,.0f}", f"{of_sizes[many] / of_sizes[few]:.2f}")


# ---- what must hold


@dataclass(frozen=True)
class Claim:
    words: str
    value: float
    limit: float
    at_least: bool = False

    def holds(self):
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def row(self):
        sign = "≥" if self.at_least else "≤"
        return (self.words, f"{self.value:.4g}", f"{sign} {self.limit:g}", "holds" if self.holds() else "BROKEN")


def pick_claims(counted):
    few, many = SIZES
    for algorithm, of_sizes in counted.items():
        ratio = of_sizes[many] / of_sizes[few]
        yield Claim(f"{algorithm}: a pick with {many:,} servers / with {few}", ratio, 1.5)


def faster(results, where=""):
    """Algorithms that know the load are better with servers of different speeds."""
    base = results["round_robin"]["p99_us"]
    for name in LOAD_AWARE:
        yield Claim(f"speeds 1:2:4{where}: p99 of round_robin / {name}", base / results[name]["p99_us"], 2, True)


def claims(measured):
    if "speeds" in measured:
        yield from faster(measured["speeds"])
    for name in ("hash", "source_hash") if "remove" in measured else ():
        yield Claim(f"one of 100 servers removed: keys that {name} moves, %", 100 * measured["remove"][name]["moved"], 1.5)
    if "hot" in measured:
        words = "a key with half of 100 requests: hash's fullest server / average"
        yield Claim(words, measured["hot"]["hash"]["peak"], 1.35)
    for name, figures in measured.get("outage", {}).items():
        yield Claim(f"outage: {name}: attempts / request", figures["attempts"], 1.25)
        yield Claim(f"outage: {name}: seconds to the first answer", figures.get("recovered_us", float("inf")) / 1e6, 1)
    if "limits" in measured:
        over = sum(figures["over_limit"] for figures in measured["limits"].values())
        yield Claim("limits: algorithms that exceed max_connections", over, 0)
