//! Which lines of a script the tests reached.

use std::collections::{BTreeMap, BTreeSet};

use crate::offline::OfflineSite;
use crate::script::{Source, active_lines};

/// The lines that ran, by file.
#[derive(Default)]
pub struct Coverage(BTreeMap<String, BTreeSet<usize>>);

/// The lines of one file.
#[derive(Debug, PartialEq, Eq)]
pub struct Covered {
    pub file: String,
    /// Lines with something to run.
    pub lines: usize,
    pub missed: Vec<usize>,
}

impl Coverage {
    /// Adds what ran in a site.
    pub fn add(&mut self, site: &OfflineSite) {
        site.observed(|observed| {
            for (file, lines) in observed.lines() {
                self.0.entry(file.to_owned()).or_default().extend(lines);
            }
        });
    }

    /// The files of the script, in order.
    pub fn of_files(&self, source: &Source) -> Vec<Covered> {
        let of = |path: &std::path::Path| {
            let file = path.display().to_string();
            let active = active_lines(&std::fs::read(path).unwrap_or_default());
            let ran = self.0.get(&file);
            let missed = active.iter().filter(|line| !ran.is_some_and(|ran| ran.contains(line)));
            let missed = missed.copied().collect();
            Covered { file, lines: active.len(), missed }
        };
        source.paths().map(of).collect()
    }
}

impl Covered {
    pub fn percent(&self) -> usize {
        if self.lines == 0 { 100 } else { (self.lines - self.missed.len()) * 100 / self.lines }
    }
}
