//! Floor 4: Lua. Loads the config script into a typed `Config` (`load`, `source`), and runs its handlers on every
//! request within a budget of CPU time and memory.
//!
//! `vm` makes the sandbox, `run` calls the handlers, `ffi` is the one folder that uses Lua's C API; `request`,
//! `answer` and `budget` define in safe code what scripts may read, change and spend.

mod answer;
mod assign;
mod bodies;
mod budget;
mod cached_fields;
mod directory;
mod failure;
mod ffi;
mod global_writes;
mod headers;
mod judge;
mod lines;
mod lint;
mod load;
mod log_fields;
mod nearest;
pub mod offline;
mod parts;
mod pattern;
mod phases;
mod request;
mod rewrite;
mod run;
mod set_cookie;
mod source;
mod tls_store;
mod tokens;
mod vm;
mod wait;

#[cfg(test)]
mod tests;

use crate::base::ip_port::IpPort;
use crate::config::{PoolId, ServerId};
use crate::net::TlsInfo;

pub use bodies::Body;
pub use directory::ServerNames;
pub use ffi::{
    Called, Observed, PackedScript, PublishedPosition, Read, ScriptPosition, Suspended, Ticket, Trace,
    monotonic,
};
pub use lines::{active_lines, ranges};
pub use lint::lint;
pub use load::seconds;
pub use load::{TYPES, load, load_again};
pub use nearest::hint as nearest_hint;
pub use phases::TaskFunction;
pub use request::Offer;
pub use run::Script;
pub use source::Source;
pub use wait::{Check, Fetch, Fetched, LONGEST as LONGEST_WAIT, TIMEOUT, Wait, Waited};

/// The decision of `on_request`.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    /// `nil`, or no handler: the only pool (with several pools the script raises instead).
    Pool(PoolId),
    /// A pool and one of its servers: no other is tried, or, if it is only preferred, only after it.
    Server { pool: PoolId, server: ServerId, preferred: bool },
    /// `rsp.respond` or `rsp.redirect`.
    Answer(Box<Answer>),
    /// `rsp.abort`: the connection closes without an answer.
    Abort,
}

/// An answer made by the script.
#[derive(Debug, PartialEq, Default)]
pub struct Answer {
    pub status: u16,
    /// Validated: no CR, LF, NUL; no framing fields.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    pub body: Body,
}

/// What a script can read of a request besides its head.
#[derive(Clone, Copy)]
pub struct RequestMeta<'a> {
    /// `None` for a client on a Unix socket; `req.client_ip` is then "unix:" and the port 0.
    pub address: Option<IpPort>,
    /// "http" or "https".
    pub scheme: &'a str,
    /// Request id, as sent in X-Request-ID.
    pub id: &'a [u8],
    /// What was agreed on with the client; `None` without TLS.
    pub tls: Option<&'a TlsInfo>,
    /// Name of the listener that the client came in at; empty if the config does not have it any more.
    pub listener: &'a str,
}

/// Why a config could not be loaded. `Display` gives the line for the operator: `FILE:LINE: what is wrong, what was
/// expected`, or `cannot open PATH: No such file or directory`.
#[derive(Debug)]
pub struct LoadError(pub String);

/// A handler that failed or exceeded its budget: one line with file:line for the log.
#[derive(Debug)]
pub struct ScriptError(pub String);

/// The words by which Lua says that memory is short.
const NO_MEMORY: &str = "not enough memory";

impl ScriptError {
    /// Over its time, or short of memory; a script that raises these words itself counts as such.
    pub fn is_over_time(&self) -> bool {
        self.0.contains(budget::OVER_TIME)
    }

    pub fn is_short_of_memory(&self) -> bool {
        self.0.contains(NO_MEMORY)
    }

    /// Its `file:line`.
    pub fn place(&self) -> &str {
        failure::position(&self.0)
    }
}
