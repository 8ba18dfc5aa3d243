//! Chooses the server of one try.

use std::sync::Arc;

use super::{Binding, Handlers, Route};
use crate::balance::{Picked, Server, ServerState, Tried, Unavailable, Want, take, take_named};
use crate::config::Balance;
use crate::exchange::Exchange;
use crate::script::ScriptError;

pub enum NoServer {
    /// No server is left to try.
    None,
    /// A server may take it later.
    Full,
    Script(ScriptError),
}

impl From<Unavailable> for NoServer {
    fn from(unavailable: Unavailable) -> NoServer {
        match unavailable {
            Unavailable::Full => NoServer::Full,
            Unavailable::None => NoServer::None,
        }
    }
}

/// Picks a server. `handlers` is called only if the pool has a `balance` function.
pub fn pick<'a>(
    route: &Route,
    tried: &Tried,
    x: &mut Exchange,
    want: &Want,
    handlers: impl FnOnce() -> Option<std::cell::RefMut<'a, Handlers>>,
) -> Result<Picked, NoServer> {
    if route.server.is_some()
        && let Some(picked) = bound(route, tried)
    {
        return picked;
    }
    match route.pool.config.balance {
        Balance::Function => {
            let mut handlers = handlers().ok_or(NoServer::None)?;
            ask(route, tried, x, want, &mut handlers)
        }
        _ => Ok(route.pool.pick(want, tried)?),
    }
}

/// Takes the server that the request is bound to; `None` if another one will do.
fn bound(route: &Route, tried: &Tried) -> Option<Result<Picked, NoServer>> {
    let server = route.server.as_ref()?;
    let open = !tried.has(server) && matches!(server.state(), ServerState::Up | ServerState::Drain);
    match route.binding {
        Binding::Only | Binding::Check if tried.has(server) => Some(Err(NoServer::None)),
        Binding::Only => Some(take_named(server).map_err(NoServer::from)),
        Binding::Preferred if open => take(server).ok().map(Ok),
        Binding::Session if open => Some(take(server).map_err(NoServer::from)),
        // Its session may well go on there.
        Binding::Session if !tried.has(server) && server.state() == ServerState::Unchecked => {
            Some(Err(NoServer::Full))
        }
        Binding::Preferred | Binding::Session => None,
        Binding::Check => Some(Ok(Picked { server: server.clone(), slot: None, probe: None })),
    }
}

/// Returns the server in whose queue the request has to wait; `None` if any of the pool will do.
pub fn waits_for<'a>(route: &'a Route, tried: &Tried) -> Option<&'a Arc<Server>> {
    let server = route.server.as_ref().filter(|server| !tried.has(server))?;
    let bound = match route.binding {
        Binding::Only | Binding::Check => true,
        Binding::Session => {
            matches!(server.state(), ServerState::Up | ServerState::Drain | ServerState::Unchecked)
        }
        Binding::Preferred => false,
    };
    bound.then(|| server.shared())
}

fn ask(
    route: &Route,
    tried: &Tried,
    x: &mut Exchange,
    want: &Want,
    handlers: &mut Handlers,
) -> Result<Picked, NoServer> {
    if let Some(probe) = route.pool.pick_probe(want, tried) {
        return Ok(probe);
    }
    if !want.in_turn && route.pool.state.queue.is_busy() {
        return Err(NoServer::Full);
    }
    let Some(picked) = handlers.balance(&route.pool, tried, x, want.now) else {
        return Err(if route.pool.may_wait(tried, want.now) { NoServer::Full } else { NoServer::None });
    };
    let server = picked.map_err(NoServer::Script)?;
    Ok(route.pool.take(server)?)
}
