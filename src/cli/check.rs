//! `rsp check CONFIG.lua`: load it as a run would, and say what is wrong. No socket is opened.

use std::path::Path;

use crate::script::{self, LoadError, Source};

use super::{Exit, complain, say};

pub fn run(config: &Path) -> Exit {
    match script::load(&mut Source::file(config)) {
        Ok(_) => say(&format!("{}: ok\n", config.display())),
        Err(LoadError(line)) => {
            complain(&line);
            Exit::Failed
        }
    }
}
