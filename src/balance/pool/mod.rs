//! A pool as one worker uses it: which of its servers may take a request, and the algorithm that chooses among them.
//!
//! ```text
//! servers that are up ─► backups, if none of those is ─► ejected ones, as the last resort of a request that failed
//! ```
//!
//! An ejected server whose pause is over gets one request that can be sent again as its probe. If all servers that may
//! take the request are at their limit, or none was checked yet, the request has to wait.

mod choice;

use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use self::choice::Choice;
use super::budget::RequestCounter;
use super::counters::PoolCounters;
use super::hedges::HedgeTimes;
use super::mirror::Sampler;
use super::pool_state::PoolState;
use super::queue::{ServerKey, key};
use super::server::Server;
use super::slot::{Probe, Slot};
use super::state::ServerState;
use super::worker_server::{WorkerServer, WorkerServers};
use crate::config::{Balance, Eject, PoolConfig, PoolId, ServerId};

/// Servers that failed for one request.
#[derive(Clone, Default)]
pub struct Tried(Vec<Rc<WorkerServer>>);

impl Tried {
    pub fn add(&mut self, server: Rc<WorkerServer>) {
        if !self.has(&server) {
            self.0.push(server);
        }
    }

    pub fn remove(&mut self, server: &Rc<WorkerServer>) {
        self.0.retain(|tried| !Rc::ptr_eq(tried, server));
    }

    pub fn has(&self, server: &Rc<WorkerServer>) -> bool {
        self.0.iter().any(|tried| Rc::ptr_eq(tried, server))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// For the pool's queue.
    pub fn keys(&self) -> Vec<ServerKey> {
        self.0.iter().map(|server| key(server.shared())).collect()
    }

    pub fn clear(&mut self) {
        if !self.0.is_empty() {
            self.0.clear();
        }
    }
}

/// What a request asks of its pool.
#[derive(Clone, Copy)]
pub struct Want {
    /// Microseconds of the clock common to all workers.
    pub now: u64,
    /// What the algorithm hashes.
    pub key: Option<u64>,
    /// It can be sent again if the server fails, so it may be a probe.
    pub may_probe: bool,
    /// It need not wait behind others.
    pub in_turn: bool,
}

/// A server that takes the request.
pub struct Picked {
    pub server: Rc<WorkerServer>,
    /// Set if the server has a limit.
    pub slot: Option<Slot>,
    /// Set if the request is a probe.
    pub probe: Option<Box<Probe>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unavailable {
    /// Servers may take it later.
    Full,
    /// None is left.
    None,
}

pub struct Pool {
    /// The pool's id in the same config's script.
    pub id: PoolId,
    pub config: Arc<PoolConfig>,
    pub state: Arc<PoolState>,
    /// This worker's requests.
    pub requests: Arc<RequestCounter>,
    /// This worker's.
    pub counters: Arc<PoolCounters>,
    /// Every response tells the pool something, and not only those of servers that failed before.
    pub reads_responses: bool,
    /// `PoolConfig::binds`.
    pub binds: bool,
    /// If the pool has `hedge`.
    pub hedges: Option<HedgeTimes>,
    /// Which requests are copied.
    pub sampler: Sampler,
    choice: RefCell<Choice>,
    candidates: RefCell<Candidates>,
    /// The version that `has_changed` has told.
    told: Cell<u32>,
}

/// The servers a `balance` function may choose from. Reused to save allocations.
#[derive(Default)]
pub struct Candidates {
    /// In the pool's order.
    pub servers: Vec<ServerId>,
    /// For each server of the pool, the requests in flight of all workers.
    pub in_flight: Vec<u32>,
    pub weights: Vec<u32>,
    pub up: Vec<bool>,
    /// Moving averages of the time to the first byte, in microseconds.
    pub latencies: Vec<Option<u64>>,
}

impl Candidates {
    fn show(&mut self, members: &[Rc<WorkerServer>], now: u64) {
        let Candidates { in_flight, weights, up, latencies, .. } = self;
        in_flight.clear();
        in_flight.extend(members.iter().map(|server| server.in_flight()));
        weights.clear();
        weights.extend(members.iter().map(|server| server.weight()));
        up.clear();
        up.extend(members.iter().map(|server| server.state() == ServerState::Up));
        latencies.clear();
        latencies.extend(members.iter().map(|server| server.latency.at(now)));
    }
}

impl Pool {
    pub fn new(
        id: PoolId,
        config: Arc<PoolConfig>,
        state: Arc<PoolState>,
        all: &Rc<RefCell<WorkerServers>>,
    ) -> Pool {
        let worker = all.borrow().worker();
        let (requests, counters) = (state.request_counter(worker), state.counters(worker));
        let choice = RefCell::new(Choice::new(config.balance, all.clone(), state.name()));
        let reads_status = |eject: &Eject| eject.error_rate.is_some() || !eject.status.is_empty();
        let reads_responses = config.reads_latency()
            || config.hedge.is_some()
            || config.eject.as_ref().is_some_and(reads_status);
        let hedges = config.hedge.map(|_| HedgeTimes::new(&state, worker));
        let pool = Pool {
            reads_responses,
            binds: config.binds(),
            hedges,
            sampler: Sampler::default(),
            id,
            config,
            state,
            requests,
            counters,
            choice,
            candidates: RefCell::default(),
            told: Cell::default(),
        };
        pool.list(0);
        pool
    }

    /// Lists the servers as those of the current config.
    fn list(&self, now: u64) {
        let mut choice = self.choice.borrow_mut();
        choice.renew(&self.config, &self.state, now);
        choice.list(&self.config);
    }

    /// Another config took the place of the pool's.
    pub fn retire(&self) {
        self.choice.borrow_mut().current = false;
    }

    /// Whether the servers or their states have changed since it was last asked.
    pub fn has_changed(&self) -> bool {
        let version = self.state.version();
        self.told.replace(version) != version
    }

    /// The servers, in the order of the config.
    pub fn servers(&self, now: u64) -> Ref<'_, [Rc<WorkerServer>]> {
        self.choice.borrow_mut().refresh(&self.config, &self.state, now);
        Ref::map(self.choice.borrow(), |choice| choice.members.as_slice())
    }

    /// The servers as they are now, but for weights, which need the time.
    fn renewed(&self) -> Ref<'_, Choice> {
        self.choice.borrow_mut().refresh(&self.config, &self.state, 0);
        self.choice.borrow()
    }

    /// The process's servers that `servers`, `candidates` and `take` are about, as of the last of these.
    pub fn members(&self) -> Arc<Vec<Arc<Server>>> {
        self.choice.borrow().shared.clone()
    }

    /// Finds a server by its name. The name of one that has several addresses stands for the first that is up.
    pub fn server_named(&self, name: &str, now: u64) -> Option<Rc<WorkerServer>> {
        let servers = self.servers(now);
        let exact = servers.iter().find(|server| server.name() == name);
        let addresses = || servers.iter().filter(|server| server.is_address_of(name));
        let up = || addresses().find(|server| server.state() == ServerState::Up);
        exact.or_else(up).or_else(|| addresses().next()).cloned()
    }

    /// Chooses a server for a request's first try, in the usual case: nobody waits, and every server may take it. `None`
    /// in all other cases, which are those of `pick`.
    #[inline(always)]
    pub fn pick_any(&self, now: u64) -> Option<Rc<WorkerServer>> {
        if self.state.queue.is_busy() {
            return None;
        }
        self.choice.borrow_mut().pick_any(&self.state, now)
    }

    /// Chooses a server among those that have not failed for this request.
    pub fn pick(&self, want: &Want, tried: &Tried) -> Result<Picked, Unavailable> {
        let mut choice = self.choice.borrow_mut();
        choice.refresh(&self.config, &self.state, want.now);
        if !choice.ejected.is_empty()
            && let Some(probe) = choice.probe(&self.config, want, tried)
        {
            return Ok(probe);
        }
        if !want.in_turn && self.state.queue.is_busy() {
            return Err(Unavailable::Full);
        }
        let in_flight = if self.config.balance == Balance::Hash { self.state.in_flight() } else { 0 };
        choice.pick(want, in_flight, tried)
    }

    /// Finds an ejected server that this request may probe.
    pub fn pick_probe(&self, want: &Want, tried: &Tried) -> Option<Picked> {
        let mut choice = self.choice.borrow_mut();
        choice.refresh(&self.config, &self.state, want.now);
        choice.probe(&self.config, want, tried)
    }

    /// The server of a sticky session.
    pub fn server_of_token(&self, token: &[u8]) -> Option<Rc<WorkerServer>> {
        self.renewed().sessions.server(token).cloned()
    }

    pub fn token_of(&self, server: &WorkerServer) -> Option<String> {
        self.choice.borrow().sessions.token(server).map(str::to_owned)
    }

    /// Returns the servers that a `balance` function may choose from, with the same preference as `pick`.
    pub fn candidates(&self, tried: &Tried, now: u64) -> Ref<'_, Candidates> {
        let mut choice = self.choice.borrow_mut();
        choice.refresh(&self.config, &self.state, now);
        let mut filled = self.candidates.borrow_mut();
        filled.show(&choice.members, now);
        let servers = &mut filled.servers;
        let preferences = [&choice.active, &choice.backups, &choice.ejected];
        let open = |list: &&Vec<Rc<WorkerServer>>| list.iter().any(|s| !tried.has(s) && s.has_room());
        let from = preferences.into_iter().find(open);
        servers.clear();
        let takes = |server: &Rc<WorkerServer>| {
            !tried.has(server)
                && server.has_room()
                && from.is_some_and(|from| from.iter().any(|s| Rc::ptr_eq(s, server)))
        };
        let all = (0..).map(ServerId).zip(&choice.members);
        servers.extend(all.filter(|(_, server)| takes(server)).map(|(id, _)| id));
        drop(filled);
        self.candidates.borrow()
    }

    /// Takes the server at this place among those that `candidates` showed.
    pub fn take(&self, id: ServerId) -> Result<Picked, Unavailable> {
        let server = self.choice.borrow().members.get(id.0 as usize).cloned();
        take(&server.ok_or(Unavailable::None)?)
    }

    /// Whether a request may wait for a server: one is at its limit, or not checked yet.
    pub fn may_wait(&self, tried: &Tried, now: u64) -> bool {
        let mut choice = self.choice.borrow_mut();
        choice.refresh(&self.config, &self.state, now);
        choice.unchecked || choice.active.iter().any(|server| !tried.has(server) && !server.has_room())
    }
}

/// Takes a server that a request has to go to, if it is not down or in maintenance.
pub fn take_named(server: &Rc<WorkerServer>) -> Result<Picked, Unavailable> {
    match server.state() {
        state if state.takes_named() => take(server),
        ServerState::Unchecked => Err(Unavailable::Full),
        _ => Err(Unavailable::None),
    }
}

pub fn take(server: &Rc<WorkerServer>) -> Result<Picked, Unavailable> {
    let slot = match server.is_limited() {
        true => Some(Slot::reserve(server.shared()).ok_or(Unavailable::Full)?),
        false => None,
    };
    Ok(Picked { server: server.clone(), slot, probe: None })
}

#[cfg(test)]
mod tests;
