//! Decides about a connection whose TLS is passed through, by the name in its ClientHello. It has no request: what
//! stands for one is a head without a method and a target, whose `Host` is the name.

use super::admit::{FailedCall, bind};
use super::{Binding, Handlers, Route, Routes};
use crate::config::{HashBy, ListenerConfig};
use crate::exchange::{Exchange, Failure, Peer};
use crate::http::Scheme;
use crate::script::Verdict;

/// Why a connection goes nowhere.
pub enum NoRoute {
    Failure(Failure),
    ScriptFailed(FailedCall),
}

impl From<Failure> for NoRoute {
    fn from(failure: Failure) -> NoRoute {
        NoRoute::Failure(failure)
    }
}

/// Asks the listener's function for the pool of a connection from `peer`, whose hello is in `x`. A failure of the script
/// is the connection's own: no fallback pool is known to speak TLS. `now`: microseconds of the clock common to all
/// workers.
pub fn admit_name(
    x: &mut Exchange,
    peer: &Peer,
    (listener, routes): (&ListenerConfig, &Routes),
    handlers: &mut Handlers,
    now: u64,
) -> Result<Route, NoRoute> {
    (x.client, x.scheme) = (peer.address(), Scheme::Https);
    // A reload may have taken the listener away, or made another kind of it.
    let function = routes.config.sni_of(listener).ok_or(Failure::Stopped)?;
    let failed = |function| move |error| NoRoute::ScriptFailed((function, error));
    let verdict = handlers.sni(function, x, routes, now).map_err(failed("sni"))?;
    let (id, server, preferred) = match verdict {
        Some(Verdict::Pool(pool)) => (pool, None, false),
        Some(Verdict::Server { pool, server, preferred }) => (pool, Some(server), preferred),
        Some(Verdict::Answer(_) | Verdict::Abort) | None => return Err(Failure::UnknownName.into()),
    };
    let pool = routes.pool(id).ok_or(Failure::Internal)?;
    let mut route = Route::to(pool);
    if let Some(server) = server {
        let name = handlers.server_name(id, server);
        route.server = name.and_then(|name| pool.server_named(name, now));
        route.binding = if preferred { Binding::Preferred } else { Binding::Only };
        if route.server.is_none() && !preferred {
            return Err(Failure::NoServer.into());
        }
    }
    // There is no path, and an empty one would bring all to one server.
    if pool.binds && !matches!(pool.config.hash_by, Some(HashBy::Path)) {
        bind(x, &mut route, handlers).map_err(failed("hash_by"))?;
    }
    Ok(route)
}
