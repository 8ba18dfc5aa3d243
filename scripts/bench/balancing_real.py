"""The real run: rsp with two workers before three servers of speeds 1:2:4, under 70 % of what they can do."""

import sys
from pathlib import Path

from .balancing import ALGORITHMS
from .open_load import drive
from .running import free_ports

ORIGIN = Path(__file__).resolve().parent / "slow_origin.py"
MEAN_MS = 40  # of the slowest server
SPEEDS = (1, 2, 4)
LOAD = 0.7


def config(port, origins, algorithm):
    """`first` is for servers with limits; `hash` needs to be told of what."""
    limit = ", max_connections = 2" if algorithm == "first" else ""
    servers = ", ".join(f'{{ "127.0.0.1:{origin}"{limit} }}' for origin in origins)
    by = ', hash_by = "path"' if algorithm == "hash" else ""
    return f"""rsp.listen "127.0.0.1:{port}"
rsp.pool {{ name = "web", servers = {{ {servers} }}, balance = "{algorithm}"{by} }}
rsp.settings {{ workers = 2 }}
"""


def run(house, binary, algorithm, seconds, seed):
    """The figures of one algorithm. Its servers are new, so that none has a queue left from the one before."""
    port, *origins = free_ports(1 + len(SPEEDS))
    running = []
    for number, (origin, speed) in enumerate(zip(origins, SPEEDS)):
        words = [sys.executable, "-B", ORIGIN, origin, MEAN_MS / speed, seed + number]
        running.append(house.start(f"origin{speed}", words).wait_for(origin))
    path = house.write(f"{algorithm}/rsp.lua", config(port, origins, algorithm))
    running.append(house.start("rsp", [binary, path]).wait_for(port))
    rate = LOAD * sum(SPEEDS) * 1000 / MEAN_MS
    figures = drive(port, rate, seconds, seed)
    for one in reversed(running):
        house.end(one)
    return figures


def run_all(house, binary, seconds, seed, algorithms=ALGORITHMS):
    return {algorithm: run(house, binary, algorithm, seconds, seed) for algorithm in algorithms}
