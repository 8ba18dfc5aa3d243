//! `rsp test`: runs the tests of a routing script. Each test has a site and a Lua of its own, made anew, and nothing of
//! the system: no sockets, the clock of the site, the same random numbers each time.
//!
//! - `suite`    the tests of one file, and running them
//! - `tester`   `t`, which a test is given
//! - `asking`   what a test asks, from its tables
//! - `servers`  the state of servers
//! - `answers`  what handlers wait for
//! - `results`  what came of it, as tables
//! - `values`   shows and compares values of Lua's
//! - `report`   TAP and JUnit
//! - `coverage` the lines of the script that the tests reached

mod answers;
mod asking;
mod coverage;
mod report;
mod results;
mod servers;
mod suite;
mod tester;
mod values;

use std::path::{Path, PathBuf};

use self::coverage::Coverage;
use self::suite::Suite;
use super::OfflineSite;
use crate::base::os_error::os_error;
use crate::script::Source;

pub use report::Report;

/// The result of one test.
#[derive(Debug)]
pub struct Tested {
    pub file: String,
    pub name: String,
    /// What went wrong, with the line.
    pub failure: Option<String>,
    /// What it printed.
    pub printed: Vec<String>,
    pub seconds: f64,
}

/// Runs all tests of a config. An error: there are none, or the config or a file of tests cannot be loaded.
pub fn run(config: &Path, given: &[PathBuf]) -> Result<Report, String> {
    let mut source = Source::offline(config);
    let mut coverage = Coverage::default();
    let site = OfflineSite::load(&mut source).map_err(|error| error.0)?;
    coverage.add(&site);
    drop(site);
    let files = if given.is_empty() { beside(config, &source)? } else { given.to_vec() };
    let suites = files.iter().map(|file| Suite::load(file)).collect::<Result<Vec<_>, String>>()?;
    let mut tested = Vec::new();
    for suite in &suites {
        tested.extend((0..suite.len()).map(|at| suite.run(at, &source, &mut coverage)));
    }
    Ok(Report { tested, coverage: coverage.of_files(&source) })
}

/// How files with tests end.
const ENDING: &str = "_test.lua";

/// The files `*_test.lua` beside a config that was loaded from `source`, but those of other configs.
fn beside(config: &Path, source: &Source) -> Result<Vec<PathBuf>, String> {
    let directory = config.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    let unreadable = |error| format!("cannot read {}: {}", directory.display(), os_error(&error));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(ENDING)) else { continue };
        // Tests beside a script that this config does not read are another config's.
        let tested = config.with_file_name(format!("{stem}.lua"));
        if !tested.exists() || source.paths().any(|read| read == tested) {
            found.push(config.with_file_name(&name));
        }
    }
    found.sort();
    if found.is_empty() {
        let expected = config.with_extension("").display().to_string() + ENDING;
        return Err(format!("no tests: expected files *{ENDING} beside the config, as {expected}"));
    }
    Ok(found)
}
