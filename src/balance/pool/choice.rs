//! The servers of a pool by what they are used for now, and the algorithm that chooses among them. Made anew when the
//! servers, their states or their weights change.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::{Picked, Tried, Unavailable, Want, take};
use crate::balance::algorithm::{
    Algorithm, Balancer, First, Hash, LeastConnections, LeastLatency, Pick, Random, RoundRobin, SourceHash,
    TwoChoices,
};
use crate::balance::pool_state::PoolState;
use crate::balance::server::Server;
use crate::balance::sessions::Sessions;
use crate::balance::state::ServerState;
use crate::balance::worker_server::{Changes, WorkerServer, WorkerServers};
use crate::config::{Balance, PoolConfig};

/// How often weights change during a slow start, in microseconds.
const RAMP_STEP: u64 = 1_000_000;

/// The servers by what they are used for now.
pub(super) struct Choice {
    /// Those of `PoolState` this was made from; `None` at first.
    pub(super) version: Option<u32>,
    /// When weights change again.
    pub(super) until: u64,
    pub(super) all: Rc<RefCell<WorkerServers>>,
    pub(super) members: Vec<Rc<WorkerServer>>,
    /// What `members` is made from.
    pub(super) shared: Arc<Vec<Arc<Server>>>,
    /// The pool is of the current config.
    pub(super) current: bool,
    /// The algorithm's.
    pub(super) active: Vec<Rc<WorkerServer>>,
    /// Those that are up and not among the active.
    pub(super) backups: Vec<Rc<WorkerServer>>,
    pub(super) ejected: Vec<Rc<WorkerServer>>,
    /// Any active server takes any request that was not tried yet: there is no limit, probe or hash to think of.
    takes_any: bool,
    /// Some are not checked yet.
    pub(super) unchecked: bool,
    pub(super) sessions: Sessions,
    pub(super) balancer: Balancer,
    pub(super) random: Random,
    pub(super) changes: Changes,
    /// Changes are noted for the algorithm.
    is_watching: bool,
}

impl Choice {
    pub(super) fn new(balance: Balance, all: Rc<RefCell<WorkerServers>>, pool: &str) -> Choice {
        let seed = pool.bytes().fold(0x9e37_79b9, |seed: u64, byte| seed.rotate_left(9) ^ u64::from(byte));
        let seed = seed ^ (all.borrow().worker() as u64) << 32;
        Choice {
            version: None,
            until: u64::MAX,
            all,
            members: Vec::new(),
            shared: Arc::default(),
            current: true,
            active: Vec::new(),
            backups: Vec::new(),
            ejected: Vec::new(),
            takes_any: false,
            unchecked: false,
            sessions: Sessions::default(),
            balancer: balancer(balance),
            random: Random::new(seed),
            changes: Changes::default(),
            is_watching: false,
        }
    }

    /// Brings the lists up to date.
    pub(super) fn refresh(&mut self, config: &PoolConfig, state: &PoolState, now: u64) {
        if !self.is_up_to_date(state, now) {
            self.renew(config, state, now);
        }
    }

    fn is_up_to_date(&self, state: &PoolState, now: u64) -> bool {
        self.version == Some(state.version()) && now < self.until
    }

    pub(super) fn renew(&mut self, config: &PoolConfig, state: &PoolState, now: u64) {
        // In this order: a change between the two is seen by the next refresh.
        self.version = Some(state.version());
        let members = state.members();
        if !Arc::ptr_eq(&self.shared, &members) {
            self.take_members(config, members);
        }
        self.sort();
        self.weigh(config, now);
        self.balancer.rebuild(&self.active);
        self.watch(config);
        self.takes_any = self.ejected.is_empty()
            && !self.active.iter().any(|server| server.is_limited() || server.watched.get())
            && !matches!(config.balance, Balance::Function | Balance::Hash | Balance::SourceHash);
    }

    /// Other servers are the pool's.
    fn take_members(&mut self, config: &PoolConfig, members: Arc<Vec<Arc<Server>>>) {
        let mut all = self.all.borrow_mut();
        let before = std::mem::take(&mut self.members);
        self.members = members.iter().map(|server| all.get(server)).collect();
        drop(all);
        // The rest of their requests go on; none of their connections is used again.
        before.iter().filter(|server| server.is_gone()).for_each(|server| server.listed.set(false));
        if self.current {
            self.list(config);
        }
        if let Some(sticky) = &config.sticky {
            self.sessions = Sessions::new(&sticky.secret, &self.members);
        }
        self.shared = members;
    }

    /// Lists the servers as those of the current config.
    pub(super) fn list(&self, config: &PoolConfig) {
        for server in &self.members {
            server.listed.set(true);
            server.idle_timeout.set(config.timeouts.idle);
            server.max_idle.set(config.max_idle);
        }
    }

    /// Sorts the servers by what they are used for.
    pub(super) fn sort(&mut self) {
        let of = |state, backup| {
            let is = move |server: &&Rc<WorkerServer>| {
                server.state() == state && server.is_backup() == backup && server.weight() > 0
            };
            self.members.iter().filter(is).cloned().collect::<Vec<_>>()
        };
        let (up, backups) = (of(ServerState::Up, false), of(ServerState::Up, true));
        self.ejected = of(ServerState::Ejected, false);
        self.ejected.extend(of(ServerState::Ejected, true));
        (self.active, self.backups) = if up.is_empty() { (backups, up) } else { (up, backups) };
        self.unchecked = self.members.iter().any(|server| server.state() == ServerState::Unchecked);
    }

    pub(super) fn weigh(&mut self, config: &PoolConfig, now: u64) {
        self.until = u64::MAX;
        for server in &self.active {
            server.weight.set(server.ramped_weight(config.slow_start, now));
            if let Some((left, _)) = server.ramp_left(config.slow_start, now) {
                self.until = self.until.min(now + left.min(RAMP_STEP));
            }
        }
    }

    /// Has changes noted where the algorithm reads them.
    pub(super) fn watch(&mut self, config: &PoolConfig) {
        self.changes.borrow_mut().clear();
        for server in &self.members {
            server.watched.set(false);
            server.noted.set(false);
        }
        self.is_watching =
            config.balance == Balance::LeastConnections && self.active.len() > LeastConnections::SCANNED;
        if !self.is_watching {
            return;
        }
        for (place, server) in (0..).zip(&self.active) {
            *server.changes.borrow_mut() = (place, self.changes.clone());
            server.watched.set(true);
        }
    }

    /// Finds an ejected server whose pause is over.
    #[cold]
    pub(super) fn probe(&self, config: &PoolConfig, want: &Want, tried: &Tried) -> Option<Picked> {
        if self.ejected.is_empty() || !want.may_probe {
            return None;
        }
        let eject = config.eject.as_ref()?;
        for server in self.ejected.iter().filter(|server| !tried.has(server) && server.has_room()) {
            if let Some(probe) = server.shared().begin_probe(eject, want.now)
                && let Ok(picked) = take(server)
            {
                return Some(Picked { probe: Some(Box::new(probe)), ..picked });
            }
        }
        None
    }

    /// The algorithm's choice for a request that any active server takes. `None`: `pick` has to say.
    pub(super) fn pick_any(&mut self, state: &PoolState, now: u64) -> Option<Rc<WorkerServer>> {
        if !self.takes_any || !self.is_up_to_date(state, now) {
            return None;
        }
        let mut pick = Pick { now, key: None, in_flight: 0, random: &mut self.random };
        let at = self.balancer.pick(&self.active, &mut pick, |_| true)?;
        Some(self.active[at].clone())
    }

    pub(super) fn pick(&mut self, want: &Want, in_flight: u32, tried: &Tried) -> Result<Picked, Unavailable> {
        if self.is_watching {
            self.tell_changes();
        }
        // Those that another worker was quicker to fill.
        let mut lost = Vec::new();
        loop {
            let active = &self.active;
            let usable = |at: usize| active[at].has_room() && !tried.has(&active[at]) && !lost.contains(&at);
            let mut pick = Pick { now: want.now, key: want.key, in_flight, random: &mut self.random };
            let Some(at) = self.balancer.pick(active, &mut pick, usable) else { break };
            match take(&active[at]) {
                Ok(picked) => return Ok(picked),
                Err(_) => lost.push(at),
            }
        }
        self.pick_otherwise(tried)
    }

    /// Tells the algorithm of requests that began or ended.
    fn tell_changes(&mut self) {
        let mut changes = self.changes.take();
        for place in &changes {
            let place = *place as usize;
            self.active[place].noted.set(false);
            self.balancer.load_changed(&self.active, place);
        }
        changes.clear();
        // Put back for its memory.
        self.changes.replace(changes);
    }

    /// None of the active servers takes it.
    pub(super) fn pick_otherwise(&self, tried: &Tried) -> Result<Picked, Unavailable> {
        let untried = |list: &[Rc<WorkerServer>]| list.iter().any(|server| !tried.has(server));
        if untried(&self.active) || self.unchecked && self.active.is_empty() {
            return Err(Unavailable::Full);
        }
        let others = self.backups.iter().chain(&self.ejected).filter(|server| !tried.has(server));
        let mut unavailable = Unavailable::None;
        for server in others {
            match take(server) {
                Ok(picked) => return Ok(picked),
                Err(why) => unavailable = why,
            }
        }
        Err(unavailable)
    }
}

fn balancer(balance: Balance) -> Balancer {
    match balance {
        Balance::RoundRobin | Balance::Function => Balancer::RoundRobin(RoundRobin::default()),
        Balance::LeastConnections => Balancer::LeastConnections(LeastConnections::default()),
        Balance::LeastLatency => Balancer::LeastLatency(LeastLatency::default()),
        Balance::Random => Balancer::Random(TwoChoices::default()),
        Balance::First => Balancer::First(First),
        Balance::SourceHash => Balancer::SourceHash(SourceHash::default()),
        Balance::Hash => Balancer::Hash(Hash::default()),
    }
}
