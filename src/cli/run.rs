//! `rsp CONFIG.lua`, and `rsp --listen … --backend …` on the embedded config.

use std::path::Path;

use crate::base::os_error::os_error;
use crate::control::run::{Start, run};
use crate::control::run_error::RunError;
use crate::control::upgrade::{self, Predecessor};
use crate::net::Inherited;
use crate::script::{LoadError, Source};

use super::{Exit, complain};

pub fn config(path: &Path) -> Exit {
    finish(with_sockets(Source::file(path)))
}

pub fn balance(listen: &[String], backends: &[String]) -> Exit {
    finish_without_file("rsp", with_sockets(Source::embedded(listen, backends)))
}

/// Runs with the sockets that this process was started with.
fn with_sockets(source: Source) -> Result<(), RunError> {
    upgrade::remember_program();
    let unusable = |error| RunError::Start(os_error(&error));
    let predecessor = Predecessor::take().map_err(unusable)?;
    let inherited = Inherited::take().map_err(unusable)?;
    run(Start { inherited, predecessor, ..Start::plain(source) })
}

/// Addresses from the command line have no config file to name in an error.
pub fn finish_without_file(command: &str, result: Result<(), RunError>) -> Exit {
    if let Err(RunError::Config(LoadError(line))) = result {
        complain(&format!("{command}: {line}"));
        return Exit::Failed;
    }
    finish(result)
}

pub fn finish(result: Result<(), RunError>) -> Exit {
    let Err(failure) = result else { return Exit::Fine };
    complain(&failure.to_string());
    match failure {
        RunError::Fault(_) => Exit::Fault,
        _ => Exit::Failed,
    }
}
