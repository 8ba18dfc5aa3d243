//! Placeholder of the loader, which is written beside this.

use super::{LoadError, Script, Source};
use crate::config::Config;

/// Runs the config and says what it set. The files read are kept in `source`: a second load of the same source
/// runs the same bytes.
pub fn load(_source: &mut Source) -> Result<(Config, Script), LoadError> {
    Err(LoadError("not written yet".into()))
}
