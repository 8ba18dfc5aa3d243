#!/usr/bin/env python3
"""Uploads as load: every connection sends a body, waits for the answer, sends the next.

wrk stops in the middle of what is under way, and with 16 bodies of 16 MiB that is most of a short round: the proxy
worked for bodies that nobody counts. Here no body is begun after the time is over, and those under way are
finished and count. sendfile keeps the driver cheap.

  uploads.py PORT SECONDS CONNECTIONS PATH FILE     prints one line of JSON after an @
"""

import json
import os
import selectors
import socket
import sys
import time

PATIENCE = 90  # seconds for the last bodies


class Lane:
    """One connection with one request under way; `sent` counts bytes of the body."""

    def __init__(self, port, head, file, size):
        self.sock = socket.create_connection(("127.0.0.1", port), 5)
        self.sock.setblocking(False)
        self.head, self.file, self.size = head, file, size
        self.sent, self.left, self.got, self.begun = 0, b"", b"", 0.0

    def begin(self):
        self.sent, self.left, self.got, self.begun = 0, self.head, b"", time.perf_counter()

    def sending(self):
        return bool(self.left) or self.sent < self.size

    def send(self):
        try:
            while self.left:
                self.left = self.left[self.sock.send(self.left, socket.MSG_MORE) :]
            while self.sent < self.size:
                self.sent += os.sendfile(self.sock.fileno(), self.file, self.sent, self.size - self.sent)
        except BlockingIOError:
            pass

    def status(self):
        """The answer's status once it is whole, None before."""
        try:
            more = self.sock.recv(65536)
        except BlockingIOError:
            return None
        if not more:
            raise OSError("closed before the answer")
        self.got += more
        return whole(self.got)


def whole(answer):
    """Status of an answer with a Content-Length, once all of it is there."""
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return None
    lines = head.split(b"\r\n")
    lengths = [int(line.split(b":")[1]) for line in lines[1:] if line.lower().startswith(b"content-length:")]
    return int(lines[0].split()[1]) if lengths and len(body) >= lengths[0] else None


class Drive:
    """All lanes, until the time is over and nothing is under way."""

    def __init__(self, lanes, seconds):
        self.ready, self.begun, self.times = selectors.DefaultSelector(), time.perf_counter(), []
        self.until, self.busy, self.wrong, self.lost = self.begun + seconds, len(lanes), 0, 0
        for lane in lanes:
            self.ready.register(lane.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, lane)
            lane.begin()

    def run(self):
        while self.busy and time.perf_counter() < self.until + PATIENCE:
            for key, _ in self.ready.select(0.5):
                try:
                    self.step(key.data)
                except OSError:
                    self.lost += 1
                    self.drop(key.data)
        return time.perf_counter() - self.begun

    def step(self, lane):
        if lane.sending():
            lane.send()
            if not lane.sending():
                self.ready.modify(lane.sock, selectors.EVENT_READ, lane)
        status = lane.status()
        if status is not None:
            self.finished(lane, status)

    def finished(self, lane, status):
        now = time.perf_counter()
        self.times.append(now - lane.begun)
        self.wrong += status != 200 or lane.sending()
        if now >= self.until:
            return self.drop(lane)
        lane.begin()
        self.ready.modify(lane.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, lane)

    def drop(self, lane):
        self.ready.unregister(lane.sock)
        lane.sock.close()
        self.busy -= 1


def shares(times):
    """Percentiles in microseconds, named as the drivers name them."""
    times = sorted(times)
    at = lambda share: round(times[min(len(times) - 1, int(len(times) * share))] * 1e6) if times else None
    return {"p50": at(0.5), "p75": at(0.75), "p90": at(0.9), "p99": at(0.99), "p999": at(0.999)}


def drive(port, seconds, connections, path, name):
    size = os.path.getsize(name)
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/octet-stream\r\nContent-Length: {size}\r\n\r\n"
    with open(name, "rb") as file:
        lanes = [Lane(int(port), head.encode(), file.fileno(), size) for _ in range(int(connections))]
        run = Drive(lanes, int(seconds))
        took = run.run()
    return {"requests": len(run.times), "us": round(took * 1e6), "status": run.wrong, "read": run.lost, "timeout": run.busy, **shares(run.times)}


if __name__ == "__main__":
    print("@" + json.dumps(drive(*sys.argv[1:6])))
