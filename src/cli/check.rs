//! `rsp check CONFIG.lua`: loads it as a run does, twice as for a worker, and reports errors. Opens no socket.

use std::path::Path;

use crate::config::Warning;
use crate::script::{self, LoadError, Source};

use super::{Exit, complain, say};

pub fn run(config: &Path) -> Exit {
    let source = &mut Source::file(config);
    let loaded = script::load(source);
    match loaded.and_then(|(said, _)| script::load_again(source, &said).map(|_| said.warnings)) {
        Ok(warnings) => {
            for Warning { position, text } in warnings {
                complain(&format!("{position}: warning: {text}"));
            }
            say(&format!("{}: ok\n", config.display()))
        }
        Err(LoadError(line)) => {
            complain(&line);
            Exit::Failed
        }
    }
}
