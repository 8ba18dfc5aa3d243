//! `rsp check CONFIG.lua`: load it as a run would, twice as for a worker, and say what is wrong. No socket is opened.

use std::path::Path;

use crate::script::{self, LoadError, Source};

use super::{Exit, complain, say};

pub fn run(config: &Path) -> Exit {
    let source = &mut Source::file(config);
    match script::load(source).and_then(|(said, _)| script::load_again(source, &said)) {
        Ok(_) => say(&format!("{}: ok\n", config.display())),
        Err(LoadError(line)) => {
            complain(&line);
            Exit::Failed
        }
    }
}
