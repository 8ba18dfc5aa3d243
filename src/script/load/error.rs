//! What is wrong with a value of the config, and where in it: the way from the call's table down to the value
//! (`servers[2].weight`). The way is put together from the inside out while the error returns, so that a reader of
//! a value need not know where it stands; `place` later finds the line of the script by it.

use std::fmt::{self, Write};

use mlua::Value;

use crate::config::later::LATER;

/// One step down into a table.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Step {
    Key(String),
    /// Counted from 1, as Lua does.
    Item(usize),
}

#[derive(PartialEq, Debug)]
pub(super) struct Wrong {
    /// The innermost step first.
    steps: Vec<Step>,
    what: String,
}

impl Wrong {
    pub(super) fn new(what: impl Into<String>) -> Wrong {
        Wrong { steps: Vec::new(), what: what.into() }
    }

    pub(super) fn got(value: &Value, expected: &str) -> Wrong {
        Wrong::new(format!("got {}, expected {expected}", show(value)))
    }

    /// A value that this version does not do.
    pub(super) fn later(value: &Value) -> Wrong {
        Wrong::new(format!("{}: {LATER}", show(value)))
    }

    pub(super) fn key(self, name: impl Into<String>) -> Wrong {
        self.within(Step::Key(name.into()))
    }

    pub(super) fn item(self, number: usize) -> Wrong {
        self.within(Step::Item(number))
    }

    fn within(mut self, step: Step) -> Wrong {
        self.steps.push(step);
        self
    }

    /// From the outermost step to the innermost.
    pub(super) fn path(&self) -> Vec<Step> {
        self.steps.iter().rev().cloned().collect()
    }

    /// `servers[2].weight: …`; an error about the call itself goes under the call's name.
    pub(super) fn line(&self, call: &str) -> String {
        let mut line = String::new();
        for step in self.steps.iter().rev() {
            // Writing to a String cannot fail.
            let _ = match step {
                Step::Key(name) if line.is_empty() => write!(line, "{name}"),
                Step::Key(name) => write!(line, ".{name}"),
                Step::Item(number) if line.is_empty() => write!(line, "{call}[{number}]"),
                Step::Item(number) => write!(line, "[{number}]"),
            };
        }
        format!("{}: {}", if line.is_empty() { call } else { &line }, self.what)
    }
}

const SHOWN: usize = 60;

/// A value as the operator wrote it, short enough for one line.
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::Nil => "nothing (nil)".to_owned(),
        Value::Boolean(is) => is.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => quoted(&text.to_string_lossy()),
        other => format!("a {}", other.type_name()),
    }
}

/// The text in quotes, with what would break the line escaped.
pub(super) fn quoted(text: &str) -> String {
    let short: String = text.chars().take(SHOWN).flat_map(shown).collect();
    let cut = if text.chars().nth(SHOWN).is_some() { "…" } else { "" };
    format!("\"{short}{cut}\"")
}

fn shown(c: char) -> impl Iterator<Item = char> {
    let escape = c.is_control();
    c.escape_default().take(if escape { usize::MAX } else { 0 }).chain((!escape).then_some(c))
}

/// The known word that was probably meant.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase().replace('-', "_");
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    let near = |name: &'a str| {
        let prefix = word.len() >= 3 && (name.starts_with(&word) || word.starts_with(name));
        let distance = if prefix { 1 } else { distance(&word, name) };
        (distance <= allowed).then_some((distance, name))
    };
    known.filter_map(near).min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

/// Insertions, deletions, changes and swaps of neighbours between two words.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// What went wrong, put into the operator's words by the one who knows where.
pub(super) type Read<T> = Result<T, Wrong>;

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line("value"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_the_value_reads_from_the_outside_in() {
        let wrong = || Wrong::new("odd");
        assert_eq!(wrong().line("pool"), "pool: odd");
        assert_eq!(wrong().item(2).line("listen"), "listen[2]: odd");
        assert_eq!(wrong().key("weight").item(2).key("servers").line("pool"), "servers[2].weight: odd");
        let path = [Step::Key("servers".into()), Step::Item(2)];
        assert_eq!(wrong().item(2).key("servers").path(), path);
    }

    #[test]
    fn values_are_shown_on_one_short_line() {
        assert_eq!(show(&Value::Nil), "nothing (nil)");
        assert_eq!(show(&Value::Number(1.5)), "1.5");
        assert_eq!(show(&Value::Boolean(true)), "true");
        assert_eq!(quoted("a\nb"), "\"a\\nb\"");
        assert_eq!(quoted(&"ü".repeat(70)), format!("\"{}…\"", "ü".repeat(60)));
    }

    #[test]
    fn the_nearest_known_word_is_suggested_only_when_it_is_near() {
        let known = ["max_connections", "access_log", "via", "workers", "timeouts"];
        for (typed, meant) in [
            ("max_conections", Some("max_connections")),
            ("maxconnections", Some("max_connections")),
            ("Max-Connections", Some("max_connections")),
            ("max_conn", Some("max_connections")),
            ("worker", Some("workers")),
            ("accesslog", Some("access_log")),
            ("timeuots", Some("timeouts")),
            ("vai", Some("via")),
            ("colour", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, known.into_iter()), meant, "{typed}");
        }
    }
}
