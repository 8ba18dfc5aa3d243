//! An error about a value of the config, and the path to the value from the call's table (`servers[2].weight`). The
//! path is built from the inside out while the error is returned, so that a reader of a value need not know it;
//! `position` later uses it to find the line in the script.

use std::fmt::{self, Write};

use mlua::Value;

/// One step into a table.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum PathStep {
    Key(String),
    /// Counted from 1, as in Lua.
    Item(usize),
}

#[derive(PartialEq, Debug)]
pub(super) struct ValueError {
    /// The innermost step first.
    steps: Vec<PathStep>,
    what: String,
}

impl ValueError {
    pub(super) fn new(what: impl Into<String>) -> ValueError {
        ValueError { steps: Vec::new(), what: what.into() }
    }

    pub(super) fn got(value: &Value, expected: &str) -> ValueError {
        ValueError::new(format!("got {}, expected {expected}", show(value)))
    }

    pub(super) fn key(self, name: impl Into<String>) -> ValueError {
        self.within(PathStep::Key(name.into()))
    }

    pub(super) fn item(self, number: usize) -> ValueError {
        self.within(PathStep::Item(number))
    }

    pub(super) fn within(mut self, step: PathStep) -> ValueError {
        self.steps.push(step);
        self
    }

    /// From the outermost step to the innermost.
    pub(super) fn path(&self) -> Vec<PathStep> {
        self.steps.iter().rev().cloned().collect()
    }

    /// `servers[2].weight: …`; an error about the call itself is reported under the call's name.
    pub(super) fn line(&self, call: &str) -> String {
        let mut line = String::new();
        for step in self.steps.iter().rev() {
            // Writing to a String cannot fail.
            let _ = match step {
                PathStep::Key(name) if line.is_empty() => write!(line, "{name}"),
                PathStep::Key(name) => write!(line, ".{name}"),
                PathStep::Item(number) if line.is_empty() => write!(line, "{call}[{number}]"),
                PathStep::Item(number) => write!(line, "[{number}]"),
            };
        }
        format!("{}: {}", if line.is_empty() { call } else { &line }, self.what)
    }
}

const SHOWN: usize = 60;

/// A value as written, short enough for one line.
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

/// The text in quotes, with control characters escaped.
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

/// Edit distance: insertions, deletions, replacements and swaps of neighbours.
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

/// Result of a reader; the caller adds the path to an error.
pub(super) type ReadValue<T> = Result<T, ValueError>;

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line("value"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_written_from_the_outside_in() {
        let error = || ValueError::new("odd");
        assert_eq!(error().line("pool"), "pool: odd");
        assert_eq!(error().item(2).line("listen"), "listen[2]: odd");
        assert_eq!(error().key("weight").item(2).key("servers").line("pool"), "servers[2].weight: odd");
        let path = [PathStep::Key("servers".into()), PathStep::Item(2)];
        assert_eq!(error().item(2).key("servers").path(), path);
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
    fn the_nearest_known_word_is_suggested_only_if_similar() {
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
