//! `rsp CONFIG.lua`, and `rsp --listen … --backend …` on the embedded config.

use std::path::Path;

use crate::control::run::{Start, run};
use crate::control::run_error::RunError;
use crate::script::{LoadError, Source};

use super::{Exit, complain};

pub fn config(path: &Path) -> Exit {
    finish(run(Start::plain(Source::file(path))))
}

pub fn balance(listen: &[String], backends: &[String]) -> Exit {
    finish_without_file("rsp", run(Start::plain(Source::embedded(listen, backends))))
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
