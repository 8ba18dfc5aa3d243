//! Dials for an exchange: takes an idle connection or opens a new one, and tries the next server if one refuses.

use std::io;
use std::rc::Rc;

use crate::balance::{Picked, Want, WorkerServer};
use crate::exchange::end::Phase;
use crate::exchange::{Failure, RequestHalf};
use crate::h1;
use crate::http::{Codec, Framing, Name, Persistence};
use crate::net::{self, Either, Network};
use crate::route::{Binding, Decision, NoServer, balance_failed, pick};
use crate::script::ScriptError;
use crate::worker::conn::backend::{BackendSide, BackendState};
use crate::worker::conn::connection::{Connection, OutputSink};
use crate::worker::conn::table::{BackendKey, Key};
use crate::worker::core::{Core, Step};
use crate::worker::pair::table::PairKey;
use crate::worker::pair::{Origin, Pair, Stage};

/// Non-idempotent requests reuse only connections idle for less than this (microseconds): the server may be about to
/// close an older one.
const SAFE_IDLE: u64 = 1_000_000;

/// After a descriptor shortage, how long to wait for other workers to close idle ones, in microseconds.
const OTHERS_GIVE_BACK: u64 = 200_000;

/// How a connection to a server is made.
pub(crate) enum ConnectMode {
    /// As the config says.
    Usual,
    /// The same for what no client needs: the descriptors in reserve are not for it.
    Spare,
    /// To this port instead.
    Port(u16),
    /// Without TLS: what passes is TLS already.
    Raw,
}

/// Why no server was picked.
enum NotPicked {
    /// One may take the request later.
    Full,
    Failed(Failure),
    /// The pool's function failed.
    Script(ScriptError),
}

impl<N: Network> Core<N> {
    /// Picks a server and takes or opens a connection to it.
    pub(crate) fn dial(&mut self, pair_key: PairKey) -> Step {
        self.dial_next(pair_key, false)
    }

    /// The same for a request whose server is picked.
    pub(crate) fn dial_picked(&mut self, pair_key: PairKey) -> Step {
        match self.try_server(pair_key) {
            Some(step) => step,
            None => self.dial(pair_key),
        }
    }

    /// The same for a request that has waited: it need not stand behind others.
    pub(crate) fn dial_in_turn(&mut self, pair_key: PairKey) -> Step {
        self.dial_next(pair_key, true)
    }

    fn dial_next(&mut self, pair_key: PairKey, in_turn: bool) -> Step {
        loop {
            let step = match self.pick(pair_key, in_turn) {
                Ok(()) => self.try_server(pair_key),
                Err(NotPicked::Full) => Some(self.enqueue(pair_key)),
                Err(NotPicked::Failed(failure)) => Some(self.no_server(pair_key, failure)),
                Err(NotPicked::Script(error)) => Some(self.balance_failed(pair_key, error)),
            };
            if let Some(step) = step {
                return step;
            }
        }
    }

    /// Dials a server that was granted to a request that waited.
    pub(crate) fn dial_granted(&mut self, pair_key: PairKey, picked: Picked) -> Step {
        let pair = &mut self.pairs[pair_key];
        if pair.tried.has(&picked.server) {
            drop(picked);
            return self.dial_in_turn(pair_key);
        }
        if !pair.take_retry(self.tools.now) {
            drop(picked);
            let failure = pair.last_failure.unwrap_or(Failure::NoServer);
            return self.no_server(pair_key, failure);
        }
        pair.take_picked(picked);
        match self.try_server(pair_key) {
            Some(step) => step,
            None => self.dial_in_turn(pair_key),
        }
    }

    /// Goes to another server after this one failed.
    pub(crate) fn dial_other(&mut self, pair_key: PairKey, failure: Failure) -> Step {
        self.note_tried(pair_key, failure);
        self.pairs[pair_key].exchange.forget_server();
        self.dial(pair_key)
    }

    /// Opens a new connection after a reused one died. The server itself may be down, and one being killed may still
    /// accept for a moment, so another server is preferred. This try is not one of the pool's retries.
    pub(crate) fn dial_fresh(&mut self, pair_key: PairKey) -> Step {
        self.counters.stale();
        self.uncount_try(pair_key);
        let pair = &mut self.pairs[pair_key];
        let Some(before) = pair.server.clone() else { return self.dial(pair_key) };
        pair.exchange.note_attempt(before.name(), "reused-stale");
        pair.exchange.forget_server();
        pair.is_fresh_try = true;
        if pair.route.as_ref().is_some_and(|route| route.stays_with(&before)) {
            return self.dial(pair_key);
        }
        pair.tried.add(before.clone());
        match self.pick(pair_key, false) {
            Ok(()) => self.dial_picked(pair_key),
            Err(NotPicked::Script(error)) => self.balance_failed(pair_key, error),
            Err(NotPicked::Full | NotPicked::Failed(_)) => {
                self.pairs[pair_key].tried.remove(&before);
                self.dial(pair_key)
            }
        }
    }

    /// Takes or opens a connection to the server that was picked. `None`: it refused.
    pub(crate) fn try_server(&mut self, pair_key: PairKey) -> Option<Step> {
        let idle = self.take_idle(pair_key);
        let backend = match idle {
            Some(backend) => backend,
            None => match self.try_connect(pair_key) {
                Ok(backend) => backend,
                Err(step) => return step,
            },
        };
        self.attach(pair_key, backend, idle.is_some());
        Some(if idle.is_some() { Step::Again } else { self.wait(pair_key) })
    }

    /// Opens a connection for a request's head. If that fails at once, or there is none: what follows, `None` to try
    /// another server.
    #[cold]
    fn try_connect(&mut self, pair_key: PairKey) -> Result<BackendKey, Option<Step>> {
        let Some(server) = self.pairs[pair_key].server.clone() else { return Err(None) };
        let error = match self.connect(pair_key, &server) {
            Ok(backend) if self.pairs[pair_key].exchange.passes_through() => {
                return Err(Some(self.attach_raw(pair_key, backend)));
            }
            Ok(backend) => return Ok(backend),
            Err(error) => error,
        };
        let slot = self.pairs[pair_key].slot.take();
        if net::is_shortage(&error) {
            // It says nothing of the server, which the next request may probe.
            self.pairs[pair_key].probe = None;
            return Err(Some(self.fail_short(pair_key)));
        }
        // Others that wait would only find its accept queue full too.
        if let (Some(slot), Failure::AcceptQueueFull) = (slot, Failure::of_connect(&error)) {
            slot.give_up();
        }
        self.note_refusal(pair_key, &error);
        Err(None)
    }

    /// No server is left: the client gets the last one's failure.
    fn no_server(&mut self, pair_key: PairKey, failure: Failure) -> Step {
        let phase = if failure == Failure::ServerClosed { Phase::Headers } else { Phase::Connect };
        self.answer_failure(pair_key, failure, phase)
    }

    /// No descriptor for the connection: a local shortage, not a failure of the server.
    fn fail_short(&mut self, pair_key: PairKey) -> Step {
        if self.others && self.put_off(pair_key, OTHERS_GIVE_BACK) {
            self.uncount_try(pair_key);
            return self.wait(pair_key);
        }
        self.answer_failure(pair_key, Failure::NoDescriptors, Phase::Connect)
    }

    /// A full accept queue, a local shortage and a reused connection that died do not count as a try.
    pub(crate) fn uncount_try(&mut self, pair_key: PairKey) {
        let pair = &mut self.pairs[pair_key];
        pair.counted_tries = pair.counted_tries.saturating_sub(1);
    }

    /// Picks the server of the next try.
    fn pick(&mut self, pair_key: PairKey, in_turn: bool) -> Result<(), NotPicked> {
        let now = self.tools.now;
        let pair = &mut self.pairs[pair_key];
        let Some(route) = &pair.route else { return Err(NotPicked::Failed(Failure::Internal)) };
        let failure = pair.last_failure.unwrap_or(Failure::NoServer);
        if pair.counted_tries > route.pool.config.retries {
            return Err(NotPicked::Failed(failure));
        }
        let x = &mut pair.exchange;
        let may_probe = x.request == RequestHalf::NoBody && x.head.method.is_idempotent();
        let want = Want { now, key: route.key, may_probe, in_turn };
        let handlers = || pair.handlers.as_ref().map(|handlers| handlers.borrow_mut());
        match pick(route, &pair.tried, x, &want, handlers) {
            Ok(picked) if !pair.take_retry(now) => {
                drop(picked);
                Err(NotPicked::Failed(failure))
            }
            Ok(picked) => {
                pair.take_picked(picked);
                Ok(())
            }
            Err(NoServer::Full) => Err(NotPicked::Full),
            // The accept queues of all that are left are full.
            Err(NoServer::None) if failure == Failure::AcceptQueueFull && !pair.is_check() => {
                Err(NotPicked::Full)
            }
            Err(NoServer::None) => Err(NotPicked::Failed(failure)),
            Err(NoServer::Script(error)) => Err(NotPicked::Script(error)),
        }
    }

    /// The fallback pool takes the request of a client, if that is not the one whose function failed.
    fn balance_failed(&mut self, key: PairKey, error: ScriptError) -> Step {
        let Pair { exchange: x, site, handlers, route, origin, .. } = &mut self.pairs[key];
        let decision = match (route, handlers) {
            (Some(route), Some(handlers)) if *origin == Origin::Client && !x.passes_through() => {
                balance_failed(x, route, error, &site.routes, &mut handlers.borrow_mut())
            }
            _ => Decision::ScriptFailed(("balance", error)),
        };
        match decision {
            Decision::ScriptFailed((function, error)) => {
                let failure = self.tools.errors.failed(function, &error, self.tools.now);
                self.no_server(key, failure)
            }
            fallback => {
                self.pairs[key].forget_tries();
                self.apply_decision(key, fallback)
            }
        }
    }

    /// Takes an idle connection to the server that was picked.
    fn take_idle(&mut self, pair_key: PairKey) -> Option<BackendKey> {
        loop {
            let Pair { exchange, route, server, .. } = &self.pairs[pair_key];
            let (Some(route), Some(server)) = (route, server) else { return None };
            if exchange.tries.fresh || route.binding == Binding::Check {
                return None;
            }
            let limit = server.idle_limit.get();
            let max_age = if exchange.head.method.is_idempotent() { limit } else { SAFE_IDLE.min(limit / 2) };
            let key = match route.pool.config.send_proxy {
                Some(_) => self.take_kept(pair_key, max_age)?,
                None => BackendKey::of(server.idle.borrow_mut().take(self.tools.now, max_age)?.connection),
            };
            let backend = &mut self.backends[key];
            backend.role.state = BackendState::Busy;
            backend.role.server.counters.idle.subtract(1);
            let silent = !(backend.readable || backend.read_closed || backend.hung_up);
            if (silent || backend.is_still_idle()) && backend.role.may_be_kept() {
                return Some(key);
            }
            if !silent {
                self.note_idle_close(key);
            }
            self.close_backend(key);
        }
    }

    fn connect(&mut self, pair_key: PairKey, server: &Rc<WorkerServer>) -> io::Result<BackendKey> {
        match self.open(pair_key, server) {
            Err(error) if net::is_shortage(&error) && !self.pairs[pair_key].origin.is_extra() => {
                self.close_idle();
                self.open(pair_key, server)
            }
            other => other,
        }
    }

    fn open(&mut self, pair_key: PairKey, server: &Rc<WorkerServer>) -> io::Result<BackendKey> {
        let pair = &self.pairs[pair_key];
        let mode = match self.clients[pair.client].role.check_port() {
            Some(port) => ConnectMode::Port(port),
            None if pair.exchange.passes_through() => ConnectMode::Raw,
            None if pair.origin.is_extra() => ConnectMode::Spare,
            None => ConnectMode::Usual,
        };
        let key = self.open_connection(server, mode)?;
        if let Some(version) = server.endpoint().send_proxy {
            self.announce_client(pair_key, key, version);
        }
        Ok(key)
    }

    /// Opens the connection. The next token must not change before the connection is inserted.
    pub(crate) fn open_connection(
        &mut self,
        server: &Rc<WorkerServer>,
        mode: ConnectMode,
    ) -> io::Result<BackendKey> {
        // In this order: if the endpoint changes between the two reads, the connection is not kept.
        let (endpoint_version, endpoint) = (server.endpoint_version(), server.endpoint());
        let token = self.backends.next_token();
        let stream = match mode {
            ConnectMode::Port(port) => self.network.connect(&endpoint.with_port(port), token.to_bits())?,
            ConnectMode::Raw if endpoint.tls.is_some() => {
                self.network.connect(&endpoint.without_tls(), token.to_bits())?
            }
            ConnectMode::Spare => self.network.connect_spare(&endpoint, token.to_bits())?,
            ConnectMode::Usual | ConnectMode::Raw => self.network.connect(&endpoint, token.to_bits())?,
        };
        let role = BackendSide {
            codec: h1::BackendCodec::new(endpoint.strict),
            server: server.clone(),
            endpoint_version,
            state: BackendState::Connecting,
            pair: None,
            dedicated: None,
            since: self.tools.now,
            wrote: false,
            keep_alive: false,
            write_failed: false,
        };
        let key = self.backends.insert(Connection::new(Either::Socket(stream), role, false, self.tools.now));
        server.counters.connections.add(1);
        server.counters.opened.add(1);
        debug_assert_eq!(key, token.key, "its events would go elsewhere");
        Ok(key)
    }

    /// Attaches a backend connection to a pair and writes the request head into its output.
    fn attach(&mut self, pair_key: PairKey, backend_key: BackendKey, reused: bool) {
        let (pair, backend) = (&mut self.pairs[pair_key], &mut self.backends[backend_key]);
        let role = &mut backend.role;
        pair.join(role, (pair_key, backend_key), self.tools.now);
        let x = &mut pair.exchange;
        x.tries.reused = reused;
        if x.own_host || !x.head.fields.has(Name::Host) {
            x.name_host(role.server.endpoint().host());
        }
        if reused {
            x.times.connected = x.elapsed(self.tools.now);
            role.codec.next_message(pair.target);
        }
        let chunked = x.head.framing == Framing::Chunked;
        let trailers = chunked && pair.route.as_ref().is_some_and(|route| route.pool.config.trailers);
        if chunked && !trailers {
            x.remove_trailer_field();
        }
        let persistence = if x.head.upgrade { Persistence::Upgrade } else { Persistence::Keep };
        let out = &mut OutputSink { output: &mut backend.output, blocks: &mut self.tools.blocks };
        role.codec.encode_head(&x.head, persistence, out);
        if trailers {
            role.codec.pass_trailers(&x.head);
        }
        if pair.route.as_ref().is_some_and(|route| route.pool.hedges.is_some()) {
            self.plan_hedge(pair_key);
        }
    }

    /// Attaches a new connection for bytes that are passed through: its server gets nothing that the client does not send.
    fn attach_raw(&mut self, pair_key: PairKey, backend_key: BackendKey) -> Step {
        let role = &mut self.backends[backend_key].role;
        self.pairs[pair_key].join(role, (pair_key, backend_key), self.tools.now);
        self.wait(pair_key)
    }
}

impl Pair {
    /// Takes a connection, whose server and pool have one more request.
    #[inline(always)]
    fn join(&mut self, role: &mut BackendSide, (own_key, backend_key): (PairKey, BackendKey), now: u64) {
        (self.stage, self.waits_since) = (Stage::Forwarding(backend_key), None);
        role.pair = Some(own_key);
        self.idle_for = now - role.since;
        role.since = now;
        (role.wrote, role.keep_alive) = (false, false);
        if let Some(route) = self.route.as_ref().filter(|route| route.binding != Binding::Check) {
            role.server.request_begins();
            route.pool.requests.begins();
        }
    }
}
