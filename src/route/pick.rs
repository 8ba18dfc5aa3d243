//! Chooses the server of one try.

use std::rc::Rc;

use super::{Handlers, Route};
use crate::balance::{Tried, WorkerServer};
use crate::config::Balance;
use crate::exchange::Exchange;
use crate::script::ScriptError;

pub enum NoServer {
    /// No server is left to try.
    None,
    Script(ScriptError),
}

/// Picks a server. `handlers` is called only if the pool has a `balance` function.
pub fn pick<'a>(
    route: &Route,
    tried: &Tried,
    x: &mut Exchange,
    now: u64,
    handlers: impl FnOnce() -> Option<std::cell::RefMut<'a, Handlers>>,
) -> Result<Rc<WorkerServer>, NoServer> {
    if let Some(server) = &route.server
        && let Some(picked) = named(route, server, tried, now)
    {
        return picked;
    }
    match route.pool.config.balance {
        Balance::Function => {
            let mut handlers = handlers().ok_or(NoServer::None)?;
            ask(route, tried, x, now, &mut handlers)
        }
        // Until the other algorithms exist.
        _ => route.pool.round_robin(tried, now).cloned().ok_or(NoServer::None),
    }
}

/// Returns the server that the script named; `None` if it is only preferred, and failed or is paused.
fn named(
    route: &Route,
    server: &Rc<WorkerServer>,
    tried: &Tried,
    now: u64,
) -> Option<Result<Rc<WorkerServer>, NoServer>> {
    match tried.has(server) {
        false if !route.preferred => Some(Ok(server.clone())),
        true if !route.preferred => Some(Err(NoServer::None)),
        failed => (!failed && server.pause.is_over(now)).then(|| Ok(server.clone())),
    }
}

fn ask(
    route: &Route,
    tried: &Tried,
    x: &mut Exchange,
    now: u64,
    handlers: &mut Handlers,
) -> Result<Rc<WorkerServer>, NoServer> {
    let picked = handlers.balance(&route.pool, tried, x, now).ok_or(NoServer::None)?;
    let server = picked.map_err(NoServer::Script)?;
    route.pool.server(server).cloned().ok_or(NoServer::None)
}
