//! The worker's state and its event handlers, generic over the network: the event loop drives it with epoll and the
//! real clock, the simulation with in-memory connections and a simulated clock.
//!
//! ```text
//!   accepted ─┐                       ┌─► no request: read a head    ─► start (pair/request.rs)
//!   ready ────┼─► queue ─► turn ──────┼─► under way: pump (pump.rs) ─► dial, release, finish, fail
//!   expired ──┘                       └─► lingering: read and drop
//! ```

use std::sync::Arc;

use crate::base::wheel::Wheel;
use crate::config::Config;
use crate::exchange::Ids;
use crate::exchange::counters::Counters;
use crate::net::{Network, Transport};
use crate::worker::accept::handshake::Handshakes;
use crate::worker::accept::proxy_header::Refusals;
use crate::worker::access::AccessSender;
use crate::worker::backend::checks::Checks;
use crate::worker::backend::dedicated::Kept;
use crate::worker::conn::backend::{Backend, BackendState};
use crate::worker::conn::client::Client;
use crate::worker::conn::connection::Connection;
use crate::worker::conn::table::{AnyToken, BackendKey, ClientKey, ConnectionKey, Table};
use crate::worker::drain::Closings;
use crate::worker::pair::SparePairs;
use crate::worker::pair::closed::{client_gone, has_left};
use crate::worker::pair::pump::{self, Outcome, Tools};
use crate::worker::pair::table::{PairKey, Pairs};
use crate::worker::shared::Shared;
use crate::worker::shared::connection_counts::ConnectionCounts;
use crate::worker::shared::gateway_errors::GatewayErrors;
use crate::worker::shared::malformed::MalformedLog;
use crate::worker::shared::per_client::ClientCounts;
use crate::worker::site::Sites;
use crate::worker::turn::Stopwatch;
use crate::worker::waits::Waits;

/// Readiness reported by epoll for a connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ready {
    pub readable: bool,
    pub writable: bool,
    pub read_closed: bool,
    pub hung_up: bool,
}

pub struct Core<N: Network> {
    pub network: N,
    pub(crate) clients: Table<ClientKey, Client<N::Stream>>,
    pub(crate) backends: Table<BackendKey, Backend<N::Stream>>,
    pub(crate) pairs: Pairs,
    pub(crate) spare: SparePairs,
    pub(crate) sites: Sites,
    pub(crate) tools: Tools<N::Stream>,
    pub(crate) kept: Kept,
    pub(crate) wheel: Wheel,
    pub(crate) ids: Ids,
    pub(crate) access: Option<AccessSender>,
    pub(crate) refusals: Refusals,
    pub(crate) handshakes: Handshakes,
    pub(crate) per_client: ClientCounts,
    pub(crate) connections: ConnectionCounts,
    /// By their numbers (`ClientSide::listener`).
    pub(crate) listener_names: Vec<Arc<str>>,
    pub(crate) gateway_errors: GatewayErrors,
    pub(crate) malformed: MalformedLog,
    pub(crate) counters: Arc<Counters>,
    /// Somebody may read what is counted: `admin` or `control` is set.
    pub(crate) observed: bool,
    pub(crate) stopwatch: Stopwatch,
    /// The ready queue.
    queue: Vec<ConnectionKey>,
    turning: Vec<ConnectionKey>,
    /// There are other workers that may free descriptors.
    pub(crate) others: bool,
    pub(crate) checks: Checks,
    pub(crate) closings: Closings,
    /// The second of the clock for which `tick` ran.
    second: u64,
    /// Connections of internal requests among the clients.
    pub(crate) inside: usize,
    /// What handlers wait for, where work for that goes, and how many wait in all workers.
    pub(crate) waits: Waits,
}

/// The result of one step of a client's turn.
pub(crate) enum Step {
    /// State changed: step the same client again.
    Again,
    /// As `Again`, for a further request: unless the turn has taken too long.
    Further,
    /// Nothing to do until an event or a timer.
    Wait,
    /// The client's connection is gone.
    Gone,
}

impl<N: Network> Core<N> {
    pub fn new(
        network: N,
        sites: Sites,
        access: Option<AccessSender>,
        clock: impl Fn() -> u64 + 'static,
    ) -> Core<N> {
        let (stopwatch, now) = Stopwatch::start(clock);
        Core {
            network,
            clients: Table::new(),
            backends: Table::new(),
            pairs: Pairs::default(),
            tools: Tools::new(&sites.current, now),
            spare: SparePairs::new(&sites),
            observed: false,
            sites,
            kept: Kept::default(),
            wheel: Wheel::new(now),
            ids: Ids::new(),
            access,
            refusals: Refusals::default(),
            handshakes: Handshakes::default(),
            per_client: ClientCounts::default(),
            connections: ConnectionCounts::default(),
            listener_names: Vec::new(),
            gateway_errors: GatewayErrors::default(),
            malformed: MalformedLog::default(),
            counters: Arc::default(),
            stopwatch,
            queue: Vec::new(),
            turning: Vec::new(),
            others: false,
            checks: Checks::default(),
            closings: Closings::default(),
            second: u64::MAX,
            inside: 0,
            waits: Waits::default(),
        }
        .observing()
    }

    /// Sets up the state shared with the other workers of the process.
    pub(crate) fn share(&mut self, shared: &Shared) {
        self.per_client = shared.per_client();
        self.connections = shared.connections();
        self.gateway_errors = shared.gateway_errors();
        self.malformed = shared.malformed();
        self.others = shared.count() > 1;
        self.waits.challenges = Some(shared.challenges());
        (self.waits.jobs, self.waits.count) = (shared.jobs(), shared.waiting());
        self.tools.buffers = shared.buffers().limited(self.tools.buffers.most);
        self.tools.pipes.share(shared.count());
    }

    /// How other workers wake this one, when a server is free for one of its requests.
    pub fn wake_by(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.sites.wake_by(wake);
    }

    /// Sets the clock, read once per loop iteration, in microseconds, and the date to send.
    pub fn set_clock(&mut self, now: u64, date: &[u8]) {
        self.tools.now = now;
        self.look_ahead();
        let second = now / 1_000_000;
        if second != self.second {
            self.second = second;
            self.tick(second);
        }
        if self.tools.date != date {
            self.tools.date.clear();
            self.tools.date.extend_from_slice(date);
        }
    }

    pub fn now(&self) -> u64 {
        self.tools.now
    }

    pub fn config(&self) -> &Config {
        &self.sites.current.routes.config
    }

    pub fn client_count(&self) -> usize {
        self.clients.len() - self.inside
    }

    /// Records an event's readiness and queues the connection. Events of closed connections are ignored.
    pub fn ready(&mut self, token: u64, ready: Ready) {
        let (key, queued) = match AnyToken::from_bits(token) {
            AnyToken::Client(token) => {
                (ConnectionKey::Client(token.key), self.clients.by_token(token).map(|c| mark(c, ready)))
            }
            AnyToken::Backend(token) => {
                (ConnectionKey::Backend(token.key), self.backends.by_token(token).map(|b| mark(b, ready)))
            }
        };
        if queued == Some(false) {
            self.queue.push(key);
        }
    }

    pub(crate) fn queue_client(&mut self, key: ClientKey) {
        if let Some(client) = self.clients.get_mut(key)
            && !std::mem::replace(&mut client.queued, true)
        {
            self.queue.push(ConnectionKey::Client(key));
        }
    }

    pub(crate) fn queue_backend(&mut self, key: BackendKey) {
        if let Some(backend) = self.backends.get_mut(key)
            && !std::mem::replace(&mut backend.queued, true)
        {
            self.queue.push(ConnectionKey::Backend(key));
        }
    }

    pub fn has_turns(&self) -> bool {
        let others = self.sites.has_grants() || self.handshakes.wait() || self.waits.has_ended();
        self.turns_due() > 0 || others || self.tools.mirrored.is_due()
    }

    /// Returns the number of connections in the ready queue.
    pub fn turns_due(&self) -> usize {
        self.queue.len()
    }

    /// Runs the turn of every connection in the ready queue. Connections queued meanwhile run in the next call.
    pub fn turns(&mut self) {
        let mut turning = std::mem::take(&mut self.turning);
        std::mem::swap(&mut turning, &mut self.queue);
        self.guarded_turns(&turning);
        turning.clear();
        self.turning = turning;
        if self.tools.mirrored.is_due() || self.tools.hedges.has_lost() {
            self.run_copies();
        }
        self.run_handshakes();
    }

    /// Runs one connection's turn. Sets `client` before the turn runs, for cleanup after a panic.
    pub(crate) fn turn(&mut self, key: ConnectionKey, client: &mut Option<ClientKey>) {
        *client = match key {
            ConnectionKey::Client(key) => self.client_event(key),
            ConnectionKey::Backend(key) => self.backend_event(key),
        };
        if let Some(client) = *client {
            self.client_turn(client);
        }
    }

    fn client_event(&mut self, key: ClientKey) -> Option<ClientKey> {
        self.clients.get_mut(key)?.queued = false;
        Some(key)
    }

    /// An event of a backend runs its client's turn. An idle one that received something is closed.
    fn backend_event(&mut self, key: BackendKey) -> Option<ClientKey> {
        let backend = self.backends.get_mut(key)?;
        backend.queued = false;
        match (backend.role.state, backend.role.pair) {
            (BackendState::Opening, _) => {
                self.opening_event(key);
                None
            }
            (BackendState::Idle, _) | (_, None) => {
                if !backend.is_still_idle() {
                    self.note_idle_close(key);
                    self.close_backend(key);
                }
                None
            }
            (_, Some(pair)) => Some(self.pairs.get(pair)?.client),
        }
    }

    /// Not inlined into the loop: the compiler would hoist the state that failure paths need.
    pub(crate) fn step(&mut self, key: ClientKey) -> Step {
        let Some(client) = self.clients.get(key) else { return Step::Gone };
        match (client.role.pair, client.role.lingering()) {
            (Some(pair), _) => self.pair_turn(key, pair),
            (None, Some(_)) => self.linger(key),
            (None, None) => self.read_request(key),
        }
    }

    fn pair_turn(&mut self, client_key: ClientKey, pair_key: PairKey) -> Step {
        match self.pump(client_key, pair_key) {
            Outcome::Connected => match self.finish_connect(pair_key) {
                Ok(step) => step,
                Err(failure) => self.fail(pair_key, failure),
            },
            Outcome::Wait if self.tools.asks.is_some() => self.handle_pump_request(pair_key),
            Outcome::Again if self.tools.asks.is_some() => {
                self.queue_client(client_key);
                self.handle_pump_request(pair_key)
            }
            Outcome::Wait => Step::Wait,
            Outcome::Again => {
                self.queue_client(client_key);
                Step::Wait
            }
            Outcome::ReleaseBackend => {
                self.release_backend(pair_key);
                Step::Again
            }
            Outcome::Finished => self.finish(pair_key),
            Outcome::Failed(failure) => self.fail(pair_key, failure),
        }
    }

    fn pump(&mut self, client_key: ClientKey, pair_key: PairKey) -> Outcome {
        let pair = &mut self.pairs[pair_key];
        let client = &mut self.clients[client_key];
        let backend = pair.backend().map(|b| &mut self.backends[b]);
        if client.read_closed && has_left(client, pair) {
            return Outcome::Failed(client_gone(pair));
        }
        if backend.as_ref().is_some_and(|backend| is_waiting_to_connect(backend)) {
            return Outcome::Connected;
        }
        pump::turn(client, backend, pair, &mut self.tools)
    }
}

/// Returns true if the connection may be established or its handshake may continue.
fn is_waiting_to_connect<S: Transport>(backend: &Backend<S>) -> bool {
    match backend.role.state {
        BackendState::Connecting => backend.writable,
        BackendState::Handshaking => backend.readable || backend.writable,
        BackendState::Opening | BackendState::Busy | BackendState::Passing | BackendState::Idle => false,
    }
}

/// Stores readiness. Returns true if the connection was already queued.
fn mark<S: Transport, R>(connection: &mut Connection<S, R>, ready: Ready) -> bool {
    connection.readable |= ready.readable || ready.read_closed || ready.hung_up;
    connection.writable |= ready.writable || ready.hung_up;
    connection.read_closed |= ready.read_closed || ready.hung_up;
    connection.hung_up |= ready.hung_up;
    std::mem::replace(&mut connection.queued, true)
}
