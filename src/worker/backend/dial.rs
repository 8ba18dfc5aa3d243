//! Dials for an exchange: takes an idle connection or opens a new one, and tries the next server if one refuses.

use std::io;
use std::rc::Rc;

use crate::balance::WorkerServer;
use crate::base::os_error::os_error;
use crate::exchange::Failure;
use crate::exchange::end::Phase;
use crate::h1;
use crate::http::{Codec, Framing, Name, Persistence};
use crate::net::{self, Either, Network, Transport};
use crate::route::{NoServer, pick};
use crate::script::ScriptError;
use crate::worker::conn::backend::{BackendSide, BackendState};
use crate::worker::conn::connection::{Connection, OutputSink};
use crate::worker::core::{Core, Step};
use crate::worker::pair::{Pair, Stage};

/// Non-idempotent requests reuse only connections idle for less than this (microseconds): the server may be about to
/// close an older one.
const SAFE_IDLE: u64 = 1_000_000;

/// After a descriptor shortage, how long to wait for other workers to close idle ones, in microseconds.
const OTHERS_GIVE_BACK: u64 = 200_000;

impl<N: Network> Core<N> {
    /// Picks a server and takes or opens a connection to it.
    pub(crate) fn dial(&mut self, pair: u32) -> Step {
        loop {
            let server = match self.pick(pair) {
                Ok(server) => server,
                Err(Failure::QueueFull) => return self.wait_for_queue(pair),
                // No other server is left: the client gets the last one's failure.
                Err(failure @ Failure::ServerClosed) => {
                    return self.answer_failure(pair, failure, Phase::Headers);
                }
                Err(failure) => return self.answer_failure(pair, failure, Phase::Connect),
            };
            if let Some(backend) = self.take_idle(pair, &server) {
                self.attach(pair, backend, true);
                return Step::Again;
            }
            match self.connect(pair, &server) {
                Ok(backend) => {
                    self.attach(pair, backend, false);
                    return self.wait(pair);
                }
                Err(error) if net::is_shortage(&error) => return self.fail_short(pair),
                Err(error) => self.note_refusal(pair, &error),
            }
        }
    }

    /// Opens a new connection after a reused one died. The server itself may be down, and one being killed may still
    /// accept for a moment, so another server is preferred. `failure` does not count against the first one.
    pub(crate) fn dial_fresh(&mut self, pair: u32, failure: Failure) -> Step {
        let place = &self.pairs[pair as usize];
        let Some(before) = place.server.clone() else { return self.dial(pair) };
        self.note_tried(pair, failure);
        let server = self.pick(pair).unwrap_or(before);
        self.pairs[pair as usize].server = Some(server.clone());
        match self.connect(pair, &server) {
            Ok(backend) => {
                self.attach(pair, backend, false);
                self.wait(pair)
            }
            Err(error) if net::is_shortage(&error) => self.fail_short(pair),
            Err(error) => {
                self.note_refusal(pair, &error);
                self.dial(pair)
            }
        }
    }

    /// No descriptor for the connection: a local shortage, not a failure of the server.
    fn fail_short(&mut self, pair: u32) -> Step {
        if self.others && self.put_off(pair, OTHERS_GIVE_BACK) {
            self.note_full_queue(pair);
            return self.wait(pair);
        }
        self.answer_failure(pair, Failure::NoDescriptors, Phase::Connect)
    }

    fn pick(&mut self, pair: u32) -> Result<Rc<WorkerServer>, Failure> {
        let Pair { exchange: x, route, tried, tries, server, handlers, last_failure, .. } =
            &mut *self.pairs[pair as usize];
        let Some(route) = route else { return Err(Failure::Internal) };
        if tried.is_full() {
            return Err(last_failure.unwrap_or(Failure::NoServer));
        }
        let handlers = || handlers.as_ref().map(|handlers| handlers.borrow_mut());
        match pick(route, tried, x, self.tools.now, handlers) {
            Ok(picked) => {
                *server = Some(picked.clone());
                x.tries.retries = *tries;
                *tries = tries.saturating_add(1);
                Ok(picked)
            }
            Err(NoServer::None) => Err(last_failure.unwrap_or(Failure::NoServer)),
            Err(NoServer::Script(error)) => Err(self.balance_failed(&error)),
        }
    }

    fn balance_failed(&mut self, error: &ScriptError) -> Failure {
        self.tools.errors.log("balance", error, "", self.tools.now);
        Failure::Script
    }

    fn take_idle(&mut self, pair: u32, server: &Rc<WorkerServer>) -> Option<u32> {
        let Pair { exchange, route, .. } = &*self.pairs[pair as usize];
        let max_age = if exchange.head.method.is_idempotent() { u64::MAX } else { SAFE_IDLE };
        let dedicated = route.as_ref().is_some_and(|route| route.pool.config.send_proxy.is_some());
        loop {
            let key = match dedicated {
                true => self.take_kept(pair, server, max_age)?,
                false => server.idle.borrow_mut().take(self.tools.now, max_age)?.connection,
            };
            let backend = &mut self.backends[key];
            backend.role.state = BackendState::Busy;
            let silent = !(backend.readable || backend.read_closed || backend.hung_up);
            if (silent || backend.is_still_idle()) && server.may_keep(backend.role.endpoint_version) {
                return Some(key);
            }
            self.close_backend(key);
        }
    }

    fn connect(&mut self, pair: u32, server: &Rc<WorkerServer>) -> io::Result<u32> {
        match self.open(pair, server) {
            Err(error) if net::is_shortage(&error) => {
                self.close_idle();
                self.open(pair, server)
            }
            other => other,
        }
    }

    /// Opens the connection. The next token must not change before the connection is inserted.
    fn open(&mut self, pair: u32, server: &Rc<WorkerServer>) -> io::Result<u32> {
        // In this order: if the endpoint changes between the two reads, the connection is not kept.
        let (endpoint_version, endpoint) = (server.endpoint_version(), server.endpoint());
        let token = self.backends.next_token();
        let stream = self.network.connect(&endpoint, token.to_bits())?;
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
        debug_assert_eq!(key, token.key, "its events would go elsewhere");
        if let Some(version) = endpoint.send_proxy {
            self.announce_client(pair, key, version);
        }
        Ok(key)
    }

    /// Attaches a backend connection to a pair and writes the request head into its output.
    fn attach(&mut self, pair: u32, backend: u32, reused: bool) {
        let key = pair;
        let pair = &mut self.pairs[pair as usize];
        pair.stage = Stage::Forwarding(backend);
        let x = &mut pair.exchange;
        x.tries.reused = reused;
        let backend = &mut self.backends[backend];
        let role = &mut backend.role;
        role.pair = Some(key);
        role.since = self.tools.now;
        role.wrote = false;
        role.keep_alive = false;
        role.server.request_begins();
        if x.own_host || !x.head.fields.has(Name::Host) {
            x.name_host(host_of(&role.server.endpoint().written));
        }
        if reused {
            x.times.connected = x.elapsed(self.tools.now);
            role.codec.next_message(pair.target);
        }
        let chunked = x.head.framing == Framing::Chunked;
        let trailers = chunked && pair.route.as_ref().is_some_and(|route| route.pool.config.trailers);
        if chunked && !trailers {
            x.keep_trailers();
        }
        let persistence = if x.head.upgrade { Persistence::Upgrade } else { Persistence::Keep };
        let out = &mut OutputSink { output: &mut backend.output, blocks: &mut self.tools.blocks };
        role.codec.encode_head(&x.head, persistence, out);
        if trailers {
            role.codec.pass_trailers(&x.head);
        }
    }

    /// Checks a connection in progress. Returns the failure if it was refused.
    pub(crate) fn finish_connect(&mut self, pair: u32) -> Result<Step, Failure> {
        let place = &mut self.pairs[pair as usize];
        let Some(key) = place.backend() else { return Ok(Step::Wait) };
        let backend = &mut self.backends[key];
        let connected = match backend.role.state {
            BackendState::Connecting => backend.stream.connect_result(),
            _ => Ok(()),
        };
        match connected.and_then(|()| backend.is_established()) {
            Ok(true) => {
                backend.role.state = BackendState::Busy;
                backend.role.since = self.tools.now;
                place.exchange.times.connected = place.exchange.elapsed(self.tools.now);
                let server = &backend.role.server;
                if server.pause.succeeded() {
                    log::info!("server {server} accepts connections again");
                }
                Ok(Step::Again)
            }
            Ok(false) => {
                backend.role.state = BackendState::Handshaking;
                Ok(Step::Wait)
            }
            Err(e)
                if e.kind() == io::ErrorKind::NotConnected
                    && backend.role.state == BackendState::Connecting =>
            {
                backend.writable = false;
                Ok(Step::Again)
            }
            Err(error) => {
                let failure = Failure::of_connect(&error);
                self.note_pause(pair, &os_error(&error));
                Err(failure)
            }
        }
    }

    fn note_refusal(&mut self, pair: u32, error: &io::Error) {
        let failure = Failure::of_connect(error);
        match failure {
            Failure::QueueFull => self.note_full_queue(pair),
            _ => self.note_pause(pair, &os_error(error)),
        }
        self.note_tried(pair, failure);
    }

    pub(crate) fn note_tried(&mut self, pair: u32, failure: Failure) {
        let pair = &mut self.pairs[pair as usize];
        // A full queue is the milder failure: keep it.
        if pair.last_failure != Some(Failure::QueueFull) {
            pair.last_failure = Some(failure);
        }
        if let Some(server) = &pair.server {
            pair.tried.add(server.clone());
        }
    }

    /// Pauses the pair's server. Logs it if the server was not failing before.
    pub(crate) fn note_pause(&mut self, pair: u32, why: &str) {
        if let Some(server) = &self.pairs[pair as usize].server
            && server.pause.failed(self.tools.now)
        {
            log::warn!("server {server} does not accept connections: {why}");
        }
    }
}

/// Returns the default `Host` value for a request without one: the server as written in the config.
fn host_of(written: &str) -> &str {
    if written.starts_with("unix:") { "localhost" } else { written }
}
