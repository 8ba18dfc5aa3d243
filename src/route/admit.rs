//! Decides about a request whose head has been read, before any server is dialed:
//!
//! ```text
//! forwarded claims ─► rewrite ─► challenge ─► redirect ─► on_request ─► max_body ─► methods that go no further ─► Decision
//! ```
//!
//! All checks of a request, in order, without a socket. A handler that waits goes on in `waiting`.

use std::rc::Rc;

use super::challenge::{Challenge, challenge};
use super::handlers::Asked;
use super::waiting::WaitingCall;
use super::{Binding, Handlers, Route, Routes, affinity};
use crate::balance::Pool;
use crate::config::{Balance, PoolId};
use crate::exchange::{
    Exchange, Failure, ForwardRule, Ids, Inbound, ListenerContext, Peer, forward_rule, forwarded_client,
    forwarded_scheme, remove_client_headers, rewrite_request,
};
use crate::http::{Fault, Framing, Method, Scheme};
use crate::script::{Answer, Body, ScriptError, Verdict, Wait};

pub enum Decision {
    Forward(Route),
    /// The same, and a copy may go to another pool.
    Copy(Route),
    /// The same, once its body is held.
    Buffer(Route),
    /// Answered from a file, if there is one; if not, `admit_further` decides.
    Challenge(Box<Challenge>),
    /// The handler waits; `Handlers::resume_request` decides.
    Wait(Wait, Box<WaitingCall>),
    /// The script failed; a fallback pool takes the request.
    Fallback(Rc<Pool>, FailedCall, Box<Decision>),
    /// The script's own answer.
    Answer(Box<Answer>),
    /// The script wants the connection closed without one.
    Abort,
    /// An OPTIONS request that must not be forwarded: rsp answers it.
    LastHop,
    Refuse(Failure),
    /// The script failed, and there is no fallback pool.
    ScriptFailed(FailedCall),
}

/// A function of the script that failed, by its name, and how.
pub type FailedCall = (&'static str, ScriptError);

impl Decision {
    pub(super) fn waits((wait, call): (Wait, WaitingCall)) -> Decision {
        Decision::Wait(wait, Box::new(call))
    }
}

/// Decides about a request from `peer`. `now`: microseconds of the clock common to all workers.
#[inline(always)]
pub fn admit(
    x: &mut Exchange,
    peer: &Peer,
    routes: &Routes,
    handlers: &mut Handlers,
    ids: &mut Ids,
    now: u64,
) -> Decision {
    rewrite_head(x, peer, routes, ids);
    if let Some(context) = &x.listener_context
        && let Some(challenge) = challenge(context, &x.head)
    {
        return Decision::Challenge(Box::new(challenge));
    }
    admit_further(x, routes, handlers, now)
}

/// The rest of `admit`, where no file answers a challenge.
#[inline(always)]
pub fn admit_further(x: &mut Exchange, routes: &Routes, handlers: &mut Handlers, now: u64) -> Decision {
    // A proxy in front that ends TLS has done it already.
    if let Some(context) = x.listener_context.clone()
        && x.scheme == Scheme::Http
        && let Some(decision) = redirect(&context, x)
    {
        return decision;
    }
    match handlers.on_request(x, routes, now) {
        Ok(Asked::Verdict(verdict)) => after_script(x, verdict, routes, handlers, now),
        Ok(Asked::Waits(wait, call)) => Decision::waits((wait, call)),
        Err(error) => script_failed(x, ("on_request", error), None, routes, handlers),
    }
}

/// Applies forwarding fields of trusted peers, and rewrites the head.
fn rewrite_head(x: &mut Exchange, peer: &Peer, routes: &Routes, ids: &mut Ids) {
    let settings = &routes.config.settings;
    let scheme = x.listener_context.as_ref().map_or(Scheme::Http, |context| context.scheme());
    (x.client, x.scheme) = (peer.address(), scheme);
    // A reload may have removed the peer's trust since it connected.
    let trusted = peer.trusted && settings.trusted.has(x.client);
    if trusted {
        x.client = forwarded_client(&x.head.fields, x.client, &settings.trusted);
        x.scheme = forwarded_scheme(&x.head.fields).unwrap_or(scheme);
    }
    let inbound = Inbound {
        peer: peer.ip(),
        trusted,
        scheme,
        trace: settings.trace,
        via: settings.via.as_ref().map(String::as_bytes),
        upgrades: &settings.upgrades,
    };
    rewrite_request(&mut x.head, &inbound, ids, &mut x.id);
    if !routes.config.client_headers.is_empty() {
        remove_client_headers(&mut x.head.fields, &routes.config.client_headers);
    }
    if let Some(context) = &x.listener_context {
        context.name_client(&mut x.head.fields);
    }
}

/// Sends the client to https, where its listener says so. A method other than GET and HEAD stays what it is.
fn redirect(context: &ListenerContext, x: &Exchange) -> Option<Decision> {
    let Ok(url) = context.redirect(&x.head)? else {
        return Some(Decision::Refuse(Failure::of_request(Fault::Host)));
    };
    let status = if matches!(x.head.method, Method::Get | Method::Head) { 301 } else { 308 };
    let answer = Answer { status, headers: vec![(b"Location".to_vec(), url)], body: Body::default() };
    Some(Decision::Answer(Box::new(answer)))
}

pub(super) fn after_script(
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
        Verdict::Abort => return Decision::Abort,
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
    if !pool.binds {
        return forward(x, route, routes);
    }
    match bind(x, &mut route, handlers) {
        Ok(()) => buffered(x, route, routes),
        Err(error) => script_failed(x, ("hash_by", error), Some(pool.id), routes, handlers),
    }
}

/// A pool may want the request's body to be held first, or a copy of the request.
fn buffered(x: &mut Exchange, route: Route, routes: &Routes) -> Decision {
    match forward(x, route, routes) {
        Decision::Forward(route) if route.pool.config.buffer_request.is_some() && x.request.is_open() => {
            Decision::Buffer(route)
        }
        Decision::Forward(route) if route.pool.config.mirror.is_some() => Decision::Copy(route),
        decision => decision,
    }
}

/// Finds what a copy of a request is hashed by at the pool it goes to. It belongs to no session there. After an error
/// there is no key.
pub fn hash_copy(x: &mut Exchange, route: &mut Route, handlers: &mut Handlers) -> Result<(), ScriptError> {
    if matches!(route.pool.config.balance, Balance::Hash | Balance::SourceHash) {
        route.key = affinity::key(&route.pool, x, handlers)?;
    }
    Ok(())
}

fn bind_session(x: &mut Exchange, route: &mut Route) {
    if route.pool.config.sticky.is_some() {
        let session = affinity::take_session(&route.pool, x);
        if route.server.is_none() && session.is_some() {
            (route.server, route.binding) = (session, Binding::Session);
        }
    }
}

/// Finds what ties the request to a server of its pool.
pub(super) fn bind(x: &mut Exchange, route: &mut Route, handlers: &mut Handlers) -> Result<(), ScriptError> {
    bind_session(x, route);
    if matches!(route.pool.config.balance, Balance::Hash | Balance::SourceHash) {
        route.key = affinity::key(&route.pool, x, handlers)?;
    }
    Ok(())
}

/// The `balance` function of the route's pool failed.
pub fn balance_failed(
    x: &mut Exchange,
    route: &Route,
    error: ScriptError,
    routes: &Routes,
    handlers: &mut Handlers,
) -> Decision {
    let failed = ("balance", error);
    match routes.config.settings.fallback == Some(route.pool.id) {
        true => Decision::ScriptFailed(failed),
        false => script_failed(x, failed, None, routes, handlers),
    }
}

/// The fallback pool, if there is one, takes the request as it came. `hashed`: the pool whose `hash_by` failed; that of the
/// fallback pool itself is not called again.
pub(super) fn script_failed(
    x: &mut Exchange,
    failed: FailedCall,
    hashed: Option<PoolId>,
    routes: &Routes,
    handlers: &mut Handlers,
) -> Decision {
    let Some(pool) = routes.config.settings.fallback.and_then(|pool| routes.pool(pool)) else {
        return Decision::ScriptFailed(failed);
    };
    x.restore_head();
    let mut route = Route::to(pool);
    let second = match hashed == Some(pool.id) {
        true => {
            bind_session(x, &mut route);
            None
        }
        false => bind(x, &mut route, handlers).err(),
    };
    let mut then = buffered(x, route, routes);
    if let Some(error) = second {
        // A key that cannot be had is a missing one: the pool takes the request all the same.
        then = Decision::Fallback(pool.clone(), ("hash_by", error), Box::new(then));
    }
    Decision::Fallback(pool.clone(), failed, Box::new(then))
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
