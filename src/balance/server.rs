//! A server of the process: one object per pool and server name, shared by all configs, workers and connections. A
//! reload that keeps the server keeps the object, and with it its state.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::algorithm::PeakEwma;
use super::by_hand::ByHand;
use super::counters::{Former, PHASES, ServerCells, ServerCounters, ServerTotals};
use super::history::History;
use super::idle_limit::LearntIdleLimit;
use super::outcomes::Outcomes;
use super::pool_state::PoolState;
use super::state::{ServerState, States};
use crate::base::counted::counted;
use crate::config::{Endpoint, Health, PoolConfig, ServerConfig};

pub struct Server {
    pub(super) pool: Weak<PoolState>,
    pool_name: String,
    name: String,
    /// A hash of pool and name, the same in every worker and process of one build.
    identity: u64,
    /// Locked for a new connection, and for a request without `Host`.
    endpoint: Mutex<Arc<Endpoint>>,
    /// Incremented when the endpoint changes: connections to an earlier one are not reused.
    endpoint_version: AtomicU32,
    weight: AtomicU32,
    /// As the config says.
    configured_weight: AtomicU32,
    backup: AtomicBool,
    /// It is not a member of its pool any more.
    gone: AtomicBool,
    /// It counts among the pool's ejected ones.
    pub(super) counts_as_ejected: AtomicBool,
    /// Requests in flight at most; `u32::MAX` without a limit.
    pub(super) limit: AtomicU32,
    /// Slots of the limit that are taken.
    pub(super) taken: AtomicU32,
    pub(super) states: Mutex<States>,
    /// What `states` come to, for those who only read.
    state: AtomicU8,
    /// Since when it is up again after it was not, in microseconds; 0 if it was up from the start.
    up_since: AtomicU64,
    pub(super) outcomes: Outcomes,
    /// Of the time to the first byte, where the pool's balancing reads it.
    pub latency: PeakEwma,
    pub idle_limit: LearntIdleLimit,
    pub history: History,
    former: Arc<Former>,
    /// One per worker.
    pub(super) counters: ServerCells,
}

impl Server {
    pub(super) fn new(
        config: &ServerConfig,
        pool_config: &PoolConfig,
        pool: &Arc<PoolState>,
        workers: usize,
    ) -> Server {
        let mut hasher = DefaultHasher::new();
        (&pool_config.name, &config.name).hash(&mut hasher);
        let server = Server {
            pool: Arc::downgrade(pool),
            pool_name: pool_config.name.clone(),
            name: config.name.clone(),
            identity: hasher.finish(),
            endpoint: Mutex::new(Arc::new(Endpoint::of(config, pool_config))),
            endpoint_version: AtomicU32::new(0),
            weight: AtomicU32::new(0),
            configured_weight: AtomicU32::new(0),
            backup: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            counts_as_ejected: AtomicBool::new(false),
            limit: AtomicU32::new(u32::MAX),
            taken: AtomicU32::new(0),
            states: Mutex::default(),
            state: AtomicU8::new(ServerState::Up as u8),
            up_since: AtomicU64::new(0),
            outcomes: Outcomes::default(),
            latency: PeakEwma::default(),
            idle_limit: LearntIdleLimit::default(),
            history: History::new(pool.former().now()),
            counters: pool.former().take_server(&pool_config.name, &config.name, workers),
            former: pool.former().clone(),
        };
        server.configure(config, pool_config, pool.by_hand(&config.name));
        server
    }

    /// Takes over the options of a config that becomes the current one.
    pub(super) fn configure(&self, config: &ServerConfig, pool: &PoolConfig, by_hand: ByHand) {
        self.set_endpoint(Endpoint::of(config, pool));
        self.configured_weight.store(config.weight, Relaxed);
        self.weight.store(by_hand.weight.unwrap_or(config.weight), Relaxed);
        self.backup.store(config.backup, Relaxed);
        self.limit.store(config.max_connections.unwrap_or(u32::MAX), SeqCst);
        let mut states = lock(&self.states);
        states.set_disabled(config.disabled);
        states.set_by_hand(by_hand.state);
        states.set_unresolved(config.is_name());
        states.set_checks(pool.health.is_some());
        if pool.eject.is_none() {
            states.set_in_use();
        }
        self.publish(&states, &"config");
        let is_ejected = states.is_ejected();
        drop(states);
        if self.gone.swap(false, Relaxed) {
            self.former.forget_server(&self.pool_name, &self.name);
        }
        if !is_ejected {
            self.uncount_ejected();
        }
    }

    pub(super) fn leave_pool(&self) {
        self.gone.store(true, Relaxed);
        self.former.keep_server(&self.pool_name, &self.name, &self.counters);
        self.uncount_ejected();
    }

    pub fn is_gone(&self) -> bool {
        self.gone.load(Relaxed)
    }

    /// Does not count among the pool's ejected servers any more.
    pub(super) fn uncount_ejected(&self) {
        if self.counts_as_ejected.swap(false, Relaxed)
            && let Some(pool) = self.pool.upgrade()
        {
            pool.one_less_ejected();
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn pool_name(&self) -> &str {
        &self.pool_name
    }

    pub fn identity(&self) -> u64 {
        self.identity
    }

    pub fn pool(&self) -> Option<Arc<PoolState>> {
        self.pool.upgrade()
    }

    pub fn endpoint(&self) -> Arc<Endpoint> {
        lock(&self.endpoint).clone()
    }

    /// Sets the endpoint of new connections.
    pub fn set_endpoint(&self, endpoint: Endpoint) {
        let mut place = lock(&self.endpoint);
        if **place != endpoint {
            *place = Arc::new(endpoint);
            self.endpoint_version.fetch_add(1, Relaxed);
        }
    }

    /// Changes whenever the endpoint does.
    pub fn endpoint_version(&self) -> u32 {
        self.endpoint_version.load(Relaxed)
    }

    /// Returns the number of requests in progress of all workers.
    pub fn in_flight(&self) -> u32 {
        self.counters.iter().map(|counters| counters.in_flight.load(Relaxed)).sum()
    }

    /// Sets the number of requests in progress, where none are made: offline.
    pub fn set_in_flight(&self, count: u32) {
        for (at, counters) in self.counters.iter().enumerate() {
            counters.in_flight.store(if at == 0 { count } else { 0 }, Relaxed);
        }
        self.taken.store(count, SeqCst);
    }

    /// Sets whether it is up, as checks would.
    pub(super) fn set_up(&self, up: bool) {
        let mut states = lock(&self.states);
        states.set_checks(true);
        states.check(up, 1, 1);
        self.publish(&states, &"set");
    }

    pub fn state(&self) -> ServerState {
        ServerState::ALL[self.state.load(Ordering::Acquire) as usize]
    }

    pub fn is_unresolved(&self) -> bool {
        lock(&self.states).is_unresolved()
    }

    /// Whether this is one of the addresses of the server with this name.
    pub fn is_address_of(&self, name: &str) -> bool {
        let address = self.name.strip_prefix(name).and_then(|rest| rest.strip_prefix('/'));
        address.is_some_and(|of| of.parse::<IpAddr>().is_ok() || of.parse::<SocketAddr>().is_ok())
    }

    pub fn is_backup(&self) -> bool {
        self.backup.load(Relaxed)
    }

    pub fn weight(&self) -> u32 {
        self.weight.load(Relaxed)
    }

    /// The weight in units of 1/256: less while the server comes back slowly.
    pub fn ramped_weight(&self, slow_start: Option<Duration>, now: u64) -> u32 {
        let whole = self.weight() * 256;
        match self.ramp_left(slow_start, now) {
            Some((left, all)) => (u64::from(whole) * (all - left) / all).max(1) as u32,
            None => whole,
        }
    }

    /// The rest of a slow start and its length, in microseconds.
    pub fn ramp_left(&self, slow_start: Option<Duration>, now: u64) -> Option<(u64, u64)> {
        let length = slow_start?.as_micros() as u64;
        let since = self.up_since.load(Relaxed);
        let passed = now.saturating_sub(since);
        (since != 0 && passed < length).then(|| (length - passed, length))
    }

    /// Ejection or checks do not keep it out of use any more; it may still be for another reason.
    pub(super) fn comes_back(&self, after: ServerState, why: &dyn fmt::Display, now: u64) {
        if after == ServerState::Up {
            self.up_since.store(now.max(1), Relaxed);
            log::info!("server {self} is up again: {why}");
        } else {
            log::info!("server {self}: {why}; it is still {}", after.text());
        }
        if let Some(pool) = self.pool.upgrade() {
            pool.changed();
        }
    }

    /// What is set by hand has changed.
    pub(super) fn set_by_hand(&self, by_hand: ByHand) {
        self.weight.store(by_hand.weight.unwrap_or(self.configured_weight.load(Relaxed)), Relaxed);
        let mut states = lock(&self.states);
        states.set_by_hand(by_hand.state);
        self.publish(&states, &"by hand");
    }

    /// A check has ended; `why` says what was wrong, or what came.
    pub fn checked(&self, health: &Health, passed: bool, why: &dyn fmt::Display, now: u64) {
        if !passed {
            self.history.note_failed_check();
        }
        let mut states = lock(&self.states);
        let before = states.state();
        states.check(passed, health.rise, health.fall);
        let after = states.state();
        self.publish(&states, why);
        drop(states);
        if before == after {
            return;
        }
        match (before, after) {
            (ServerState::Unchecked, ServerState::Down) => {
                log::warn!("server {self} is down: the first check failed: {why}");
            }
            (_, ServerState::Down) => {
                let failures = counted(u64::from(health.fall), "failed check");
                log::warn!("server {self} is down: {failures} in a row, the last one: {why}");
            }
            (ServerState::Unchecked, ServerState::Up) => {
                log::info!("server {self} is up: the first check passed: {why}");
            }
            _ => return self.comes_back(after, &format_args!("check passed: {why}"), now),
        }
        if let Some(pool) = self.pool.upgrade() {
            pool.changed();
        }
    }

    /// Whether its last checks passed; `None` before the first has ended, and without checks.
    pub fn check_result(&self) -> Option<bool> {
        lock(&self.states).checked()
    }

    /// Takes the result of another process's checks, where there is none yet.
    pub(super) fn set_checked(&self, up: bool) {
        let mut states = lock(&self.states);
        if states.checked().is_none() {
            states.check(up, 1, 1);
        }
        self.publish(&states, &"checked by the process before");
    }

    pub(super) fn publish(&self, states: &States, why: &dyn fmt::Display) {
        let (before, after) = (self.state(), states.state());
        self.state.store(after as u8, Ordering::Release);
        if before != after {
            self.history.note(before, after, why, self.former.now());
        }
    }

    /// The cells of all workers.
    pub fn cells(&self) -> &[Arc<ServerCounters>] {
        &self.counters
    }

    pub fn totals(&self) -> ServerTotals {
        ServerTotals::of(&self.counters)
    }

    /// The longest times of phases since they were forgotten, in microseconds.
    pub fn longest(&self) -> [u64; PHASES] {
        ServerTotals::longest(&self.counters)
    }

    pub fn forget_longest(&self) {
        ServerTotals::forget_longest(&self.counters);
    }

    /// As the config says.
    pub fn configured_weight(&self) -> u32 {
        self.configured_weight.load(Relaxed)
    }

    /// The most requests in flight.
    pub fn max_connections(&self) -> Option<u32> {
        Some(self.limit.load(Relaxed)).filter(|limit| *limit != u32::MAX)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its pool is gone with it.
        if !self.is_gone() {
            self.former.keep_server(&self.pool_name, &self.name, &self.counters);
        }
    }
}

/// The server's identity: `POOL/SERVER`.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.pool_name, self.name)
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
