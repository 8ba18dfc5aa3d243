#!/usr/bin/env python3
"""WebSocket messages through a proxy: the driver and the server behind it, as small as they can be.

Every connection sends one message and waits until it came back before it sends the next, as wrk does with requests.
The mask of the driver's frames is zero, which RFC 6455 section 5.3 allows: no time goes into masking. A proxy
tunnels and cannot tell. What is measured is the proxy's CPU time a message there and back; the driver is slow.

  frames.py serve PORT
  frames.py drive PORT SECONDS CONNECTIONS SIZE     prints one line of JSON after an @
"""

import base64
import hashlib
import json
import selectors
import socket
import sys
import time

if __package__:
    from .uploads import shares
else:
    from uploads import shares

MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n"
ASK = b"GET /ws/ HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n\r\n"
KEY = base64.b64encode(b"sixteen bytes...")
PATIENCE = 60  # seconds for the first message on a machine that is busy


def accept_for(key):
    """RFC 6455 section 4.2.2."""
    return base64.b64encode(hashlib.sha1(key + MAGIC).digest())


def frame(payload, mask):
    """One binary message in one frame, under 64 KiB."""
    bit = 0x80 if mask else 0
    size = bytes([bit | len(payload)]) if len(payload) < 126 else bytes([bit | 126]) + len(payload).to_bytes(2, "big")
    return b"\x82" + size + (b"\0\0\0\0" if mask else b"") + payload


def split(buffer):
    """(payload, what is left) of the first whole frame; (None, buffer) if it is not whole. The mask is zero."""
    if len(buffer) < 2:
        return None, buffer
    at, size = 2, buffer[1] & 0x7F
    if size == 126:
        at, size = 4, int.from_bytes(buffer[2:4], "big")
    at += 4 if buffer[1] & 0x80 else 0
    if len(buffer) < at + size:
        return None, buffer
    return buffer[at : at + size], buffer[at + size :]


class Lane:
    """One connection: its unread bytes, and what to do with the next message."""

    def __init__(self, sock):
        self.sock, self.buffer, self.open, self.begun = sock, b"", False, 0.0

    def read(self):
        try:
            got = self.sock.recv(65536)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        self.buffer += got
        return bool(got)

    def head(self):
        """The handshake's head once it is whole."""
        head, end, rest = self.buffer.partition(b"\r\n\r\n")
        if not end:
            return None
        self.buffer, self.open = rest, True
        return head


def serve(listener):
    ready = selectors.DefaultSelector()
    ready.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in ready.select():
            if key.data is None:
                sock, _ = listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                ready.register(sock, selectors.EVENT_READ, Lane(sock))
            elif not key.data.read() or not echo(key.data):
                ready.unregister(key.fileobj)
                key.fileobj.close()


def echo(lane):
    try:
        if not lane.open:
            head = lane.head()
            if head:
                keys = [line.split(b":", 1)[1].strip() for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:")]
                lane.sock.sendall(SWITCH % accept_for(keys[0] if keys else b""))
        while lane.open:
            payload, lane.buffer = split(lane.buffer)
            if payload is None:
                break
            lane.sock.sendall(frame(payload, mask=False))
    except OSError:
        return False
    return True


def connect(port):
    sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(ASK % KEY)
    lane = Lane(sock)
    head = None
    while head is None:
        if not lane.read():
            raise OSError("closed during the handshake")
        head = lane.head()
    if b" 101 " not in head.split(b"\r\n")[0] + b" " or accept_for(KEY) not in head:
        raise OSError(f"no WebSocket: {head[:200]!r}")
    return lane


def drive(port, seconds, connections, size):
    lanes = [connect(port) for _ in range(connections)]
    payload = bytes(i * 7 % 251 for i in range(size))
    out, times, wrong = frame(payload, mask=True), [], 0
    ready = selectors.DefaultSelector()
    begun = now = time.perf_counter()
    for lane in lanes:
        ready.register(lane.sock, selectors.EVENT_READ, lane)
        lane.begun = time.perf_counter()
        lane.sock.sendall(out)
    while now - begun < seconds or not times and now - begun < PATIENCE:
        for key, _ in ready.select(0.1):
            lane = key.data
            if not lane.read():
                wrong += 1
                ready.unregister(lane.sock)
                continue
            back, lane.buffer = split(lane.buffer)
            if back is not None:
                now = time.perf_counter()
                times.append(now - lane.begun)
                wrong += back != payload
                lane.begun = now
                lane.sock.sendall(out)
        now = time.perf_counter()
    for lane in lanes:
        lane.sock.close()
    return summary(times, now - begun, wrong, size)


def summary(times, seconds, wrong, size):
    return {"requests": len(times), "us": round(seconds * 1e6), "bytes": 2 * size * len(times), "read": wrong, **shares(times)}


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(socket.create_server(("127.0.0.1", int(sys.argv[2])), backlog=4096))
    print("@" + json.dumps(drive(*map(int, sys.argv[2:6]))))
