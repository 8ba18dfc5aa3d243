//! Decides about a request whose head has been read, before any server is dialed:
//!
//! ```text
//! forwarded claims ─► rewrite ─► on_request ─► max_body ─► methods that go no further ─► Decision
//! ```
//!
//! All checks of a request, in order, without a socket.

use std::rc::Rc;

use super::{Binding, Handlers, Route, Routes, affinity};
use crate::balance::Pool;
use crate::config::Balance;
use crate::exchange::{
    Exchange, Failure, ForwardRule, Ids, Inbound, Peer, forward_rule, forwarded_client, forwarded_scheme,
    rewrite_request,
};
use crate::http::{Framing, Scheme};
use crate::script::{Answer, ScriptError, Verdict};

pub enum Decision {
    Forward(Route),
    /// The script failed; a fallback pool takes the request.
    Fallback(Rc<Pool>, ScriptError, Box<Decision>),
    /// The script's own answer.
    Answer(Box<Answer>),
    /// An OPTIONS request that must not be forwarded: rsp answers it.
    LastHop,
    Refuse(Failure),
    /// The script failed, and there is no fallback pool.
    ScriptFailed(ScriptError),
}

/// Decides about a request from `peer`. `now`: microseconds of the clock common to all workers.
pub fn admit(
    x: &mut Exchange,
    peer: &Peer,
    routes: &Routes,
    handlers: &mut Handlers,
    ids: &mut Ids,
    now: u64,
) -> Decision {
    take_in(x, peer, routes, ids);
    match handlers.on_request(x, routes, now) {
        Ok(verdict) => after_script(x, verdict, routes, handlers, now),
        Err(error) => script_failed(x, error, routes, handlers),
    }
}

/// Applies forwarding fields of trusted peers, and rewrites the head.
fn take_in(x: &mut Exchange, peer: &Peer, routes: &Routes, ids: &mut Ids) {
    let settings = &routes.config.settings;
    x.client = peer.address();
    // A reload may have removed the peer's trust since it connected.
    let trusted = peer.trusted && settings.trusted.has(x.client);
    if trusted {
        x.client = forwarded_client(&x.head.fields, x.client, &settings.trusted);
        x.scheme = forwarded_scheme(&x.head.fields).unwrap_or_default();
    }
    let inbound = Inbound {
        peer: peer.ip(),
        trusted,
        scheme: Scheme::Http,
        via: settings.via.as_ref().map(String::as_bytes),
        upgrades: &settings.upgrades,
    };
    rewrite_request(&mut x.head, &inbound, ids, &mut x.id);
}

fn after_script(
    x: &mut Exchange,
    verdict: Verdict,
    routes: &Routes,
    handlers: &mut Handlers,
    now: u64,
) -> Decision {
    let (pool, server, preferred) = match verdict {
        Verdict::Pool(pool) => (pool, None, false),
        Verdict::Server { pool, server, preferred } => (pool, Some(server), preferred),
        Verdict::Answer(answer) => return Decision::Answer(answer),
    };
    let Some(pool) = routes.pool(pool) else { return Decision::Refuse(Failure::Internal) };
    let mut route = Route::to(pool);
    if let Some(server) = server {
        let name = handlers.server_name(pool.id, server);
        route.server = name.and_then(|name| pool.server_named(name, now));
        route.binding = if preferred { Binding::Preferred } else { Binding::Only };
        if route.server.is_none() && !preferred {
            return Decision::Refuse(Failure::NoServer);
        }
    }
    if pool.binds
        && let Err(error) = bind(x, &mut route, handlers)
    {
        return script_failed(x, error, routes, handlers);
    }
    forward(x, route, routes)
}

/// Finds what ties the request to a server of its pool.
fn bind(x: &mut Exchange, route: &mut Route, handlers: &mut Handlers) -> Result<(), ScriptError> {
    let config = &route.pool.config;
    if config.sticky.is_some() {
        let session = affinity::take_session(&route.pool, x);
        if route.server.is_none() && session.is_some() {
            (route.server, route.binding) = (session, Binding::Session);
        }
    }
    if matches!(config.balance, Balance::Hash | Balance::SourceHash) {
        route.key = affinity::key(&route.pool, x, handlers)?;
    }
    Ok(())
}

fn script_failed(x: &mut Exchange, error: ScriptError, routes: &Routes, handlers: &mut Handlers) -> Decision {
    let Some(pool) = routes.config.settings.fallback.and_then(|pool| routes.pool(pool)) else {
        return Decision::ScriptFailed(error);
    };
    let mut route = Route::to(pool);
    // A key that cannot be had is a missing one.
    let _ = bind(x, &mut route, handlers);
    let then = forward(x, route, routes);
    Decision::Fallback(pool.clone(), error, Box::new(then))
}

/// Forwards to a pool, unless the request's method or size forbids it.
fn forward(x: &mut Exchange, route: Route, routes: &Routes) -> Decision {
    match rule(x, routes) {
        ForwardRule::Forward => Decision::Forward(route),
        ForwardRule::Refuse(failure) => Decision::Refuse(failure),
        ForwardRule::LastHop => Decision::LastHop,
    }
}

fn rule(x: &mut Exchange, routes: &Routes) -> ForwardRule {
    match (x.head.framing, routes.config.settings.max_body) {
        (Framing::Exact(length), Some(most)) if length > most => ForwardRule::Refuse(Failure::TooLarge),
        _ => forward_rule(&mut x.head),
    }
}
