#!/usr/bin/env python3
"""Slow clients in front of a server that serves one connection at a time, and what others notice of them.

`serve` is that server: it reads a request, answers, closes, and only then accepts the next, as a sync worker of gunicorn
does. `/held` tells how long it was held by each request with a large body, in either direction.

`drive` runs so many slow clients, each of which reads or uploads one large body at RATE, and beside them two clients that
ask for the small page again and again. What these wait for at the end counts as long as they have waited. The figures
are those of the others; `held` is the server's own word, once the slow ones are gone.

  slow_clients.py serve PORT NAME FOLDER SMALL      SMALL: the small page
  slow_clients.py drive PORT SECONDS CLIENTS PATH UPLOAD     UPLOAD: bytes, 0 to read PATH; one line of JSON after an @
"""

import json
import socket
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from bench.uploads import shares  # noqa: E402

RATE = 50_000  # bytes a second
STEPS = 10  # pieces a second
OTHERS = 2
LARGE = 256 << 10
PATIENCE = 20  # seconds for the server to be free of the slow clients


# ---- the server


class Server:
    def __init__(self, name, folder):
        self.name, self.folder, self.held = name, Path(folder), []

    def body(self, path):
        if path == "/held":
            return json.dumps(self.held).encode()
        file = self.folder / path.strip("/") if path.strip("/") else None
        return file.read_bytes() if file and file.exists() else b""

    def serve(self, listener, small):
        while True:
            sock = listener.accept()[0]
            with sock:
                try:
                    self.one(sock, small)
                except (OSError, ValueError):
                    pass

    def one(self, sock, small):
        begun, came = time.monotonic(), b""
        size = 0
        try:
            while b"\r\n\r\n" not in came:
                came += needed(sock.recv(65536))
            head, _, rest = came.partition(b"\r\n\r\n")
            size = length(head)
            received = len(rest)
            while received < size:
                received += len(needed(sock.recv(65536)))
            body = self.body(head.split()[1].decode()) or small
            size = max(size, len(body))
            fields = f"HTTP/1.1 200 OK\r\nX-Origin: {self.name}\r\nX-Received: {received}\r\nContent-Length: {len(body)}\r\n"
            sock.sendall(fields.encode() + b"Connection: close\r\n\r\n" + body)
        finally:
            if size >= LARGE:
                self.held.append(time.monotonic() - begun)


def needed(piece):
    if not piece:
        raise OSError("closed too early")
    return piece


def length(head):
    """The Content-Length of a message without chunks."""
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


# ---- the clients


def slow(port, path, upload, stop):
    """One large body at RATE, until it is over or `stop` is set."""
    sock = socket.socket()
    if not upload:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 10)
    sock.connect(("127.0.0.1", port))
    with sock:
        sock.setblocking(False)
        sock.sendall(f"{'POST' if upload else 'GET'} {path} HTTP/1.1\r\nHost: bench\r\nContent-Length: {upload}\r\n\r\n".encode())
        left = upload
        while not stop.wait(1 / STEPS):
            try:
                if left:
                    left -= sock.send(b"x" * min(left, RATE // STEPS))
                elif not sock.recv(RATE // STEPS):
                    return
            except BlockingIOError:
                pass
            except OSError:
                return


def fast(port, until, times, wrong):
    """Small requests one after the other; the last one counts with the time that it has waited by then."""
    while (begun := time.perf_counter()) < until:
        try:
            with socket.create_connection(("127.0.0.1", port), max(until - begun, 0.01)) as sock:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
                got = b""
                while piece := sock.recv(65536):
                    got += piece
                    sock.settimeout(max(until - time.perf_counter(), 0.01))
            wrong.append(not got.startswith(b"HTTP/1.1 200"))
        except TimeoutError:
            pass
        except OSError:
            wrong.append(True)
        times.append(time.perf_counter() - begun)


def ask(port, path):
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
        got = b""
        while piece := sock.recv(65536):
            got += piece
    return got.partition(b"\r\n\r\n")[2]


def drive(port, seconds, clients, path, upload):
    port, upload, stop = int(port), int(upload), threading.Event()
    before = len(json.loads(ask(port, "/held")))
    begun = time.perf_counter()
    readers = [threading.Thread(target=slow, args=(port, path, upload, stop)) for _ in range(int(clients))]
    for reader in readers:
        reader.start()
    times, wrong = [], []
    others = [threading.Thread(target=fast, args=(port, begun + int(seconds), times, wrong)) for _ in range(OTHERS)]
    for other in others:
        other.start()
    for other in others:
        other.join()
    took = time.perf_counter() - begun
    stop.set()
    for reader in readers:
        reader.join()
    held = json.loads(ask(port, "/held"))[before:]
    return {"requests": len(times), "us": round(took * 1e6), "status": sum(wrong), **shares(times), "held": sum(held) / max(len(held), 1)}


def main(what, port, *words):
    if what == "drive":
        return print("@" + json.dumps(drive(port, *words)))
    name, folder, small = words
    Server(name, folder).serve(socket.create_server(("127.0.0.1", int(port)), backlog=1024), small.encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
