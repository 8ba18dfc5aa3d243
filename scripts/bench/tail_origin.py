#!/usr/bin/env python3
"""A server that is fast, but for a share of its requests, or that never answers.

  tail_origin.py PORT SHARE SLOW_MS   answers at once, a share of the requests after SLOW_MS; /count says how many came
  tail_origin.py PORT hang            reads and never answers
  tail_origin.py PORT reset           resets each connection at its first request
"""

import asyncio
import random
import socket
import struct
import sys

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b"


class Origin:
    def __init__(self, share, slow_ms):
        self.share, self.slow, self.count, self.random = share, slow_ms / 1000, 0, random.Random(7)

    async def serve(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET /count "):
                    text = b"%d" % self.count
                else:
                    self.count += 1
                    text = b"ok"
                    if self.random.random() < self.share:
                        await asyncio.sleep(self.slow)
                writer.write(ANSWER % (len(text), text))
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()


async def hang(reader, writer):
    try:
        while await reader.read(65536):
            pass
    except ConnectionError:
        pass
    writer.close()


async def reset(reader, writer):
    try:
        await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.close()


async def main(port, kind, slow_ms="0"):
    serve = {"hang": hang, "reset": reset}.get(kind) or Origin(float(kind), float(slow_ms)).serve
    server = await asyncio.start_server(serve, "127.0.0.1", int(port), backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
