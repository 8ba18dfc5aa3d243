//! Names of the configuration language and the command line that are reserved but not supported yet. Using one is an
//! error that says so instead of calling it unknown. Delete the entry when you implement one.

/// The message for each.
pub const LATER: &str = "not supported by this version";

/// Commands of `rsp`.
pub const COMMANDS: &[&str] = &[];

/// Options of the supported commands.
pub const OPTIONS: &[&str] = &[];

/// Functions and tables of `rsp`.
pub const CALLS: &[&str] = &[];

/// Keys of `rsp.listen`.
pub const LISTENER: &[&str] = &[];

/// Keys of `rsp.pool`.
pub const POOL: &[&str] = &[];

/// Keys of `rsp.settings`.
pub const SETTINGS: &[&str] = &[];

/// Keys of `script` in `rsp.settings`.
pub const SCRIPT: &[&str] = &[];

/// Fields of `req`.
pub const REQUEST: &[&str] = &[];
