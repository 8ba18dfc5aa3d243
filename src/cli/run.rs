//! `rsp CONFIG.lua`, and `rsp --listen … --backend …` on the embedded config.

use std::path::Path;

use crate::control::failure::Failure;
use crate::control::run::{Start, run};
use crate::script::{LoadError, Source};

use super::{Exit, complain};

pub fn config(path: &Path) -> Exit {
    finish(run(Start::plain(Source::file(path))))
}

pub fn balance(listen: &[String], backends: &[String]) -> Exit {
    finish_without_file("rsp", run(Start::plain(Source::embedded(listen, backends))))
}

/// Where the addresses come from the command line there is no config file to speak of.
pub fn finish_without_file(command: &str, result: Result<(), Failure>) -> Exit {
    if let Err(Failure::Config(LoadError(line))) = result {
        complain(&format!("{command}: {line}"));
        return Exit::Failed;
    }
    finish(result)
}

pub fn finish(result: Result<(), Failure>) -> Exit {
    let Err(failure) = result else { return Exit::Fine };
    complain(&failure.to_string());
    match failure {
        Failure::Fault(_) => Exit::Fault,
        _ => Exit::Failed,
    }
}
