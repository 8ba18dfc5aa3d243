//! `rsp test CONFIG.lua [FILE…]`: runs the tests of a routing script, without sockets.

use std::path::{Path, PathBuf};

use super::{Exit, complain, say};
use crate::base::os_error::os_error;
use crate::offline::testing;

/// What is wanted besides.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wanted {
    /// Where the results go as XML.
    pub junit: Option<PathBuf>,
    pub coverage: bool,
}

pub fn run(config: &Path, files: &[PathBuf], wanted: &Wanted) -> Exit {
    let report = match testing::run(config, files) {
        Ok(report) => report,
        Err(line) => {
            complain(&line);
            return Exit::Failed;
        }
    };
    if let Some(file) = &wanted.junit
        && let Err(error) = std::fs::write(file, report.junit())
    {
        complain(&format!("rsp test: cannot write {}: {}", file.display(), os_error(&error)));
        return Exit::Failed;
    }
    match (say(&report.tap(wanted.coverage)), report.failed()) {
        (Exit::Fine, 0) => Exit::Fine,
        _ => Exit::Failed,
    }
}
