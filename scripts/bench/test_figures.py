"""Tests of the comparison's arithmetic: parsers of the drivers' output, ratios, goals, the CSV. No time is asserted.
"""

import csv
import tempfile
import unittest
from pathlib import Path

from . import drivers, goals, output, table
from .measure import figures, strace_total
from .parts import PARTS
from .running import CannotStart
from .scenarios import SCENARIOS, SWEEPS, workers_sweep

SMALL = SCENARIOS["small"]


def rounds(*cpu, errors=None):
    return [{"cpu_us": c, "per_second": 100 / c, "p50_us": 1, "p99_us": 2, "errors": errors or {}} for c in cpu]


class Tables(unittest.TestCase):
    def test_the_best_round_counts_and_a_ratio_is_of_the_best(self):
        results = {"rsp": rounds(8, 10, 5), "haproxy": rounds(20, 10, 40)}
        self.assertEqual(table.best(results["rsp"], "cpu_us"), 5)
        self.assertEqual(table.best(results["rsp"], "per_second"), 20)
        self.assertEqual(table.middle(results["rsp"], "cpu_us"), 8)
        self.assertEqual(table.spread(results["rsp"], "cpu_us"), 62.5)
        self.assertIsNone(table.spread(rounds(1), "cpu_us"))
        self.assertEqual(table.ratio(results, "rsp", "haproxy"), 0.5)
        self.assertIsNone(table.ratio(results, "rsp", "nginx"))

    def test_a_round_without_a_figure_does_not_count(self):
        results = {"rsp": [{"bytes": None, "errors": {}}, {"bytes": 4.0, "errors": {}}], "haproxy": []}
        self.assertEqual(table.best(results["rsp"], "bytes"), 4.0)
        self.assertIsNone(table.best(results["rsp"], "cpu_us"))
        self.assertIsNone(table.ratio(results, "rsp", "haproxy", "bytes"))

    def test_errors_are_added_up_and_shown(self):
        results = {"rsp": rounds(1, 2, errors={"status": 3})}
        self.assertEqual(table.errors(results["rsp"]), {"status": 6})
        self.assertIn("ERRORS rsp: {'status': 6}", table.scenario_table(SMALL, {"rsp": "rsp"}, results))

    def test_the_summary_names_the_figure_where_it_is_not_cpu(self):
        idle = {"rsp": [{"bytes": 250.0, "errors": {}}], "nginx": [{"bytes": 1000.0, "errors": {}}]}
        said = table.summary([(SCENARIOS["idle"], idle)], ["rsp", "nginx"])
        self.assertIn("bytes a connection | 250.0 | 1,000 | 0.25 |", said)

    def test_what_the_proxy_adds_is_the_best_median_through_it_less_the_best_direct(self):
        made = [{"p50_us": 50, "direct_us": 20}, {"p50_us": 40, "direct_us": 22}]
        self.assertEqual(table.best(made, "added_us"), 20)
        self.assertIsNone(table.best([{"p50_us": 50}], "added_us"))

    def test_what_each_adds_is_said_in_one_sentence(self):
        results = {"rsp": [{"p50_us": 50, "direct_us": 20}], "nginx": [{"p50_us": 70, "direct_us": 20}]}
        said = list(table.added({"rsp": "rsp", "nginx": "nginx+lua"}, results))
        self.assertEqual(said, ["p50 without a proxy 20 µs; added by rsp 30, nginx+lua 50 µs"])
        self.assertEqual(list(table.added({"rsp": "rsp"}, {"rsp": rounds(1)})), [])

    def test_a_sweep_has_a_column_a_point(self):
        sweep = SWEEPS["headers"]
        measured = {s.name: {"rsp": rounds(x)} for x, s in sweep.points}
        said = table.sweep_rows(sweep, measured, ["rsp", "nginx"])
        self.assertEqual(said, [("header fields", "5", "20", "40", "80"), ("rsp", "5.00", "20.0", "40.0", "80.0")])


class Goals(unittest.TestCase):
    def words(self, measured):
        return {(v.work, v.peer): v.word for v in goals.verdicts(measured)}

    def test_a_goal_is_met_at_its_limit_and_missed_above(self):
        said = self.words({"small": {"rsp": rounds(8), "haproxy": rounds(10), "nginx": rounds(9)}})
        work = "small keep-alive request"
        self.assertEqual([said[work, p] for p in ("haproxy", "nginx", "relay")], ["met", "MISSED", "not measured"])

    def test_a_value_just_above_its_limit_is_not_shown_as_the_limit(self):
        near, far = (goals.Verdict("w", "p", 0.62, value) for value in (0.6231, 0.7))
        self.assertEqual([near.measured(), near.word, far.measured()], ["0.6231", "MISSED", "0.70"])

    def test_growth_is_compared_with_growth(self):
        few = {"rsp": rounds(10), "haproxy": rounds(20), "nginx": rounds(20)}
        many = {"rsp": rounds(20), "haproxy": rounds(50), "nginx": rounds(30)}
        values = [round(v.value, 2) for v in goals.verdicts({"small": few, "4000": many}) if v.work.startswith("growth")]
        self.assertEqual(values, [0.8, 1.33])

    def test_a_part_is_compared_with_rsp_without_it(self):
        said = self.words({"rate": {"rsp": rounds(21), "rsp-without": rounds(20)}})
        self.assertEqual(list(said.values()), ["MISSED"])

    def test_a_limit_against_itself_is_absolute(self):
        said = self.words({"calls": {"rsp": [{"calls": 4.6, "errors": {}}]}})
        self.assertEqual(said, {("system calls a small request", "itself"): "MISSED"})

    def test_every_goal_names_a_scenario_that_exists_and_is_quick(self):
        apart = {"instructions", "slow-down", "slow-up", *(s.name for _, s in workers_sweep([1, 2]).points)}
        for goal in goals.GOALS:
            self.assertTrue(goal.scenario in apart or SCENARIOS[goal.scenario].quick, goal.work)

    def test_instructions_are_read_from_their_ratchet(self):
        said = self.words({"instructions": goals.counted("# why\ntrivial 6500\nrule 8501\n")})
        self.assertEqual(list(said.values()), ["met", "MISSED"])


AB = """Time taken for tests:   2.000 seconds
Complete requests:      9897
Failed requests:        3
Non-2xx responses:      2
  50%      1
  75%      2
  90%      4
  99%      8
"""
HEY = """  Total:\t1.0096 secs
  50%% in 0.0031 secs
  99%% in 0.0177 secs
  [200]\t1600 responses
  [503]\t20 responses
  [2]\tGet "http://127.0.0.1:1/": dial tcp 127.0.0.1:1: connect: connection refused
"""
H2LOAD = """finished in 1.01s, 7631.00 req/s, 2.15MB/s
requests: 7640 total, 7639 started, 7631 done, 7620 succeeded, 11 failed, 6 errored, 4 timeout
"""
SIEGE = '{\t"transactions":\t\t1078,\n"elapsed_time":\t0.61,\n"failed_transactions":\t7\n}'


class Drivers(unittest.TestCase):
    def test_ab(self):
        said = drivers.ab_figures(AB)
        self.assertEqual([said[k] for k in ("requests", "us", "p50", "p99", "read", "status")], [9897, 2000000, 1000, 8000, 3, 2])

    def test_hey(self):
        said = drivers.hey_figures(HEY)
        self.assertEqual([said[k] for k in ("requests", "us", "p50", "p75", "p99", "read", "status")], [1620, 1009600, 3100, None, 17700, 2, 20])

    def test_h2load(self):
        said = drivers.h2load_figures(H2LOAD)
        self.assertEqual([said[k] for k in ("requests", "us", "p50", "status", "read", "timeout")], [7620, 1010000, None, 5, 2, 4])

    def test_siege(self):
        said = drivers.siege_figures(SIEGE)
        self.assertEqual([said[k] for k in ("requests", "us", "read")], [1078, 610000, 7])

    def test_wrk(self):
        self.assertEqual(drivers.wrk_figures('Running 1s test\n@{"requests":5,"us":10}\n'), {"requests": 5, "us": 10})

    def test_a_driver_that_failed_is_said_with_its_words(self):
        for parse in (drivers.ab_figures, drivers.hey_figures, drivers.h2load_figures, drivers.siege_figures, drivers.wrk_figures):
            with self.assertRaisesRegex(CannotStart, "failed: no such host"):
                parse("no such host")


class Measurements(unittest.TestCase):
    def test_cpu_is_divided_by_requests(self):
        made = figures(SMALL, {"requests": 4, "us": 2_000_000, "p50": 7, "status": 1, "read": 0}, 8_000)
        self.assertEqual([made[k] for k in ("cpu_us", "per_second", "p50_us", "errors")], [2.0, 2.0, 7, {"status": 1}])

    def test_large_answers_count_by_their_bytes(self):
        made = figures(SCENARIOS["1m"], {"requests": 1, "us": 1_000_000, "bytes": 3 << 20}, 6_000)
        self.assertEqual((made["requests"], made["cpu_us"]), (3.0, 2.0))

    def test_no_requests_are_an_error_and_no_figure(self):
        made = figures(SMALL, {"requests": 0, "us": 1}, 5)
        self.assertEqual((made["errors"], made["cpu_us"]), ({"no requests": 1}, None))

    def test_the_calls_of_strace_are_its_fourth_column(self):
        lines = "% time seconds usecs/call calls errors syscall\n100.00  0.1  1  4242  7 total\n"
        self.assertEqual(strace_total(lines), 4242)

    def test_names_are_unique_over_scenarios_and_sweeps(self):
        points = [s.name for sweep in (*SWEEPS.values(), workers_sweep([1, 2])) for _, s in sweep.points]
        names = [*SCENARIOS, *points]
        self.assertEqual(len(names), len(set(names)))

    def test_every_part_of_a_scenario_is_known(self):
        for s in SCENARIOS.values():
            self.assertLessEqual({*s.parts, *(s.without or ())}, set(PARTS), s.name)

    def test_a_request_has_as_many_fields_as_asked_for(self):
        self.assertEqual([1 + len(s.fields()) for _, s in SWEEPS["headers"].points], [5, 20, 40, 80])


class Csv(unittest.TestCase):
    def test_there_is_one_line_a_round_with_its_place_in_a_sweep(self):
        sweep = SWEEPS["servers"]
        measured = {"small": {"rsp": rounds(1, 2)}, sweep.points[1][1].name: {"nginx": rounds(3.14159, errors={"read": 2})}}
        groups = [("main", [("", SMALL)]), (sweep.name, sweep.points)]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "figures.csv"
            output.write_csv(path, groups, measured)
            with open(path, newline="") as lines:
                read = list(csv.DictReader(lines))
        self.assertEqual([(r["scenario"], r["x"], r["subject"], r["round"]) for r in read], [("small", "", "rsp", "1"), ("small", "", "rsp", "2"), ("servers=10", "10", "nginx", "1")])
        self.assertEqual((read[2]["cpu_us"], read[2]["errors"], read[2]["calls"]), ("3.142", "read=2", ""))


if __name__ == "__main__":
    unittest.main()
