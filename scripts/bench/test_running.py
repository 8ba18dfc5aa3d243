"""Tests of starting, checking and ending subjects: no wrong answer is measured, no process is left.

    python3 -m unittest discover -s scripts/bench -t scripts
"""

import sys
import threading
import time
import unittest
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from .checks import answers, right
from .origins import MIB, SMALL, addresses
from .running import CannotStart, House, free_ports
from .scenarios import SCENARIOS


class Origin(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.count += 1
        self.send_response(200)
        self.send_header("X-Origin", self.server.names[self.server.count % len(self.server.names)])
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_):
        pass


class Checks(unittest.TestCase):
    def ask(self, body, names, scenario=SCENARIOS["small"]):
        server = HTTPServer(("127.0.0.1", 0), Origin)
        server.count, server.body, server.names = 0, body, names
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            answers(scenario, server.server_port)
        finally:
            server.shutdown()
            server.server_close()

    def test_the_right_body_from_two_origins_is_accepted(self):
        self.ask(SMALL.encode(), ["a", "b"])

    def test_a_short_body_is_not_measured(self):
        with self.assertRaisesRegex(CannotStart, "127 bytes instead of 128"):
            self.ask(SMALL[:-1].encode(), ["a", "b"])

    def test_a_proxy_that_uses_one_origin_is_not_measured(self):
        with self.assertRaisesRegex(CannotStart, "two origins"):
            self.ask(SMALL.encode(), ["a"])

    def test_other_bytes_of_the_right_length_are_not_measured(self):
        with self.assertRaisesRegex(CannotStart, "other bytes"):
            self.ask(SMALL[::-1].encode(), ["a", "b"])

    def test_an_upload_that_arrives_short_is_not_measured(self):
        upload = SCENARIOS["1m-up"]
        right(upload, SMALL.encode(), {"X-Received": str(MIB + 100)})
        with self.assertRaisesRegex(CannotStart, "passed on 1000 bytes"):
            right(upload, SMALL.encode(), {"X-Received": "1000"})

    def test_a_script_whose_header_does_not_arrive_is_not_measured(self):
        with self.assertRaisesRegex(CannotStart, "not with b'edge1 "):
            self.ask(SMALL.encode(), ["a", "b"], SCENARIOS["lua"])

    def test_nobody_listening_is_said(self):
        with self.assertRaisesRegex(CannotStart, "does not answer"):
            answers(SCENARIOS["small"], free_ports(1)[0])


class Servers(unittest.TestCase):
    def test_ten_thousand_servers_are_all_different_and_on_both_origins(self):
        servers = addresses([1001, 1002], 10000)
        self.assertEqual((len(servers), len(set(servers))), (10000, 10000))
        self.assertEqual(servers[:3], ["127.0.0.1:1001", "127.0.0.1:1002", "127.1.0.1:1001"])
        self.assertTrue(all(0 <= int(n) <= 255 for s in servers for n in s.split(":")[0].split(".")))


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


CHILD = """import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    begun = time.process_time()
    while time.process_time() - begun < 0.2: pass
    print("burnt", flush=True)
time.sleep(60)
"""


class Processes(unittest.TestCase):
    def test_the_cpu_of_children_counts_and_nothing_stays_behind(self):
        with House() as house:
            running = house.start("stubborn", [sys.executable, "-c", CHILD])
            deadline = time.monotonic() + 120
            while "burnt" not in running.said() and time.monotonic() < deadline:
                time.sleep(0.01)
            family = running.pids()
            self.assertEqual(len(family), 2)
            self.assertGreaterEqual(running.cpu_ns(), 200_000_000)
        self.assertFalse(house.dir.exists())
        # Killed, but not our child: the kernel may take a moment over it.
        deadline = time.monotonic() + 120
        while any(lives(p) for p in family) and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertEqual([p for p in family if lives(p)], [])

    def test_a_program_beside_another_counts_and_ends_with_it(self):
        with House() as house:
            main, helper = (house.start(name, [sys.executable, "-c", "import time; time.sleep(60)"]) for name in "ab")
            main.beside.append(helper)
            self.assertEqual(main.pids(), {main.process.pid, helper.process.pid})
            self.assertGreater(main.memory(), 0)
            house.end(main)
            self.assertEqual(house.all, [])
            self.assertIsNotNone(helper.process.poll())

    def test_a_program_that_ends_at_once_is_named_with_its_words(self):
        with House() as house:
            running = house.start("mute", [sys.executable, "-c", "import sys; sys.exit('no such port')"])
            with self.assertRaisesRegex(CannotStart, "mute ended with 1: no such port"):
                running.wait_for(1)


if __name__ == "__main__":
    unittest.main()
