//! What comes of a request, as JSON and as text.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::base::counted::counted;

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Explanation {
    /// The pool that takes it; none for an answer of the script or of rsp.
    pub pool: Option<String>,
    /// The server that is picked.
    pub server: Option<String>,
    /// Of an answer of the script or of rsp; none where a server answers.
    pub status: Option<u16>,
    /// `FILE:LINE` that decided: where `on_request` returned, or failed.
    pub route: Option<String>,
    /// `script` or `rsp`, for a status.
    pub answered_by: Option<String>,
    /// Why, in words.
    pub why: String,
    pub method: String,
    pub target: String,
    /// As the server sees it.
    pub target_after: String,
    pub client: String,
    pub scheme: String,
    pub listener: String,
    /// How the pool chooses a server.
    pub balance: Option<String>,
    /// What `score` of a server is.
    pub score: Option<String>,
    pub servers: Vec<ServerReport>,
    /// As sent, and as a server gets them.
    pub headers_before: Vec<(String, String)>,
    pub headers_after: Vec<(String, String)>,
    /// Of an answer of the script or of rsp.
    pub answer_headers: Vec<(String, String)>,
    /// The lines of the script that ran, in this order.
    pub lines: Vec<String>,
    /// There were more lines.
    pub more_lines: bool,
    /// In seconds.
    pub timeouts: Vec<(String, f64)>,
    /// Time that the script took, in microseconds, with every line noted.
    pub script_us: u64,
    pub notes: Vec<String>,
    /// Why the script failed, if it did.
    pub failed: Option<String>,
    /// It would have asked others, and did not.
    pub not_asked: bool,
}

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerReport {
    pub name: String,
    pub address: String,
    pub state: String,
    pub weight: u32,
    pub in_flight: u32,
    pub backup: bool,
    /// The lowest is picked; none where the algorithm compares nothing.
    pub score: Option<f64>,
    pub picked: bool,
}

impl Explanation {
    pub fn json(&self) -> String {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        // One object reads better than pairs.
        let timeouts = self.timeouts.iter().map(|(name, seconds)| (name.clone(), (*seconds).into()));
        if let Some(object) = value.as_object_mut() {
            object.insert("timeouts".into(), serde_json::Value::Object(timeouts.collect()));
        }
        format!("{value:#}\n")
    }

    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut out);
        out.chars().map(|c| if c.is_control() && c != '\n' { '?' } else { c }).collect()
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let Explanation { method, target, client, listener, .. } = self;
        writeln!(out, "request   {method} {target} from {client} at {listener} ({})", self.scheme)?;
        let route = self.route.as_deref().unwrap_or("no line of the script");
        writeln!(out, "route     {route}: {}", self.why)?;
        if let Some(status) = self.status {
            writeln!(out, "answer    {status} by {}", self.answered_by.as_deref().unwrap_or("rsp"))?;
        }
        self.write_pool(out)?;
        if self.pool.is_some() {
            writeln!(out, "headers   as the server gets them: - taken away, + added")?;
            self.write_headers(out)?;
        }
        for (name, value) in &self.answer_headers {
            writeln!(out, "            {name}: {value}")?;
        }
        if !self.timeouts.is_empty() {
            let each: Vec<String> =
                self.timeouts.iter().map(|(name, seconds)| format!("{name} {seconds}s")).collect();
            writeln!(out, "timeouts  {}", each.join(", "))?;
        }
        if !self.lines.is_empty() {
            let more = if self.more_lines { " …" } else { "" };
            writeln!(out, "lines     {}{more}", self.lines_in_short())?;
            writeln!(out, "script    {} µs (with every line noted)", self.script_us)?;
        }
        self.notes.iter().try_for_each(|note| writeln!(out, "note      {note}"))
    }

    fn write_pool(&self, out: &mut String) -> std::fmt::Result {
        let Some(pool) = &self.pool else { return Ok(()) };
        let balance = self.balance.as_deref().unwrap_or_default();
        let score = self.score.as_ref().map(|score| format!("; score: {score}")).unwrap_or_default();
        writeln!(out, "pool      {pool} ({balance}{score})")?;
        let width = self.servers.iter().map(|server| server.name.chars().count()).max().unwrap_or_default();
        for server in &self.servers {
            let ServerReport { name, state, weight, in_flight, address, .. } = server;
            let mark = if server.picked { "►" } else { " " };
            let score = server.score.map(|score| format!(", score {score:.3}")).unwrap_or_default();
            let backup = if server.backup { ", backup" } else { "" };
            writeln!(
                out,
                "        {mark} {name:<width$}  {state}, weight {weight}, {in_flight} in flight{score}{backup}, {address}"
            )?;
        }
        writeln!(out, "server    {}", self.server.as_deref().unwrap_or("none"))
    }

    fn write_headers(&self, out: &mut String) -> std::fmt::Result {
        if self.target != self.target_after {
            writeln!(out, "          - {} {}", self.method, self.target)?;
            writeln!(out, "          + {} {}", self.method, self.target_after)?;
        }
        for (name, value) in &self.headers_before {
            let stays = self.headers_after.iter().any(|after| same(after, name, value));
            writeln!(out, "          {} {name}: {value}", if stays { ' ' } else { '-' })?;
        }
        let new = |(name, value): &&(String, String)| {
            !self.headers_before.iter().any(|before| same(before, name, value))
        };
        self.headers_after
            .iter()
            .filter(new)
            .try_for_each(|(name, value)| writeln!(out, "          + {name}: {value}"))
    }

    /// `site.lua:3 5-7, 9`: lines of one file in a row say its name once.
    fn lines_in_short(&self) -> String {
        const SHOWN: usize = 40;
        let mut text = String::new();
        let mut file = "";
        for place in self.lines.iter().take(SHOWN) {
            let (of, line) = place.rsplit_once(':').unwrap_or((place, ""));
            match of == file {
                true => text = text + " " + line,
                false => text = text + if file.is_empty() { "" } else { " " } + place,
            }
            file = of;
        }
        match self.lines.len().saturating_sub(SHOWN) {
            0 => text,
            more => format!("{text} and {}", counted(more as u64, "more line")),
        }
    }
}

fn same((name, value): &(String, String), other: &str, text: &str) -> bool {
    name.eq_ignore_ascii_case(other) && value == text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.into(), value.into())
    }

    #[test]
    fn headers_are_a_diff_and_control_bytes_are_not_shown() {
        let report = Explanation {
            pool: Some("web".into()),
            headers_before: vec![pair("Host", "a"), pair("X", "1"), pair("Y", "\u{1b}[2J")],
            headers_after: vec![pair("host", "a"), pair("X", "2"), pair("Y", "\u{1b}[2J")],
            ..Explanation::default()
        };
        let text = report.text();
        assert!(
            text.contains("            Host: a\n          - X: 1\n            Y: ?[2J\n          + X: 2\n"),
            "{text}"
        );
    }

    #[test]
    fn lines_name_their_file_once() {
        let lines = ["a.lua:1", "a.lua:2", "b.lua:7", "a.lua:3"].map(str::to_owned).to_vec();
        let report = Explanation { lines, ..Explanation::default() };
        assert_eq!(report.lines_in_short(), "a.lua:1 2 b.lua:7 a.lua:3");
    }
}
