//! Getting a connection to a server for an exchange: one that is idle, or a new one; the next server if this one
//! refuses.

use std::io;

use super::connection::{Connection, OutputSink};
use super::core::{Core, Step};
use super::sides::{BackendSide, BackendState};
use crate::base::reason::reason;
use crate::config::{PoolId, ServerId};
use crate::exchange::Failure;
use crate::exchange::end::Phase;
use crate::h1;
use crate::http::{Framing, Name, Persistence};
use crate::net::{self, Network, Transport};
use crate::route::NoServer;
use crate::script::{self, ScriptError};

/// Requests that must not be done twice reuse only connections idle for less than this: an older one may be
/// about to be closed by the server.
const SAFE_IDLE: u64 = 1_000_000;

/// Where descriptors lack, the other workers have so long to give back those that they only keep, in microseconds.
const OTHERS_GIVE_BACK: u64 = 200_000;

impl<N: Network> Core<N> {
    /// Picks a server and gets a connection to it.
    pub(super) fn dial(&mut self, lane: u32) -> Step {
        loop {
            let (pool, server) = match self.pick(lane) {
                Ok(place) => place,
                Err(Failure::QueueFull) => return self.wait_for_queue(lane),
                // No other server is left: what the last one did is what the client is told.
                Err(failure @ Failure::ServerClosed) => {
                    return self.answer_failure(lane, failure, Phase::Headers);
                }
                Err(failure) => return self.answer_failure(lane, failure, Phase::Connect),
            };
            if let Some(backend) = self.take_idle(lane, pool, server) {
                self.attach(lane, backend, true);
                return Step::Again;
            }
            match self.connect(pool, server) {
                Ok(backend) => {
                    self.attach(lane, backend, false);
                    return self.wait(lane);
                }
                Err(error) if net::is_shortage(&error) => return self.fail_short(lane),
                Err(error) => self.note_refusal(lane, &error),
            }
        }
    }

    /// A new connection, after a kept one died, perhaps with its whole server: one that is being killed may still
    /// accept for a moment, so another server is preferred where there is one. What `failure` says of the first one
    /// is not remembered against it.
    #[cold]
    pub(super) fn dial_fresh(&mut self, lane: u32, failure: Failure) -> Step {
        let place = &self.lanes[lane as usize];
        let (Some(route), Some(before)) = (place.route, place.server) else { return self.dial(lane) };
        self.note_tried(lane, failure);
        let server = self.pick(lane).map_or(before, |(_, server)| server);
        self.lanes[lane as usize].server = Some(server);
        match self.connect(route.pool, server) {
            Ok(backend) => {
                self.attach(lane, backend, false);
                self.wait(lane)
            }
            Err(error) if net::is_shortage(&error) => self.fail_short(lane),
            Err(error) => {
                self.note_refusal(lane, &error);
                self.dial(lane)
            }
        }
    }

    /// No descriptor for the connection: our own trouble, which says nothing about the server.
    #[cold]
    fn fail_short(&mut self, lane: u32) -> Step {
        if self.others && self.put_off(lane, OTHERS_GIVE_BACK) {
            self.note_full_queue(lane);
            return self.wait(lane);
        }
        self.answer_failure(lane, Failure::NoDescriptors, Phase::Connect)
    }

    #[inline(always)]
    fn pick(&mut self, lane: u32) -> Result<(PoolId, ServerId), Failure> {
        let lane = &mut self.lanes[lane as usize];
        let Some(route) = lane.route else { return Err(Failure::Internal) };
        if lane.tried.is_full() {
            return Err(lane.last_failure.unwrap_or(Failure::NoServer));
        }
        let x = &mut lane.exchange;
        let about = || script::Client { address: x.client, scheme: x.scheme.text(), id: x.id.as_bytes() };
        match self.tools.router.pick(route, &lane.tried, &mut x.head, about, self.tools.now) {
            Ok(server) => {
                lane.server = Some(server);
                x.retries = lane.tries;
                lane.tries = lane.tries.saturating_add(1);
                Ok((route.pool, server))
            }
            Err(NoServer::None) => Err(lane.last_failure.unwrap_or(Failure::NoServer)),
            Err(NoServer::Script(error)) => Err(self.balance_failed(&error)),
        }
    }

    #[cold]
    fn balance_failed(&mut self, error: &ScriptError) -> Failure {
        self.tools.errors.log("balance", error, "", self.tools.now);
        Failure::Script
    }

    fn take_idle(&mut self, lane: u32, pool: PoolId, server: ServerId) -> Option<u32> {
        let method = self.lanes[lane as usize].exchange.head.method;
        let max_age = if method.is_idempotent() { u64::MAX } else { SAFE_IDLE };
        let private = self.tools.router.config.pools[pool.0 as usize].send_proxy.is_some();
        loop {
            let key = match private {
                true => self.take_kept(lane, pool, server, max_age)?,
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
            codec: h1::Client::new(wanted.strict),
            pool,
            server,
            state: BackendState::Connecting,
            lane: None,
            private: None,
            since: self.tools.now,
            wrote: false,
            keep_alive: false,
            write_failed: false,
        };
        let key = self.backends.insert(Connection::new(stream, role, false, self.tools.now));
        debug_assert_eq!(key, token.key, "its events would go elsewhere");
        Ok(key)
    }

    /// Joins a backend to a lane and writes the request head into its output.
    fn attach(&mut self, lane: u32, backend: u32, reused: bool) {
        if !reused {
            self.announce_client(lane, backend);
        }
        let key = lane;
        let lane = &mut self.lanes[lane as usize];
        (lane.backend, lane.queue_wait) = (Some(backend), None);
        let x = &mut lane.exchange;
        x.reused = reused;
        let backend = &mut self.backends[backend];
        let role = &mut backend.role;
        role.lane = Some(key);
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
    pub(super) fn finish_connect(&mut self, lane: u32) -> Result<Step, Failure> {
        let place = &mut self.lanes[lane as usize];
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
                self.note_pause(lane, &reason(&error));
                Err(failure)
            }
        }
    }

    #[cold]
    fn note_refusal(&mut self, lane: u32, error: &io::Error) {
        let failure = Failure::of_connect(error);
        match failure {
            Failure::QueueFull => self.note_full_queue(lane),
            _ => self.note_pause(lane, &reason(error)),
        }
        self.note_tried(lane, failure);
    }

    pub(super) fn note_tried(&mut self, lane: u32, failure: Failure) {
        let lane = &mut self.lanes[lane as usize];
        // One that only has too much to do is the better news.
        if lane.last_failure != Some(Failure::QueueFull) {
            lane.last_failure = Some(failure);
        }
        if let Some(server) = lane.server {
            lane.tried.add(server);
        }
    }

    /// Leaves the lane's server alone for a while; says so when that is news.
    pub(super) fn note_pause(&mut self, lane: u32, why: &str) {
        let lane = &self.lanes[lane as usize];
        let (Some(route), Some(server)) = (lane.route, lane.server) else { return };
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
