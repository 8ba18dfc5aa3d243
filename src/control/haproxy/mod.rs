//! The answers of the control socket in the formats of haproxy 2.6, so that what reads those reads rsp's. A listener is a
//! frontend, a pool a backend; what haproxy counts and rsp does not is 0 or empty.
//!
//! - `format`  lines, `typed` or JSON
//! - `info`    show info
//! - `stat`    show stat
//! - `servers` show servers state, show backend; rsp's own show pools and show changes
//! - `sessions` show sess
//! - `errors`  show errors

pub mod errors;
pub mod format;
pub mod info;
pub mod servers;
pub mod sessions;
pub mod stat;

use std::time::SystemTime;

use crate::balance::ServerState;

/// Whole seconds since then.
pub fn seconds_since(at: SystemTime) -> u64 {
    at.elapsed().unwrap_or_default().as_secs()
}

/// The status in `show stat`.
pub fn status(state: ServerState, has_checks: bool) -> &'static str {
    match state {
        ServerState::Up if has_checks => "UP",
        ServerState::Up => "no check",
        ServerState::Unchecked | ServerState::Down | ServerState::Ejected => "DOWN",
        ServerState::Drain => "DRAIN",
        ServerState::Maint | ServerState::Disabled => "MAINT",
    }
}
