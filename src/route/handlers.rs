//! A worker's calls of the script's functions, and the restoring of heads that a failed call had partly changed.

use std::sync::{Arc, Weak};

use super::Routes;
use super::affinity::hash;
use super::waiting::WaitingCall;
use crate::balance::{Pool, Server, Tried};
use crate::config::{Address, Config, OnResponseError, PoolId, ServerId, SniId};
use crate::exchange::Exchange;
use crate::exchange::counters::{Counters, Handler, SCRIPT_BOUNDS, ScriptFailure};
use crate::http::{RequestHead, ResponseHead};
use crate::script::{
    Called, Observed, Offer, RequestMeta, Script, ScriptError, ServerNames, Suspended, Trace, Verdict, Wait,
};

/// What `on_request` came to.
pub(super) enum Asked {
    Verdict(Verdict),
    Waits(Wait, WaitingCall),
}

/// The result of `on_response`.
pub enum Responded {
    Ok,
    Waits(Wait, Box<WaitingCall>),
    /// The script failed; the response is passed on as the server sent it.
    Unchanged(ScriptError),
    Failed(ScriptError),
}

pub struct Handlers {
    pub(super) script: Script,
    /// For each pool, the servers that the script was told.
    known: Vec<Weak<Vec<Arc<Server>>>>,
    /// A response's head before the script ran, kept only if a failure restores it.
    pub(super) original_response: ResponseHead,
    /// The time in microseconds, if anybody wants to know how long calls take.
    clock: Option<CallClock>,
    /// Where calls are counted, if somebody may read it.
    counters: Option<Arc<Counters>>,
    /// The names of the worker's listeners, by number.
    pub(super) listeners: Vec<Arc<str>>,
}

/// Reads a clock in microseconds.
pub type CallClock = Box<dyn Fn() -> u64>;

impl Handlers {
    pub fn new(script: Script, clock: Option<CallClock>) -> Handlers {
        Handlers {
            script,
            known: Vec::new(),
            original_response: ResponseHead::default(),
            clock,
            counters: None,
            listeners: Vec::new(),
        }
    }

    /// What the script did, if that is noted.
    pub fn observed(&mut self) -> Option<&mut Observed> {
        self.script.observed()
    }

    /// The names of the worker's listeners, by number.
    pub fn name_listeners(&mut self, names: Vec<Arc<str>>) {
        self.listeners = names;
    }

    /// Counts calls here from now on, or nowhere; by this clock, if there is none yet.
    pub fn observe(&mut self, counters: Option<Arc<Counters>>, clock: impl FnOnce() -> CallClock) {
        if counters.is_some() {
            self.clock.get_or_insert_with(clock);
        }
        self.counters = counters;
    }

    /// Calls `on_request`, which chooses the route and may change the head. If there is a fallback pool, the exchange keeps
    /// the head as it came.
    pub(super) fn on_request(
        &mut self,
        x: &mut Exchange,
        routes: &Routes,
        now: u64,
    ) -> Result<Asked, ScriptError> {
        if routes.may_fall_back {
            x.save_original_head();
        }
        for pool in &routes.with_names {
            drop(pool.servers(now));
            self.set_servers(pool)?;
        }
        let began = if routes.config.on_request { self.now() } else { None };
        let (head, meta) = parts(x, &self.listeners);
        let called = self.script.on_request(head, meta);
        match began {
            None => self.script.take_places(&mut x.places),
            Some(_) => self.note_ran(Handler::OnRequest, x, began, &called),
        }
        match called? {
            Called::Done(verdict) => Ok(Asked::Verdict(verdict)),
            Called::Waits(suspended) => Ok(self.request_waits(suspended, began)),
        }
    }

    fn request_waits(&self, suspended: Suspended, began: Option<u64>) -> Asked {
        let ran = began.zip(self.now()).map_or(0, |(began, now)| now.saturating_sub(began));
        let (wait, call) = WaitingCall::new(suspended, None, ran);
        Asked::Waits(wait, call)
    }

    /// Calls a listener's `sni` function.
    pub(super) fn sni(
        &mut self,
        function: SniId,
        x: &mut Exchange,
        routes: &Routes,
        now: u64,
    ) -> Result<Option<Verdict>, ScriptError> {
        for pool in &routes.with_names {
            drop(pool.servers(now));
            self.set_servers(pool)?;
        }
        let (head, meta) = parts(x, &self.listeners);
        self.script.sni(function, head, meta)
    }

    /// Tells the script the servers that a pool uses now.
    fn set_servers(&mut self, pool: &Pool) -> Result<(), ScriptError> {
        let members = pool.members();
        let at = pool.id.0 as usize;
        if self.known.len() <= at {
            self.known.resize_with(at + 1, Weak::new);
        }
        if Weak::as_ptr(&self.known[at]) == Arc::as_ptr(&members) {
            return Ok(());
        }
        self.script.set_servers(pool.id, members.iter().map(|server| names(server)).collect())?;
        self.known[at] = Arc::downgrade(&members);
        Ok(())
    }

    /// The name of a server that a handler returned.
    pub(super) fn server_name(&self, pool: PoolId, server: ServerId) -> Option<&str> {
        self.script.server_name(pool, server)
    }

    /// Calls `on_response`, which may change a final response's head. The script must have this handler.
    pub fn on_response(
        &mut self,
        x: &mut Exchange,
        response: &mut ResponseHead,
        config: &Config,
    ) -> Responded {
        let passes = config.settings.on_response_error == OnResponseError::Pass;
        if passes {
            self.original_response.copy_from(response);
        }
        let began = self.now();
        let (head, meta) = parts(x, &self.listeners);
        let called = self.script.on_response(head, meta, response);
        let ran = self.ran(Handler::OnResponse, x, began, 0, &called);
        self.responded(called, ran, response, config)
    }

    /// What an `on_response` came to; what it may restore stands in `original_response`.
    pub(super) fn responded(
        &mut self,
        called: Result<Called<()>, ScriptError>,
        ran: u64,
        response: &mut ResponseHead,
        config: &Config,
    ) -> Responded {
        let passes = config.settings.on_response_error == OnResponseError::Pass;
        match called {
            Ok(Called::Done(())) => Responded::Ok,
            Ok(Called::Waits(suspended)) => {
                let original = passes.then(|| Box::new(self.original_response.clone()));
                let (wait, call) = WaitingCall::new(suspended, original, ran);
                Responded::Waits(wait, Box::new(call))
            }
            Err(error) if passes => {
                // The handler may have made only part of its changes.
                response.copy_from(&self.original_response);
                Responded::Unchanged(error)
            }
            Err(error) => Responded::Failed(error),
        }
    }

    /// Calls the pool's `balance` function; `None` if no server is left.
    pub(super) fn balance(
        &mut self,
        pool: &Pool,
        tried: &Tried,
        x: &mut Exchange,
        now: u64,
    ) -> Option<Result<ServerId, ScriptError>> {
        let candidates = pool.candidates(tried, now);
        if let Err(error) = self.set_servers(pool) {
            return Some(Err(error));
        }
        let began = self.now();
        let (head, meta) = parts(x, &self.listeners);
        let offer = Offer {
            pool: pool.id,
            candidates: &candidates.servers,
            in_flight: &candidates.in_flight,
            weights: &candidates.weights,
            up: &candidates.up,
            latencies: &candidates.latencies,
        };
        if candidates.servers.is_empty() {
            return None;
        }
        let picked = self.script.balance(head, meta, offer);
        self.note_call(Handler::Balance, x, began, &picked);
        Some(picked)
    }

    /// Calls the pool's `hash_by` function and hashes its key.
    pub(super) fn hash_by(&mut self, pool: &Pool, x: &mut Exchange) -> Result<Option<u64>, ScriptError> {
        let began = self.now();
        let (head, meta) = parts(x, &self.listeners);
        let key = self.script.hash_by(pool.id, head, meta, |key| key.map(hash));
        self.note_call(Handler::HashBy, x, began, &key);
        key
    }

    /// When a call begins, if that is of interest.
    pub(super) fn now(&self) -> Option<u64> {
        self.clock.as_ref().map(|clock| clock())
    }

    /// A call has ended: its request holds the places that it took. Counts it, and what it took.
    pub(super) fn note_call<T>(
        &self,
        handler: Handler,
        x: &mut Exchange,
        began: Option<u64>,
        result: &Result<T, ScriptError>,
    ) {
        self.script.take_places(&mut x.places);
        let Some((began, now)) = began.zip(self.now()) else { return };
        let took = now.saturating_sub(began);
        x.times.add_script(took);
        self.count_call(handler, took, result.as_ref().err());
    }

    /// Counts a call that took so many microseconds.
    pub(super) fn count_call(&self, handler: Handler, took: u64, error: Option<&ScriptError>) {
        let Some(counters) = &self.counters else { return };
        let script = counters.script(handler);
        script.seconds.observe(&SCRIPT_BOUNDS, took * 1000);
        match error {
            None => {}
            Some(error) if error.is_over_time() => script.failed(ScriptFailure::Time),
            Some(error) if error.is_short_of_memory() => script.failed(ScriptFailure::Memory),
            Some(_) => script.failed(ScriptFailure::Error),
        }
    }

    /// What the script has run since it was last taken; nothing, if it is not traced.
    pub fn take_trace(&mut self) -> Trace {
        self.script.take_trace()
    }

    /// The script's VM has used up its memory: a fresh one should take its place.
    pub fn needs_replacement(&self) -> bool {
        self.script.needs_replacement()
    }

    /// Returns the number of large scripted bodies being sent to clients.
    pub fn answer_bodies(&self) -> usize {
        self.script.bodies()
    }
}

fn names(server: &Server) -> ServerNames {
    let endpoint = server.endpoint();
    let address = match endpoint.address {
        Address::Ip(address) => address.to_string(),
        _ => endpoint.written.clone(),
    };
    ServerNames { name: server.name().to_owned(), address }
}

/// Splits an exchange into the request's head and the metadata for scripts.
pub(super) fn parts<'a>(
    x: &'a mut Exchange,
    listeners: &'a [Arc<str>],
) -> (&'a mut RequestHead, RequestMeta<'a>) {
    let tls = x.listener_context.as_ref().and_then(|context| context.tls.as_deref());
    let listener = listeners.get(usize::from(x.listener)).map_or("", |name| name);
    let meta = RequestMeta { address: x.client, scheme: x.scheme.text(), id: x.id.as_bytes(), tls, listener };
    (&mut x.head, meta)
}
