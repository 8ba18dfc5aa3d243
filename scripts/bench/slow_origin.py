#!/usr/bin/env python3
"""A server that serves one request at a time, in the order of arrival, with exponentially distributed service times.

Each answer leaves when the time of its service is over, counted from the end of the one before: that the process wakes
a little late makes it no slower.

  slow_origin.py PORT MEAN_MS SEED
"""

import asyncio
import random
import sys
import time

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n"


class Origin:
    def __init__(self, mean, seed):
        self.mean, self.random, self.free_at = mean, random.Random(seed), 0.0

    def end_of_next(self, now):
        """When a request that arrives now is served."""
        self.free_at = max(now, self.free_at) + self.random.expovariate(1 / self.mean)
        return self.free_at

    async def serve(self, reader, writer):
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await asyncio.sleep(self.end_of_next(time.monotonic()) - time.monotonic())
                writer.write(ANSWER)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()


async def main(port, mean_ms, seed):
    origin = Origin(float(mean_ms) / 1000, int(seed))
    server = await asyncio.start_server(origin.serve, "127.0.0.1", int(port), backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
