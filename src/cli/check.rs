//! `rsp check CONFIG.lua`: loads it as a run does, twice as for a worker, and reports errors. Opens no socket.

use std::path::Path;
use std::time::Duration;

use crate::base::os_error::os_error;
use crate::config::{Config, Warning};
use crate::control::names::Names;
use crate::control::privileges::identity;
use crate::script::{self, LoadError, Source};

use super::{Exit, complain, say};

/// For all names of servers together.
const PATIENCE: Duration = Duration::from_secs(3);

pub fn run(config: &Path, strict: bool) -> Exit {
    let source = &mut Source::file(config);
    let loaded = script::load(source);
    match loaded.and_then(|(said, _)| script::load_again(source, &said).map(|_| said)) {
        Ok(said) => {
            for Warning { position, text } in &said.warnings {
                complain(&format!("{position}: warning: {text}"));
            }
            // Another machine may run it.
            if let Err(line) = identity(&said.settings) {
                complain(&format!("{}: warning: {line}", config.display()));
            }
            for line in unresolved(&said) {
                complain(&format!("{}: warning: {line}", config.display()));
            }
            say(&format!("{}: ok\n", config.display()))
        }
        Err(LoadError(line)) => {
            complain(&line);
            Exit::Failed
        }
    }
}

/// Lines about the names of servers that have no address now.
fn unresolved(config: &Config) -> Vec<String> {
    match Names::start(config, None) {
        Ok(None) => Vec::new(),
        Ok(Some(names)) => {
            names.wait(PATIENCE);
            names.unresolved()
        }
        Err(error) => vec![format!("cannot look up names: {}", os_error(&error))],
    }
}
