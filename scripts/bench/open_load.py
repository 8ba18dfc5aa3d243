"""An open load: requests begin at their times whether others were answered or not, as those of many clients do.

A latency counts from the time at which the request was due. One without an answer at the end has waited until then.
"""

import asyncio
import random
import time

PATIENCE = 2  # seconds for the last answers


class OpenLoad:
    def __init__(self, port, rate, seconds, seed):
        self.port, self.rate, self.seconds, self.random = port, rate, seconds, random.Random(seed)
        self.idle, self.times, self.wrong, self.waiting = [], [], 0, {}

    async def connection(self):
        """Any idle one, or a new one, from one of many addresses."""
        if self.idle:
            return self.idle.pop(self.random.randrange(len(self.idle)))
        address = f"127.0.1.{self.random.randrange(1, 255)}"
        return await asyncio.open_connection("127.0.0.1", self.port, local_addr=(address, 0))

    async def ask(self, due, path):
        head = f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()
        try:
            reader, writer = await self.connection()
            writer.write(head)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line.split(b":")[1]) for line in answer.split(b"\r\n") if line.lower().startswith(b"content-length:"))
            await reader.readexactly(length)
            self.times.append(time.monotonic() - due)
            self.wrong += b" 200 " not in answer[:16]
            self.idle.append((reader, writer))
        except (OSError, asyncio.IncompleteReadError, StopIteration):
            self.wrong += 1

    async def run(self):
        due, tasks = time.monotonic(), set()
        end = due + self.seconds
        while due < end:
            await asyncio.sleep(due - time.monotonic())
            task = asyncio.create_task(self.ask(due, f"/items/{self.random.randrange(10_000)}"))
            self.waiting[task] = due
            tasks.add(task)
            task.add_done_callback(lambda done: (tasks.discard(done), self.waiting.pop(done, None)))
            due += self.random.expovariate(self.rate)
        if tasks:
            await asyncio.wait(set(tasks), timeout=PATIENCE)
        self.times += [time.monotonic() - since for since in self.waiting.values()]
        for task in set(tasks):
            task.cancel()
        await asyncio.gather(*set(tasks), return_exceptions=True)


def drive(port, rate, seconds, seed):
    """{figure: value}, named as the simulation names them."""
    load = OpenLoad(port, rate, seconds, seed)
    asyncio.run(load.run())
    times = sorted(load.times)
    at = lambda share: times[min(len(times) - 1, int(len(times) * share))] * 1e6 if times else 0.0
    requests = max(len(times), 1)
    return {"requests": len(times), "p50_us": at(0.5), "p99_us": at(0.99), "failed": load.wrong / requests}
