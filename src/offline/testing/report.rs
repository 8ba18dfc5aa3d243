//! The results for people and programs: TAP on stdout, JUnit's XML in a file.

use std::fmt::Write;

use super::Tested;
use super::coverage::Covered;
use crate::script::ranges;

/// What all tests came to.
#[derive(Debug)]
pub struct Report {
    pub tested: Vec<Tested>,
    pub coverage: Vec<Covered>,
}

impl Report {
    pub fn failed(&self) -> usize {
        self.tested.iter().filter(|test| test.failure.is_some()).count()
    }

    /// The Test Anything Protocol, version 14.
    pub fn tap(&self, coverage: bool) -> String {
        // Writing to a String cannot fail.
        let mut tap = format!("TAP version 14\n1..{}\n", self.tested.len());
        for (test, number) in self.tested.iter().zip(1..) {
            for line in &test.printed {
                let _ = writeln!(tap, "# {line}");
            }
            let name = test.name.replace('\\', "\\\\").replace('#', "\\#").replace('\n', " ");
            let _ = match &test.failure {
                None => writeln!(tap, "ok {number} - {name}"),
                Some(failure) => {
                    let quoted = failure.replace('\\', "\\\\").replace('"', "\\\"");
                    writeln!(tap, "not ok {number} - {name}\n  ---\n  message: \"{quoted}\"\n  ...")
                }
            };
        }
        let _ = match (self.failed(), self.tested.len()) {
            (0, all) => writeln!(tap, "# all {all} passed"),
            (failed, all) => writeln!(tap, "# {failed} of {all} failed"),
        };
        if coverage {
            self.coverage.iter().for_each(|file| tap.push_str(&line_of(file)));
        }
        tap
    }

    /// The XML that build servers read.
    pub fn junit(&self) -> String {
        let seconds: f64 = self.tested.iter().map(|test| test.seconds).sum();
        let (all, failed) = (self.tested.len(), self.failed());
        let mut xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n<testsuite name=\"rsp test\" tests=\"{all}\" \
             failures=\"{failed}\" errors=\"0\" skipped=\"0\" time=\"{seconds:.6}\">\n"
        );
        for test in &self.tested {
            let (file, name) = (escaped(&test.file), escaped(&test.name));
            let _ =
                write!(xml, "<testcase classname=\"{file}\" name=\"{name}\" time=\"{:.6}\"", test.seconds);
            let _ = match &test.failure {
                None => writeln!(xml, "/>"),
                Some(failure) => writeln!(xml, "><failure message=\"{}\"/></testcase>", escaped(failure)),
            };
        }
        xml + "</testsuite>\n</testsuites>\n"
    }
}

fn line_of(file: &Covered) -> String {
    let reached = file.lines - file.missed.len();
    let of = format!("# coverage: {}: {reached} of {} lines ({} %)", file.file, file.lines, file.percent());
    match file.missed.is_empty() {
        true => format!("{of}\n"),
        false => format!("{of}, not reached: {}\n", ranges(&file.missed)),
    }
}

/// XML 1.0 has no way to write other control bytes.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(' '),
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => escaped.push('?'),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let tested = |name: &str, failure: Option<&str>| Tested {
            file: "site_test.lua".into(),
            name: name.into(),
            failure: failure.map(str::to_owned),
            printed: vec!["seen".into()],
            seconds: 0.5,
        };
        let coverage = vec![Covered { file: "site.lua".into(), lines: 8, missed: vec![3, 4] }];
        Report { tested: vec![tested("a # b", None), tested("<c>", Some("x:3: \"1\" & 2"))], coverage }
    }

    #[test]
    fn tap_has_a_plan_a_line_for_each_test_and_why_it_failed() {
        let tap = report().tap(true);
        assert_eq!(
            tap,
            "TAP version 14\n1..2\n# seen\nok 1 - a \\# b\n# seen\nnot ok 2 - <c>\n  ---\n  \
             message: \"x:3: \\\"1\\\" & 2\"\n  ...\n# 1 of 2 failed\n\
             # coverage: site.lua: 6 of 8 lines (75 %), not reached: 3-4\n"
        );
    }

    #[test]
    fn junit_is_escaped() {
        let xml = report().junit();
        assert!(xml.contains("tests=\"2\" failures=\"1\""), "{xml}");
        assert!(xml.contains("name=\"&lt;c&gt;\""), "{xml}");
        assert!(xml.contains("<failure message=\"x:3: &quot;1&quot; &amp; 2\"/>"), "{xml}");
    }
}
