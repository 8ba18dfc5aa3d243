//! Getting a connection to a server for an exchange: one that is idle, or a new one; the next server if this one
//! refuses.

use std::io;

use crate::base::os_error::reason;
use crate::config::{PoolId, ServerId};
use crate::exchange::Failure;
use crate::exchange::end::Phase;
use crate::h1;
use crate::http::{Framing, Name, Persistence};
use crate::net::{self, Network, Transport};
use crate::route::NoServer;
use crate::script::{self, ScriptError};
use crate::worker::conn::connection::{Connection, OutputSink};
use crate::worker::conn::sides::{BackendSide, BackendState};
use crate::worker::core::{Core, Step};

/// Requests that must not be done twice reuse only connections idle for less than this: an older one may be
/// about to be closed by the server.
const SAFE_IDLE: u64 = 1_000_000;

/// Where descriptors lack, the other workers have so long to give back those that they only keep, in microseconds.
const OTHERS_GIVE_BACK: u64 = 200_000;

impl<N: Network> Core<N> {
    /// Picks a server and gets a connection to it.
    pub(crate) fn dial(&mut self, pair: u32) -> Step {
        loop {
            let (pool, server) = match self.pick(pair) {
                Ok(place) => place,
                Err(Failure::QueueFull) => return self.wait_for_queue(pair),
                // No other server is left: what the last one did is what the client is told.
                Err(failure @ Failure::ServerClosed) => {
                    return self.answer_failure(pair, failure, Phase::Headers);
                }
                Err(failure) => return self.answer_failure(pair, failure, Phase::Connect),
            };
            if let Some(backend) = self.take_idle(pair, pool, server) {
                self.attach(pair, backend, true);
                return Step::Again;
            }
            match self.connect(pool, server) {
                Ok(backend) => {
                    self.attach(pair, backend, false);
                    return self.wait(pair);
                }
                Err(error) if net::is_shortage(&error) => return self.fail_short(pair),
                Err(error) => self.note_refusal(pair, &error),
            }
        }
    }

    /// A new connection, after a kept one died, perhaps with its whole server: one that is being killed may still
    /// accept for a moment, so another server is preferred where there is one. What `failure` says of the first one
    /// is not remembered against it.
    #[cold]
    pub(crate) fn dial_fresh(&mut self, pair: u32, failure: Failure) -> Step {
        let place = &self.pairs[pair as usize];
        let (Some(route), Some(before)) = (place.route, place.server) else { return self.dial(pair) };
        self.note_tried(pair, failure);
        let server = self.pick(pair).map_or(before, |(_, server)| server);
        self.pairs[pair as usize].server = Some(server);
        match self.connect(route.pool, server) {
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

    /// No descriptor for the connection: our own trouble, which says nothing about the server.
    #[cold]
    fn fail_short(&mut self, pair: u32) -> Step {
        if self.others && self.put_off(pair, OTHERS_GIVE_BACK) {
            self.note_full_queue(pair);
            return self.wait(pair);
        }
        self.answer_failure(pair, Failure::NoDescriptors, Phase::Connect)
    }

    #[inline(always)]
    fn pick(&mut self, pair: u32) -> Result<(PoolId, ServerId), Failure> {
        let pair = &mut self.pairs[pair as usize];
        let Some(route) = pair.route else { return Err(Failure::Internal) };
        if pair.tried.is_full() {
            return Err(pair.last_failure.unwrap_or(Failure::NoServer));
        }
        let x = &mut pair.exchange;
        let about =
            || script::RequestMeta { address: x.client, scheme: x.scheme.text(), id: x.id.as_bytes() };
        match self.tools.router.pick(route, &pair.tried, &mut x.head, about, self.tools.now) {
            Ok(server) => {
                pair.server = Some(server);
                x.retries = pair.tries;
                pair.tries = pair.tries.saturating_add(1);
                Ok((route.pool, server))
            }
            Err(NoServer::None) => Err(pair.last_failure.unwrap_or(Failure::NoServer)),
            Err(NoServer::Script(error)) => Err(self.balance_failed(&error)),
        }
    }

    #[cold]
    fn balance_failed(&mut self, error: &ScriptError) -> Failure {
        self.tools.errors.log("balance", error, "", self.tools.now);
        Failure::Script
    }

    fn take_idle(&mut self, pair: u32, pool: PoolId, server: ServerId) -> Option<u32> {
        let method = self.pairs[pair as usize].exchange.head.method;
        let max_age = if method.is_idempotent() { u64::MAX } else { SAFE_IDLE };
        let dedicated = self.tools.router.config.pools[pool.0 as usize].send_proxy.is_some();
        loop {
            let key = match dedicated {
                true => self.take_kept(pair, pool, server, max_age)?,
                false => {
                    self.tools
                        .router
                        .pools
                        .server(pool, server)
                        .idle
                        .take(self.tools.now, max_age)?
                        .connection
                }
            };
            let backend = &mut self.backends[key];
            backend.role.state = BackendState::Busy;
            if !(backend.readable || backend.read_closed || backend.hung_up) {
                return Some(key);
            }
            self.close_backend(key);
        }
    }

    #[cold]
    fn connect(&mut self, pool: PoolId, server: ServerId) -> io::Result<u32> {
        match self.open(pool, server) {
            Err(error) if net::is_shortage(&error) => {
                self.close_idle();
                self.open(pool, server)
            }
            other => other,
        }
    }

    /// The connection goes where its token says: nothing may come or go between the two.
    fn open(&mut self, pool: PoolId, server: ServerId) -> io::Result<u32> {
        let wanted = &self.tools.router.config.pools[pool.0 as usize];
        let address = &wanted.servers[server.0 as usize].address;
        let token = self.backends.next_token();
        let stream = self.network.connect(address, &wanted.sockets, token.to_bits())?;
        let role = BackendSide {
            codec: h1::BackendCodec::new(wanted.strict),
            pool,
            server,
            state: BackendState::Connecting,
            pair: None,
            dedicated: None,
            since: self.tools.now,
            wrote: false,
            keep_alive: false,
            write_failed: false,
        };
        let key = self.backends.insert(Connection::new(stream, role, false, self.tools.now));
        debug_assert_eq!(key, token.key, "its events would go elsewhere");
        Ok(key)
    }

    /// Joins a backend to a pair and writes the request head into its output.
    fn attach(&mut self, pair: u32, backend: u32, reused: bool) {
        if !reused {
            self.announce_client(pair, backend);
        }
        let key = pair;
        let pair = &mut self.pairs[pair as usize];
        (pair.backend, pair.queue_wait) = (Some(backend), None);
        let x = &mut pair.exchange;
        x.reused = reused;
        let backend = &mut self.backends[backend];
        let role = &mut backend.role;
        role.pair = Some(key);
        role.since = self.tools.now;
        role.wrote = false;
        role.keep_alive = false;
        self.tools.router.pools.request_begins(role.pool, role.server);
        if x.own_host || !x.head.fields.has(Name::Host) {
            let server =
                &self.tools.router.config.pools[role.pool.0 as usize].servers[role.server.0 as usize];
            x.name_host(host_of(&server.written));
        }
        if reused {
            x.times.connected = x.elapsed(self.tools.now);
            role.codec.next_message();
        }
        let chunked = x.head.framing == Framing::Chunked;
        let trailers = chunked && self.tools.router.config.pools[role.pool.0 as usize].trailers;
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

    /// Looks whether a connection that is being made is there. Gives the failure if it is not to be.
    #[cold]
    pub(crate) fn finish_connect(&mut self, pair: u32) -> Result<Step, Failure> {
        let place = &mut self.pairs[pair as usize];
        let Some(key) = place.backend else { return Ok(Step::Wait) };
        let backend = &mut self.backends[key];
        match backend.stream.connect_result() {
            Ok(()) => {
                backend.role.state = BackendState::Busy;
                backend.role.since = self.tools.now;
                place.exchange.times.connected = place.exchange.elapsed(self.tools.now);
                let (pool, server) = (backend.role.pool, backend.role.server);
                if self.tools.router.pools.server(pool, server).pause.succeeded() {
                    log::info!("server {} accepts connections again", self.server_name(pool, server));
                }
                Ok(Step::Again)
            }
            Err(e) if e.kind() == io::ErrorKind::NotConnected => {
                backend.writable = false;
                Ok(Step::Again)
            }
            Err(error) => {
                let failure = Failure::of_connect(&error);
                self.note_pause(pair, &reason(&error));
                Err(failure)
            }
        }
    }

    #[cold]
    fn note_refusal(&mut self, pair: u32, error: &io::Error) {
        let failure = Failure::of_connect(error);
        match failure {
            Failure::QueueFull => self.note_full_queue(pair),
            _ => self.note_pause(pair, &reason(error)),
        }
        self.note_tried(pair, failure);
    }

    pub(crate) fn note_tried(&mut self, pair: u32, failure: Failure) {
        let pair = &mut self.pairs[pair as usize];
        // One that only has too much to do is the better news.
        if pair.last_failure != Some(Failure::QueueFull) {
            pair.last_failure = Some(failure);
        }
        if let Some(server) = pair.server {
            pair.tried.add(server);
        }
    }

    /// Leaves the pair's server alone for a while; says so when that is news.
    pub(crate) fn note_pause(&mut self, pair: u32, why: &str) {
        let pair = &self.pairs[pair as usize];
        let (Some(route), Some(server)) = (pair.route, pair.server) else { return };
        if self.tools.router.pools.server(route.pool, server).pause.failed(self.tools.now) {
            log::warn!("server {} does not accept connections: {why}", self.server_name(route.pool, server));
        }
    }

    fn server_name(&self, pool: PoolId, server: ServerId) -> String {
        let pool = &self.tools.router.config.pools[pool.0 as usize];
        format!("{}/{}", pool.name, pool.servers[server.0 as usize].name)
    }
}

/// The value of `Host` for a client that sent none: the server as the config names it.
fn host_of(written: &str) -> &str {
    if written.starts_with("unix:") { "localhost" } else { written }
}
