//! Finds the files with the tests of a config: `*_test.lua` beside it, but those of other configs.

use std::path::{Path, PathBuf};

use crate::base::os_error::os_error;
use crate::script::Source;

const ENDING: &str = "_test.lua";

/// The files beside a config that was loaded from `source`.
pub fn beside(config: &Path, source: &Source) -> Result<Vec<PathBuf>, String> {
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
