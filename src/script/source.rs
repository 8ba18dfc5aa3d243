//! Placeholder of the config's source, which is written beside this.

use std::path::Path;

/// Where a config comes from, with every file it reads (itself and the modules it requires) read once and kept,
/// so that each worker's VM runs the same bytes. Plain data: it can be sent to another thread.
#[derive(Clone, Debug)]
pub struct Source {}

impl Source {
    /// A config file; nothing is read before `load`.
    pub fn file(_path: &Path) -> Source {
        Source {}
    }

    /// The embedded default config (`lua/default.lua`) for `--listen ADDR --backend ADDR…`.
    pub fn embedded(_listen: &[String], _backends: &[String]) -> Source {
        Source {}
    }
}
