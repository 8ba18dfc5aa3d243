"""Tests of what scripts/balance reads, shows, judges and draws; nothing is measured."""

import asyncio
import unittest
from xml.etree import ElementTree

from . import balancing, balancing_plots, balancing_real, slow_origin

TEXT = """speeds\tround_robin\tp99_us\t9000
speeds\tround_robin\tattempts\t1
speeds\tleast_connections\tp99_us\t3000
speeds\tleast_latency\tp99_us\t4500
speeds\trandom\tp99_us\t5000
remove\thash\tmoved\t0.0105
remove\tsource_hash\tmoved\t0.02
"""


class Figures(unittest.TestCase):
    def setUp(self):
        self.measured = balancing.read(TEXT)

    def test_a_table_has_only_columns_with_figures(self):
        rows = balancing.rows(self.measured["speeds"])
        self.assertEqual(rows[0], ("", "p99", "attempts"))
        self.assertEqual(rows[1:3], [("round_robin", "9 ms", "1.000"), ("least_connections", "3 ms", "-")])
        self.assertEqual(balancing.rows(self.measured["remove"])[1], ("hash", "1.05 %"))

    def test_a_claim_that_does_not_hold_is_broken(self):
        broken = [claim for claim in balancing.claims(self.measured) if not claim.holds()]
        self.assertEqual([round(claim.value, 2) for claim in broken], [1.8, 2.0])
        self.assertEqual(broken[0].row()[1:], ("1.8", "≥ 2", "BROKEN"))

    def test_a_server_that_never_answers_again_breaks_the_claim_of_an_outage(self):
        claims = list(balancing.claims({"outage": {"hash": {"attempts": 1.2}}}))
        self.assertEqual([claim.holds() for claim in claims], [True, False])

    def test_picks_are_compared_with_those_of_two_servers(self):
        rows = list(balancing.pick_rows({"hash": {2: 500.0, 10_000: 600.0}}))
        self.assertEqual(rows[1], ("hash", "500", "600", "1.20"))


class Plots(unittest.TestCase):
    def test_drawings_are_whole_files(self):
        measured = balancing.read(TEXT)
        points = {name: measured["speeds"] for name in balancing_plots.sweep_names("load-speeds")}
        picks = {"hash": {2: 500.0, 10_000: 600.0}}
        drawn = [balancing_plots.bars(name, measured[name]) for name in measured]
        drawn += [balancing_plots.curve("load-speeds", points), balancing_plots.picks(picks)]
        for text in drawn:
            self.assertEqual(ElementTree.fromstring(text).tag, "{http://www.w3.org/2000/svg}svg")

    def test_every_algorithm_has_a_colour(self):
        self.assertEqual(set(balancing_plots.COLOURS), set(balancing.ALGORITHMS))


class Real(unittest.TestCase):
    def test_hash_is_told_of_what_and_first_has_limits(self):
        self.assertIn('hash_by = "path"', balancing_real.config(1, [2], "hash"))
        self.assertIn("max_connections = 2", balancing_real.config(1, [2], "first"))
        self.assertNotIn("max_connections", balancing_real.config(1, [2], "random"))

    def test_a_server_serves_one_request_after_the_other(self):
        origin = slow_origin.Origin(0.01, 1)
        ends = [origin.end_of_next(5.0) for _ in range(1000)]
        self.assertEqual(ends, sorted(ends))
        self.assertAlmostEqual(ends[-1], 15, delta=1)
        self.assertGreater(origin.end_of_next(100.0), 100)

    def test_every_request_of_a_connection_is_answered(self):
        async def talk():
            origin = slow_origin.Origin(0.0001, 1)
            server = await asyncio.start_server(origin.serve, "127.0.0.1", 0)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            for _ in range(2):
                writer.write(b"GET / HTTP/1.1\r\n\r\n")
                self.assertEqual(await reader.readexactly(len(slow_origin.ANSWER)), slow_origin.ANSWER)
            writer.close()
            server.close()

        asyncio.run(talk())
