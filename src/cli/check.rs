//! `rsp check CONFIG.lua`: loads it as a run does, twice as for a worker, and reports errors. Opens no socket.

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
