//! Floor 4: Lua. Loads the config script into a typed `Config`, and runs the handlers it set on every request
//! within a budget of CPU time and memory. INTERFACE STUB: the bodies are being written.

mod load;
mod source;
mod vm;

pub use load::{TYPES, load};
pub use source::Source;

use std::net::SocketAddr;

use crate::config::{Config, PoolId, ServerId};
use crate::http::{RequestHead, ResponseHead};

/// One Lua VM with the handlers of one config.
pub struct Script {
    vm: vm::Vm,
    handlers: Handlers,
}

/// What `on_request` decided.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    /// `nil`, or no handler: the only pool (with several pools the script raises instead).
    Pool(PoolId),
    /// A pool and one server of it.
    Server(PoolId, ServerId),
    /// `rsp.respond` or `rsp.redirect`.
    Answer(Box<Answer>),
}

/// An answer that the script made.
#[derive(Debug, PartialEq, Default)]
pub struct Answer {
    pub status: u16,
    /// Checked: no CR, LF, NUL; no framing fields.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    pub body: Vec<u8>,
}

/// What a script may know of a request besides its head.
#[derive(Clone, Copy)]
pub struct Client<'a> {
    /// None for a client on a unix socket; `req.client_ip` is then "unix:" and the port 0.
    pub address: Option<SocketAddr>,
    /// "http" (later "https").
    pub scheme: &'a str,
    /// Request id, as sent in X-Request-ID.
    pub id: &'a [u8],
}

/// Why a config could not be loaded. `Display` gives the one line the operator sees:
/// `FILE:LINE: what is wrong, what was expected`, or `cannot open PATH: No such file or directory`.
#[derive(Debug)]
pub struct LoadError(pub String);

/// A handler that failed or ran over its budget: one line with file:line for the log.
#[derive(Debug)]
pub struct ScriptError(pub String);

/// What the config script set: the handlers, and the values `rsp.pool` returned, in the pools' order.
struct Handlers {
    pub on_request: Option<mlua::Function>,
    pub on_response: Option<mlua::Function>,
    pub balance: Vec<Option<mlua::Function>>,
    pub pools: Vec<mlua::Value>,
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Script {
    fn new(vm: vm::Vm, handlers: Handlers, _config: &Config) -> mlua::Result<Script> {
        Ok(Script { vm, handlers })
    }

    pub fn on_request(
        &mut self,
        _head: &mut RequestHead,
        _client: Client<'_>,
    ) -> Result<Verdict, ScriptError> {
        Err(ScriptError("not written yet".into()))
    }

    pub fn on_response(
        &mut self,
        _request: &mut RequestHead,
        _client: Client<'_>,
        _response: &mut ResponseHead,
    ) -> Result<(), ScriptError> {
        Err(ScriptError("not written yet".into()))
    }

    /// Calls the pool's `balance` function. `candidates` are the servers that may be picked, in the pool's order;
    /// `in_flight[i]` is the number of requests server `i` of the pool has now.
    pub fn balance(
        &mut self,
        _pool: PoolId,
        _request: &mut RequestHead,
        _client: Client<'_>,
        _candidates: &[ServerId],
        _in_flight: &[u32],
    ) -> Result<ServerId, ScriptError> {
        Err(ScriptError("not written yet".into()))
    }
}
