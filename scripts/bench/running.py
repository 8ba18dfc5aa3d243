"""Processes that a script starts and must not leave behind.

A `House` is a temporary directory with everything that runs in it: it hands out free ports, starts programs,
waits until they listen, counts the CPU they used, and ends them all, also on Ctrl-C, on SIGTERM and when the
script itself is killed. Nothing is ended by name, only by the ids of what was started here.
"""

import ctypes
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)


class CannotStart(Exception):
    """A program is missing, or did not come up; the text says which and what to do."""


PACKAGES = {"varnishd": "varnish", "varnishncsa": "varnish", "ab": "apache2-utils", "h2load": "nghttp2-client"}


def program(name):
    """Full path of a program; /usr/sbin counts, since it is missing from a plain user's PATH on Debian."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not found:
        raise CannotStart(f"{name} is not installed: apt-get install {PACKAGES.get(name, name)}")
    return found


def version(command):
    """First line of what a program says about its version, or "unknown"."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return (done.stdout + done.stderr).strip().split("\n")[0].split(" - http")[0]


def descriptors():
    """The limit of open files of a process, at most 65536."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)


def free_ports(count):
    """Distinct free loopback ports outside of the ephemeral range, so that no client connection takes one before the
    program that is started on it."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    numbers = random.sample(range(10000, first), 500) if first >= 12000 else [0] * count
    held = []
    for number in numbers:
        try:
            held.append(socket.create_server(("127.0.0.1", number)))
        except OSError:
            continue
        if len(held) == count:
            break
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return ports


def _die_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _stop(_number, _frame):
    raise KeyboardInterrupt


class Running:
    """A started program with its child processes."""

    def __init__(self, name, process, log):
        self.name, self.process, self.log = name, process, log
        self.beside = []  # other programs that do a part of its work, and whose cost is its cost

    def said(self):
        return self.log.read_text(errors="replace").strip()

    def wait_for(self, port, seconds=120):
        """Returns when something accepts on the port; raises with the program's own words if it ended."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise CannotStart(f"{self.name} ended with {self.process.returncode}: {self.said() or 'no output'}")
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return self
            except OSError:
                time.sleep(0.02)
        raise CannotStart(f"{self.name} does not listen on port {port} after {seconds} s: {self.said()}")

    def pids(self):
        """The process and its descendants (nginx and Varnish do their work in children)."""
        parents = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    stat = (entry / "stat").read_text()
                except OSError:
                    continue
                parents[int(entry.name)] = int(stat.rsplit(")", 1)[1].split()[1])
        family = {self.process.pid, *(other.process.pid for other in self.beside)}
        while True:
            more = {p for p, parent in parents.items() if parent in family} - family
            if not more:
                return family
            family |= more

    def cpu_ns(self):
        """Nanoseconds on a CPU, user and system, of all threads of all its processes."""
        total = 0
        for pid in self.pids():
            for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                try:
                    total += int(task.read_text().split()[0])
                except (OSError, IndexError):
                    continue
        return total

    def memory(self):
        """Bytes of memory that are its own: private pages of all its processes, shared ones by their share."""
        total = 0
        for pid in self.pids():
            try:
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            except OSError:
                continue
            total += sum(int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("Pss:"))
        return total

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(3)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)  # its own session: children that stayed, nothing else
        except ProcessLookupError:
            pass
        self.process.wait()


class House:
    """The temporary directory and what runs in it. Use as `with House() as house`."""

    def __init__(self):
        self.dir = Path(tempfile.mkdtemp(prefix="rsp-"))
        self.dir.chmod(0o755)  # servers that drop root must get to their files
        self.all = []
        self.started = 0

    def __enter__(self):
        for number in STOPS:  # SIGINT too: a shell's background job starts with it ignored
            signal.signal(number, _stop)
        return self

    def __exit__(self, *_):
        for number in STOPS:  # a second Ctrl-C must not leave half of it running
            signal.signal(number, signal.SIG_IGN)
        for running in reversed(self.all):
            running.end()
        shutil.rmtree(self.dir, ignore_errors=True)
        for number in STOPS:
            signal.signal(number, signal.SIG_DFL)

    def folder(self, name):
        path = self.dir / name
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o755)
        return path

    def fresh(self, name):
        """A folder that nothing was in before."""
        self.started += 1
        return self.folder(f"{self.started}-{name}")

    def write(self, name, text):
        path = self.folder(Path(name).parent) / Path(name).name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(0o644)
        return path

    def start(self, name, command, cpus=None):
        """Starts a program; its output goes to a file that `said` reads. `cpus` is a list for taskset."""
        if cpus:
            command = [program("taskset"), "-c", ",".join(map(str, cpus)), *command]
        self.started += 1
        log = self.dir / f"{self.started}-{name}.out"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches this script only, which ends them in order
                preexec_fn=_die_with_parent,
            )
        running = Running(name, process, log)
        self.all.append(running)
        return running

    def end(self, running):
        for one in (*running.beside, running):
            self.all.remove(one)
            one.end()
