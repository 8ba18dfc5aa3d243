//! What a replay found, for people and as JSON.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use serde::Serialize;

use super::log_line::Row;
use crate::offline::Outcome;
use crate::script::ranges;

/// Rows of a group that are shown.
const SAMPLES: usize = 3;
/// Groups that are kept: answers may be as many as requests.
const GROUPS: usize = 1000;
/// Of a row that is shown, in bytes.
const SHOWN: usize = 160;

#[derive(Default, Debug)]
pub struct Report {
    pub rows: u64,
    /// Rows that are no request, or cannot be read.
    pub unreadable: u64,
    /// Rows whose script reads what the log does not tell.
    pub undecided: u64,
    pub changed: u64,
    groups: HashMap<(String, String), Group>,
    lacking: BTreeMap<String, u64>,
    odd: Vec<Sample>,
    /// Lines of the new script that no request reached, by file.
    pub unreached: BTreeMap<String, Vec<usize>>,
}

#[derive(Default, Debug)]
struct Group {
    count: u64,
    samples: Vec<Sample>,
}

#[derive(Clone, Serialize, Debug)]
struct Sample {
    /// The row's number in the log, from 1.
    row: u64,
    text: String,
}

impl Report {
    pub(super) fn note_unreadable(&mut self, row: u64, line: &[u8]) {
        if self.odd.len() < SAMPLES {
            self.odd.push(Sample { row, text: shown(line) });
        }
    }

    pub(super) fn note_lacking(&mut self, what: String) {
        *self.lacking.entry(what).or_default() += 1;
    }

    pub(super) fn note_change(&mut self, old: &Outcome, new: &Outcome, number: u64, row: &Row) {
        let (old, new) = labels(old, new);
        let full = self.groups.len() >= GROUPS && !self.groups.contains_key(&(old.clone(), new.clone()));
        let key = if full { ("others".to_owned(), "others".to_owned()) } else { (old, new) };
        let group = self.groups.entry(key).or_default();
        group.count += 1;
        if group.samples.len() < SAMPLES {
            let host = row.more.as_ref().map_or("", |more| &*more.host);
            let request = [&row.method[..], b" ", host.as_bytes(), &row.target[..]].concat();
            group.samples.push(Sample { row: number, text: shown(&request) });
        }
    }

    /// The largest groups first.
    fn sorted(&self) -> Vec<(&(String, String), &Group)> {
        let mut groups: Vec<_> = self.groups.iter().collect();
        groups.sort_by(|(a, one), (b, two)| two.count.cmp(&one.count).then(a.cmp(b)));
        groups
    }

    pub fn text(&self) -> String {
        // Writing to a String cannot fail.
        let mut text = format!("{} of {} requests change\n", self.changed, self.rows - self.unreadable);
        for ((old, new), group) in self.sorted() {
            let _ = writeln!(text, "\n{:>8}  {old}  ->  {new}", group.count);
            for Sample { row, text: request } in &group.samples {
                let _ = writeln!(text, "{:>18}: {request}", format!("row {row}"));
            }
        }
        if self.undecided > 0 {
            let _ = writeln!(
                text,
                "\n{:>8}  undecided: the script reads what the log does not tell",
                self.undecided
            );
            for (what, count) in &self.lacking {
                let _ = writeln!(text, "{count:>18}  {what}");
            }
        }
        if self.unreadable > 0 {
            let _ = writeln!(text, "\n{:>8}  not readable, or no request", self.unreadable);
            for Sample { row, text: line } in &self.odd {
                let _ = writeln!(text, "{:>18}: {line}", format!("row {row}"));
            }
        }
        if !self.unreached.is_empty() {
            text.push_str("\nlines that no request reached (what follows a response does not run here):\n");
            for (file, lines) in &self.unreached {
                let _ = writeln!(text, "  {file}: {}", ranges(lines));
            }
        }
        text
    }

    pub fn json(&self) -> String {
        let group = |((old, new), group): (&(String, String), &Group)| serde_json::json!({ "old": old, "new": new, "count": group.count, "samples": group.samples });
        let json = serde_json::json!({
            "rows": self.rows,
            "unreadable": self.unreadable,
            "undecided": self.undecided,
            "changed": self.changed,
            "groups": self.sorted().into_iter().map(group).collect::<Vec<_>>(),
            "lacking": self.lacking,
            "unreached": self.unreached,
        });
        format!("{json}\n")
    }
}

/// What became of it before and now, told apart where they differ only within.
fn labels(old: &Outcome, new: &Outcome) -> (String, String) {
    let (was, is) = (label(old), label(new));
    if was != is {
        return (was, is);
    }
    let what = match (old, new) {
        (Outcome::Answered(old), Outcome::Answered(new)) if old.headers != new.headers => {
            "with other headers"
        }
        (Outcome::Answered(_), Outcome::Answered(_)) => "with another body",
        (Outcome::Forwarded(old), Outcome::Forwarded(new)) if old.host != new.host => "with another Host",
        (Outcome::Forwarded(_), Outcome::Forwarded(_)) => "with another path or query",
        _ => "for another reason",
    };
    (was, format!("{is} {what}"))
}

fn label(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Forwarded(to) => {
            let mut label = format!("pool {}", to.pool);
            if let Some(server) = to.server.as_ref().filter(|_| to.bound) {
                let _ = write!(label, ", server {server}");
            }
            if to.error.is_some() {
                label.push_str(" (fallback)");
            }
            label
        }
        Outcome::Answered(answer) => match answer.error.as_ref().filter(|_| answer.status == 500) {
            Some(error) => format!("answer 500: {}", shown(error.as_bytes())),
            None => format!("answer {}", answer.status),
        },
        Outcome::Closed(why) => format!("closed: {why}"),
    }
}

fn shown(text: &[u8]) -> String {
    let cut = &text[..text.len().min(SHOWN)];
    let more = if text.len() > SHOWN { "…" } else { "" };
    let line: String =
        String::from_utf8_lossy(cut).chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    line + more
}
