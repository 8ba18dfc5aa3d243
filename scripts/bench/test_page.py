"""Tests of the plots and the page: valid XML, correct points, no external files."""

import re
import unittest
from xml.etree import ElementTree

from . import svg
from .page import COLOURS, page
from .scenarios import SCENARIOS, SWEEPS
from .subjects import SUBJECTS
from .test_figures import rounds


def heights(drawing):
    return [float(circle.get("cy")) for circle in ElementTree.fromstring(drawing).iter("circle")]


class Plots(unittest.TestCase):
    def test_more_is_higher(self):
        drawing = svg.curves({"rsp": ("rsp", [(1, 5, 5, "a"), (2, 9, 9, "b"), (4, 7, 8, "c")])}, "x", "y", [1, 2, 4])
        low, high, between = heights(drawing)
        self.assertTrue(low > between > high, drawing)

    def test_every_point_lies_inside_the_drawing(self):
        points = [(n, value, value * 1.5, "") for n, value in enumerate((0.3, 12, 90_000))]
        drawing = svg.curves({"rsp": ("rsp", points)}, "x", "y", [0, 1, 2])
        self.assertTrue(all(0 <= y <= svg.HEIGHT for y in heights(drawing)), drawing)

    def test_an_axis_is_logarithmic_only_over_a_wide_range(self):
        self.assertFalse(svg.Axis([10, 40], 0, 100).log)
        wide = svg.Axis([1, 10_000], 0, 100)
        self.assertTrue(wide.log)
        self.assertAlmostEqual(wide.at(100), 50, delta=1)

    def test_ticks_are_round_and_reach_beyond_the_values(self):
        self.assertEqual(svg.nice_steps(47), [0, 10, 20, 30, 40, 50])
        self.assertEqual(svg.decades(3, 400), [2, 5, 10, 20, 50, 100, 200, 500])
        self.assertEqual(svg.decades(3, 4000), [2, 10, 100, 1000, 5000])

    def test_a_longer_bar_is_more_and_text_is_escaped(self):
        drawing = ElementTree.fromstring(svg.bars([("rsp", "<rsp>", 5, "5"), ("nginx", "nginx", 10, "10")]))
        first, second = (float(bar.get("width")) for bar in drawing.iter("rect"))
        self.assertAlmostEqual(second / first, 2, delta=0.01)

    def test_a_bar_that_would_shrink_all_others_is_cut_and_marked(self):
        drawing = svg.bars([(n, n, value, "") for n, value in (("rsp", 10), ("nginx", 12), ("haproxy", 11), ("varnish", 900))])
        widths = [float(bar.get("width")) for bar in ElementTree.fromstring(drawing).iter("rect")]
        self.assertGreater(widths[0], widths[3] / 5)
        self.assertEqual(drawing.count('class="cut"'), 1)

    def test_sizes_on_an_axis_are_short(self):
        self.assertEqual([svg.number(n) for n in (128, 4096, 16 << 20, 1000)], ["128", "4k", "16M", "1,000"])


class Page(unittest.TestCase):
    def made(self):
        measured = {"small": {"rsp": rounds(8.5, 9), "haproxy": rounds(10)}}
        measured |= {s.name: {"rsp": rounds(x, x + 3)} for x, s in SWEEPS["headers"].points}
        labels = lambda _scenario: {"rsp": "rsp", "haproxy": "haproxy"}
        versions = {"rsp": "rsp <0.1>", "haproxy": "2.6", "nginx": "1.22"}
        return page("Main <one>", versions, list(SCENARIOS.values()), list(SWEEPS.values()), measured, labels, ["small: x"])

    def test_it_is_whole_and_shows_goals_curves_and_what_went_wrong(self):
        made = self.made()
        for drawing in re.findall(r"<svg.*?</svg>", made):
            ElementTree.fromstring(drawing)
        for words in ("Goals", "0.85 &gt; 0.80", "not measured", "header fields", "Not clean: small: x", "rsp 0.1<", "Main &lt;one&gt;"):
            self.assertIn(words, made)

    def test_it_needs_no_other_file_and_reads_in_light_and_dark(self):
        made = self.made()
        self.assertEqual(re.findall(r"https?://|src=|@import|<script", made), [])
        self.assertIn("prefers-color-scheme: dark", made)

    def test_a_subject_that_was_not_measured_is_not_in_the_legend(self):
        self.assertNotIn("nginx 1.22", self.made())

    def test_every_subject_has_a_colour(self):
        self.assertEqual(set(COLOURS), set(SUBJECTS))


if __name__ == "__main__":
    unittest.main()
