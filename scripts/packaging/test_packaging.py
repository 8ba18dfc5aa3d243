"""Tests of what becomes a manual page, a copyright file and an archive.

    python3 -m unittest discover -s scripts/packaging -t scripts
"""

import tarfile
import tempfile
import unittest
from pathlib import Path

from . import archive, licences, manpage
from .contents import File

HELP = """\
rsp: a balancer

usage:
  rsp CONFIG.lua          run
  rsp ctl SOCKET WORD…    ask
                          and wait

One \\ paragraph.

signals:
  USR1   reopen

exit codes:
  0   fine

topics:
  logs    what is logged
"""


class Pages(unittest.TestCase):
    def chapter(self, text):
        return manpage.chapter("x", f"# X: about\n\n{text}\n", "1", "2026-01-01").split("\n")

    def test_the_command_has_each_section_of_the_help(self):
        page = manpage.command(HELP, "1", "2026-01-01")
        for part in (
            ".SH SYNOPSIS\n.nf\n\\fBrsp\\fR \\fICONFIG.lua\\fR\n",
            "\\fBrsp\\fR \\fBctl\\fR \\fISOCKET\\fR \\fIWORD\\fR\\[u2026]\nask and wait\n",
            ".SH DESCRIPTION\nOne \\e paragraph.\n",
            ".SH SIGNALS\n.TP\n\\fBUSR1\\fR\nreopen\n",
            ".SH EXIT STATUS\n.TP\n\\fB0\\fR\nfine\n",
            ".TP\n\\fBrsp\\-logs\\fR(7)\nwhat is logged\n",
        ):
            self.assertIn(part, page)

    def test_a_section_that_is_new_in_the_help_is_on_the_page(self):
        page = manpage.command(HELP.replace("signals:", "files:\n  a.lua   it\n\nsignals:"), "1", "2026-01-01")
        self.assertIn(".SH FILES\n.TP\n\\fBa.lua\\fR\nit\n", page)

    def test_no_text_is_taken_for_a_command_of_roff(self):
        self.assertIn("\\&.hidden and \\e", self.chapter(".hidden and \\"))
        self.assertIn("\\(aq", self.chapter("```\n'\n```"))
        self.assertIn("\\&.TH", self.chapter("```\n.TH\n```"))
        self.assertTrue(all(text.isascii() for text in self.chapter("µ ► `…`")))

    def test_links_lead_to_the_page_of_their_chapter(self):
        page = self.chapter("[a `b`](logs.md#c), [d](#e), [f](../../f.lua), **g**")
        self.assertIn(r"a \fBb\fR (see \fBrsp\-logs\fR(7)), d, f, \fBg\fR", page)

    def test_items_and_code_within_them_are_indented(self):
        page = self.chapter("1. one\n   more\n\n   ```sh\n   a -b\n   ```\n- two")
        at = page.index(".IP 1. 4")
        self.assertEqual(page[at:at + 8], [".IP 1. 4", "one more", '.IP "" 8', ".EX", r"a \-b", ".EE", r".IP \(bu 2", "two"])

    def test_a_table_is_as_wide_as_a_terminal_and_its_signs_are_text(self):
        page = self.chapter(f"| a | b |\n|---|---|\n| `x@y` | {'word ' * 40}|\n| . | _ |")
        at = page.index(".TS")
        self.assertEqual(page[at + 1:at + 6], ["tab(@);", "lB3 lBx", "l3 lx.", "a@T{", "b"])
        self.assertIn(r"\fBx\(aty\fR@T{", page)
        self.assertIn(r"\&.@T{", page)


class Licences(unittest.TestCase):
    def test_one_of_several_is_chosen_and_all_parts_are_named(self):
        for expression, wanted in (
            ("MIT", "MIT"),
            ("MIT/Apache-2.0", "MIT"),
            ("Apache-2.0 OR ISC", "ISC"),
            ("Unlicense OR MIT", "MIT"),
            ("ISC AND (Apache-2.0 OR ISC) AND Apache-2.0 AND BSD-3-Clause", "ISC and Apache-2.0 and BSD-3-Clause"),
        ):
            self.assertEqual(licences.chosen(expression), wanted, expression)


class Archives(unittest.TestCase):
    def test_a_tarball_depends_on_nothing_but_what_is_in_it(self):
        files = {"bin/a": File(b"1", 0o755), "share/b": File(b"2")}
        made = []
        with tempfile.TemporaryDirectory() as folder:
            for number, order in enumerate((files, dict(reversed(files.items())))):
                path = Path(folder) / f"{number}.tar.xz"
                archive.tarball(path, "top", order, 1_000_000_000, 0)
                made.append(path.read_bytes())
                with tarfile.open(path) as tar:
                    self.assertEqual(tar.getnames(), ["top", "top/bin", "top/bin/a", "top/share", "top/share/b"])
                    self.assertEqual(tar.getmember("top/bin/a").mode, 0o755)
        self.assertEqual(*made)


if __name__ == "__main__":
    unittest.main()
