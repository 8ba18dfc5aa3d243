//! `rsp replay OLD.lua NEW.lua ACCESS.log`: what a new config changes for the requests of a log.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Exit, complain, say};
use crate::offline::replay;

/// Between two looks of the progress.
const PERIOD: Duration = Duration::from_millis(200);
const WIDTH: usize = 40;

pub fn run(old: &Path, new: &Path, log: &Path, json: bool) -> Exit {
    let mut bar = Bar::new();
    let report = replay::run(old, new, log, &mut |done, all| bar.show(done, all));
    bar.clear();
    match report {
        Ok(report) if json => say(&report.json()),
        Ok(report) => say(&report.text()),
        Err(line) => {
            complain(&line);
            Exit::Failed
        }
    }
}

/// A bar on a terminal.
struct Bar {
    is_terminal: bool,
    shown: Option<Instant>,
    calls: u32,
}

impl Bar {
    fn new() -> Bar {
        Bar { is_terminal: std::io::stderr().is_terminal(), shown: None, calls: 0 }
    }

    fn show(&mut self, done: u64, all: u64) {
        // The clock costs more than a row's share of it is worth.
        self.calls += 1;
        if !self.is_terminal || !self.calls.is_multiple_of(256) {
            return;
        }
        let now = Instant::now();
        if self.shown.is_some_and(|shown| now - shown < PERIOD) {
            return;
        }
        self.shown = Some(now);
        let percent = (done * 100).checked_div(all).unwrap_or(100).min(100) as usize;
        let full = WIDTH * percent / 100;
        let _ =
            write!(std::io::stderr(), "\r[{}{}] {percent:>3} %", "#".repeat(full), " ".repeat(WIDTH - full));
    }

    fn clear(&self) {
        if self.shown.is_some() {
            let _ = write!(std::io::stderr(), "\r{}\r", " ".repeat(WIDTH + 8));
        }
    }
}
