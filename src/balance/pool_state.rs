//! A pool of the process: its servers, its queue and its retry budget, shared by all workers and kept over reloads.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Weak};

use super::budget::{RecentCount, RequestCounter};
use super::by_hand::{ByHand, ByHandTable};
use super::counters::{Former, PoolCells, PoolCounters, PoolTotals};
use super::hedges::HedgeState;
use super::mirror::CopyCount;
use super::queue::Queue;
use super::server::{Server, lock};
use super::servers::Servers;
use super::state::{Administrative, ServerState};
use crate::config::{Address, PoolConfig, ServerConfig};

/// After so long without another one, a server that is not ejected is said again, in microseconds.
const NOT_EJECTED_AGAIN: u64 = 60_000_000;

/// One address of a server that is a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedServer {
    pub address: SocketAddr,
    /// Instead of the server's own.
    pub weight: Option<u32>,
    pub backup: bool,
    /// The port is part of the answer, and so of the name.
    pub shows_port: bool,
}

/// Gives the addresses of a pool's server that is a name, if they are known.
pub type KnownNames<'a> = &'a dyn Fn(&str, &str) -> Option<Vec<NamedServer>>;

/// The current config of the pool, and the addresses of its servers that are names.
#[derive(Default)]
struct Source {
    config: Option<Arc<PoolConfig>>,
    names: HashMap<String, Vec<NamedServer>>,
    /// Servers that left while requests of theirs run: one that comes back is the same object.
    former: HashMap<String, Weak<Server>>,
}

/// Names of servers that came and went.
#[derive(Default, PartialEq, Eq, Debug)]
pub struct MemberChanges {
    pub new: Vec<String>,
    pub gone: Vec<String>,
}

pub struct PoolState {
    name: String,
    workers: usize,
    by_hand: Arc<ByHandTable>,
    former: Arc<Former>,
    /// Incremented when the members, their states or their weights change.
    version: AtomicU32,
    members: Mutex<Arc<Vec<Arc<Server>>>>,
    /// What the members are made from.
    source: Mutex<Source>,
    /// The number of members.
    count: AtomicU32,
    /// Members that are ejected.
    ejected: AtomicU32,
    /// It was logged that no more are ejected.
    said_full: AtomicBool,
    /// When a server was last not ejected for that reason, in microseconds.
    not_ejected_at: AtomicU64,
    pub queue: Queue,
    pub(super) requests: Box<[Arc<RequestCounter>]>,
    pub(super) retries: RecentCount,
    pub(super) hedges: HedgeState,
    pub copies: CopyCount,
    /// One per worker.
    counters: PoolCells,
}

impl Source {
    /// The servers with each name as its addresses; one without any stays as it is, and is down.
    fn expanded(&self, config: &PoolConfig, by_hand: &ByHandTable) -> Vec<ServerConfig> {
        let of = |server: &ServerConfig| match self.names.get(&server.name) {
            Some(addresses) if server.is_name() && !addresses.is_empty() => {
                addresses.iter().map(|address| address.of(server)).collect()
            }
            _ => vec![server.clone()],
        };
        by_hand.servers(&config.name, &config.servers).iter().flat_map(of).collect()
    }
}

impl NamedServer {
    fn of(&self, server: &ServerConfig) -> ServerConfig {
        let (ip, address) = (self.address.ip(), self.address);
        let name = match self.shows_port {
            true => format!("{}/{address}", server.name),
            false => format!("{}/{ip}", server.name),
        };
        // The name of SRV records is no host's.
        let written = if self.shows_port { address.to_string() } else { server.written.clone() };
        ServerConfig {
            name,
            address: Address::Ip(address),
            written,
            weight: self.weight.filter(|_| server.weight != 0).unwrap_or(server.weight),
            backup: server.backup || self.backup,
            ..server.clone()
        }
    }
}

fn changes(before: &[Arc<Server>], now: &[Arc<Server>]) -> MemberChanges {
    let missing = |from: &[Arc<Server>], list: &[Arc<Server>]| {
        let there: HashSet<&str> = list.iter().map(|server| server.name()).collect();
        let missing = from.iter().filter(|server| !there.contains(server.name()));
        missing.filter(|server| !server.is_unresolved()).map(|server| server.name().to_owned()).collect()
    };
    MemberChanges { new: missing(now, before), gone: missing(before, now) }
}

impl PoolState {
    pub(super) fn new(name: &str, servers: &Servers) -> PoolState {
        let workers = servers.workers;
        PoolState {
            name: name.to_owned(),
            workers,
            by_hand: servers.by_hand.clone(),
            former: servers.former.clone(),
            version: AtomicU32::new(0),
            members: Mutex::default(),
            source: Mutex::default(),
            count: AtomicU32::new(0),
            ejected: AtomicU32::new(0),
            said_full: AtomicBool::new(false),
            not_ejected_at: AtomicU64::new(0),
            queue: Queue::new(servers.inboxes.clone()),
            requests: (0..workers).map(|_| Arc::default()).collect(),
            retries: RecentCount::default(),
            hedges: HedgeState::new(workers),
            copies: CopyCount::default(),
            counters: servers.former.take_pool(name, workers),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn former(&self) -> &Arc<Former> {
        &self.former
    }

    /// This worker's counters.
    pub(super) fn counters(&self, worker: usize) -> Arc<PoolCounters> {
        self.counters[worker].clone()
    }

    /// Those of all workers.
    pub fn cells(&self) -> &[Arc<PoolCounters>] {
        &self.counters
    }

    pub fn totals(&self) -> PoolTotals {
        PoolTotals::of(&self.counters)
    }

    /// Its present config.
    pub fn config(&self) -> Option<Arc<PoolConfig>> {
        lock(&self.source).config.clone()
    }

    pub fn version(&self) -> u32 {
        self.version.load(Relaxed)
    }

    /// The servers, in the order of the config.
    pub fn members(&self) -> Arc<Vec<Arc<Server>>> {
        lock(&self.members).clone()
    }

    /// Makes this the current config. `known`: the addresses of its servers that are names.
    pub(super) fn set_config(
        self: &Arc<Self>,
        config: &Arc<PoolConfig>,
        known: KnownNames<'_>,
    ) -> MemberChanges {
        let mut source = lock(&self.source);
        let before = source.config.replace(config.clone());
        let address = |config: &PoolConfig, name: &str| {
            config.servers.iter().find(|server| server.name == name).map(|server| server.address.clone())
        };
        // Another name under the same server's name has other addresses.
        source.names.retain(|name, _| {
            address(config, name) == before.as_ref().and_then(|before| address(before, name))
        });
        for server in config.servers.iter().filter(|server| server.is_name()) {
            if !source.names.contains_key(&server.name)
                && let Some(addresses) = known(&config.name, &server.name)
            {
                source.names.insert(server.name.clone(), addresses);
            }
        }
        self.set_members(&mut source)
    }

    /// Sets the addresses of a server that is a name.
    pub fn set_addresses(self: &Arc<Self>, name: &str, addresses: &[NamedServer]) -> MemberChanges {
        let mut source = lock(&self.source);
        source.names.insert(name.to_owned(), addresses.to_vec());
        self.set_members(&mut source)
    }

    /// Makes the servers anew. Those of the same name stay the same objects.
    fn set_members(self: &Arc<Self>, source: &mut Source) -> MemberChanges {
        let Some(config) = source.config.clone() else { return MemberChanges::default() };
        let mut members = lock(&self.members);
        let known: HashMap<&str, &Arc<Server>> =
            members.iter().map(|server| (server.name(), server)).collect();
        let member = |of: ServerConfig| {
            let former = || source.former.get(&of.name).and_then(Weak::upgrade);
            match known.get(of.name.as_str()).map(|server| (*server).clone()).or_else(former) {
                Some(server) => {
                    server.configure(&of, &config, self.by_hand(&of.name));
                    server
                }
                None => Arc::new(Server::new(&of, &config, self, self.workers)),
            }
        };
        let new: Vec<Arc<Server>> = source.expanded(&config, &self.by_hand).into_iter().map(member).collect();
        self.count.store(new.len() as u32, Relaxed);
        let new = Arc::new(new);
        let before = std::mem::replace(&mut *members, new.clone());
        drop(members);
        let changes = changes(&before, &new);
        source.former.retain(|_, server| server.strong_count() > 0);
        let stays: HashSet<*const Server> = new.iter().map(Arc::as_ptr).collect();
        for server in before.iter().filter(|server| !stays.contains(&Arc::as_ptr(server))) {
            server.leave_pool();
            self.queue.give_up_bound(server);
            source.former.insert(server.name().to_owned(), Arc::downgrade(server));
        }
        drop(before);
        self.changed();
        changes
    }

    /// What is set of this server by hand.
    pub fn by_hand(&self, server: &str) -> ByHand {
        self.by_hand.get(&self.name, server)
    }

    /// Sets it, also for a server that is not there now.
    pub fn set_by_hand(&self, server: &str, by_hand: ByHand) {
        // What makes the members anew reads the table under this lock.
        let source = lock(&self.source);
        self.by_hand.set(&self.name, server, by_hand);
        if let Some(server) = self.members().iter().find(|member| member.name() == server) {
            server.set_by_hand(by_hand);
        }
        drop(source);
        self.changed();
    }

    /// Adds a server to those of the config.
    pub fn add_server(self: &Arc<Self>, server: ServerConfig) -> Result<(), &'static str> {
        let mut source = lock(&self.source);
        let maint = ByHand { state: Some(Administrative::Maint), weight: None };
        let name = server.name.clone();
        if !self.by_hand.add(&self.name, server) {
            return Err("Too many servers were added.");
        }
        self.by_hand.set(&self.name, &name, maint);
        self.set_members(&mut source);
        Ok(())
    }

    /// Removes a server, also if the config has it.
    pub fn delete_server(self: &Arc<Self>, server: &str) {
        let mut source = lock(&self.source);
        let configured = |config: &Arc<PoolConfig>| config.servers.iter().any(|of| of.name == server);
        self.by_hand.delete(&self.name, server, source.config.as_ref().is_some_and(configured));
        self.set_members(&mut source);
    }

    /// Takes the result of another process's checks, for a server that has not been checked.
    pub fn set_checked(&self, server: &str, up: bool) {
        if let Some(server) = self.members().iter().find(|member| member.name() == server) {
            server.set_checked(up);
        }
        self.changed();
    }

    /// Something changed that requests may wait for.
    pub fn changed(&self) {
        self.version.fetch_add(1, Relaxed);
        if self.queue.count() == 0 {
            return;
        }
        let members = self.members();
        members.iter().for_each(|server| self.freed(server));
        // Those bound to an ejected one choose again, which may be the same.
        let takes_none = |server: &&Arc<Server>| {
            use ServerState::{Disabled, Down, Ejected, Maint};
            matches!(server.state(), Down | Maint | Disabled | Ejected)
        };
        members.iter().filter(takes_none).for_each(|server| self.queue.give_up_bound(server));
        let may_take_any = |server: &Arc<Server>| {
            use ServerState::{Ejected, Unchecked, Up};
            server.weight() > 0 && matches!(server.state(), Up | Unchecked | Ejected)
        };
        if !members.iter().any(may_take_any) {
            self.queue.give_up();
        }
    }

    /// A request that waits for this server, or for any, has entered the queue.
    pub fn look_again(&self, server: Option<&Arc<Server>>) {
        match server {
            Some(server) => self.freed(server),
            None => self.members().iter().for_each(|server| self.freed(server)),
        }
    }

    /// The server may take one more request.
    pub fn freed(&self, server: &Arc<Server>) {
        if self.queue.count() > 0 && server.state().takes_named() && !server.is_gone() {
            self.queue.freed(server, self.takes_any(server));
        }
    }

    /// Whether requests that are not bound to the server may go there: as `Pool::pick` prefers servers.
    fn takes_any(&self, server: &Server) -> bool {
        let rank = |server: &Server| match (server.state(), server.is_backup()) {
            _ if server.weight() == 0 => None,
            (ServerState::Up, backup) => Some(u8::from(backup)),
            (ServerState::Ejected, _) => Some(2),
            _ => None,
        };
        match rank(server) {
            Some(0) => true,
            Some(of_this) => self.members().iter().all(|other| rank(other).is_none_or(|of| of >= of_this)),
            None => false,
        }
    }

    /// Whether one more server may be ejected, which is then counted. The only server of a pool never is.
    pub(super) fn may_eject(&self, most: f64) -> bool {
        // A server that is being ejected is locked: `members` must not be.
        let members = self.count.load(Relaxed);
        let most = if members < 2 { 0 } else { (f64::from(members) * most) as u32 };
        self.ejected.fetch_update(Relaxed, Relaxed, |now| (now < most).then(|| now + 1)).is_ok()
    }

    pub(super) fn one_less_ejected(&self) {
        let _ = self.ejected.fetch_update(Relaxed, Relaxed, |now| now.checked_sub(1));
        self.said_full.store(false, Relaxed);
    }

    /// Said once, until a server comes back or none has failed so for a minute.
    pub(super) fn say_not_ejected(&self, server: &Server, why: &str, now: u64) {
        let quiet = now.saturating_sub(self.not_ejected_at.swap(now, Relaxed)) > NOT_EJECTED_AGAIN;
        if self.said_full.swap(true, Relaxed) && !quiet {
            return;
        }
        let (ejected, members, pool) = (self.ejected.load(Relaxed), self.count.load(Relaxed), &self.name);
        if members < 2 {
            log::warn!("server {server} stays in use: {why}; it is the only server of pool {pool}");
        } else {
            log::warn!(
                "server {server} stays in use: {why}; {ejected} of {members} servers of pool {pool} are ejected, \
                 no more may be"
            );
        }
    }

    /// This worker's counter of requests.
    pub(super) fn request_counter(&self, worker: usize) -> Arc<RequestCounter> {
        self.requests[worker].clone()
    }

    /// Requests in flight of all workers.
    pub fn in_flight(&self) -> u32 {
        self.requests.iter().map(|worker| worker.in_flight()).sum()
    }
}

impl Drop for PoolState {
    fn drop(&mut self) {
        self.former.keep_pool(&self.name, &self.counters);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::balance::Administrative;
    use crate::balance::tests::{config, pool_of};
    use crate::config::Eject;

    fn names(pool: &PoolState) -> Vec<String> {
        pool.members().iter().map(|server| server.to_string()).collect()
    }

    #[test]
    fn a_server_kept_by_a_reload_is_the_same_object() {
        let servers = Servers::new(1);
        let first = servers.of(&config(&[2, 1]));
        let kept = first.pools[0].members()[1].clone();
        let second = servers.of(&config(&[3]));
        assert!(Arc::ptr_eq(&first.pools[0], &second.pools[0]));
        assert_eq!(names(&second.pools[0]), ["p0/s0", "p0/s1"], "not before the config is the current one");
        Servers::adopt(&config(&[3]), &second, &|_, _| None);
        assert_eq!(names(&second.pools[0]), ["p0/s0", "p0/s1", "p0/s2"]);
        assert!(Arc::ptr_eq(&kept, &second.pools[0].members()[1]));
        drop((first, second));
        assert!(servers.of(&config(&[])).pools.is_empty() && lock(&servers.known).is_empty());
    }

    #[test]
    fn a_server_in_use_can_change_its_endpoint() {
        let servers = Servers::new(1);
        let mut config = config(&[1]);
        let pools = servers.of(&config);
        let server = pools.pools[0].members()[0].clone();
        let before = (server.endpoint(), server.endpoint_version());
        Servers::adopt(&config, &servers.of(&config), &|_, _| None);
        assert_eq!((server.endpoint(), server.endpoint_version()), before);
        Arc::make_mut(&mut config.pools[0]).servers[0].written = "elsewhere:80".into();
        let of_config = servers.of(&config);
        assert_eq!(server.endpoint_version(), before.1, "not before the config is the current one");
        Servers::adopt(&config, &of_config, &|_, _| None);
        assert_eq!(
            (server.endpoint().written.as_str(), server.endpoint_version()),
            ("elsewhere:80", before.1 + 1)
        );
    }

    #[test]
    fn what_is_set_by_hand_beats_the_config_until_it_is_set_back() {
        let servers = Servers::new(1);
        let mut all = config(&[2]);
        let pool = servers.of(&all).pools.remove(0);
        let of = |number: usize| {
            let server = pool.members()[number].clone();
            (server.state(), server.weight())
        };
        let drained = ByHand { state: Some(Administrative::Drain), weight: Some(7) };
        pool.set_by_hand("s1", drained);
        assert_eq!((of(0), of(1)), ((ServerState::Up, 1), (ServerState::Drain, 7)));
        Arc::make_mut(&mut all.pools[0]).servers[1].disabled = true;
        Arc::make_mut(&mut all.pools[0]).servers[1].weight = 3;
        pool.set_config(&all.pools[0], &|_, _| None);
        assert_eq!(of(1), (ServerState::Drain, 7));
        let both = std::mem::take(&mut Arc::make_mut(&mut all.pools[0]).servers);
        pool.set_config(&all.pools[0], &|_, _| None);
        Arc::make_mut(&mut all.pools[0]).servers = both;
        pool.set_config(&all.pools[0], &|_, _| None);
        assert_eq!(of(1), (ServerState::Drain, 7), "also of a server that was gone for a while");
        assert_eq!(servers.by_hand().all(), [("p0".into(), "s1".into(), drained)]);
        pool.set_by_hand("s1", ByHand { state: Some(Administrative::Ready), weight: None });
        assert_eq!(of(1), (ServerState::Up, 3));
        pool.set_by_hand("s1", ByHand::default());
        assert_eq!((of(1), servers.by_hand().all()), ((ServerState::Disabled, 3), vec![]));
    }

    #[test]
    fn at_most_a_share_of_a_pool_is_ejected_and_never_its_only_server() {
        let eject = Eject { failures: 1, ..Eject::default() };
        for (servers, most) in [(1, 0), (2, 1), (3, 1), (4, 2), (7, 3)] {
            let pool = pool_of(1, &vec![None; servers]);
            for server in pool.members().iter() {
                server.note_failure(&eject, &"a test", 0);
            }
            let ejected = pool.members().iter().filter(|s| s.state() == ServerState::Ejected).count();
            assert_eq!(ejected, most, "of {servers}");
        }
    }

    #[test]
    fn a_server_that_failed_in_a_row_is_ejected_until_a_probe_passes() {
        let pool = pool_of(1, &[None, None]);
        let (server, eject) = (pool.members()[0].clone(), Eject::default());
        let version = pool.version();
        server.note_failure(&eject, &"refused", 0);
        server.note_failure(&eject, &"refused", 0);
        server.note_success(&eject, 0);
        server.note_failure(&eject, &"refused", 0);
        server.note_failure(&eject, &"refused", 0);
        assert_eq!((server.state(), pool.version()), (ServerState::Up, version));
        server.note_failure(&eject, &"refused", 0);
        assert_eq!(server.state(), ServerState::Ejected);
        assert_ne!(pool.version(), version);
        let pause = Duration::from_secs(1).as_micros() as u64;
        assert!(server.begin_probe(&eject, pause - 1).is_none());
        let probe = server.begin_probe(&eject, pause).unwrap();
        assert!(server.begin_probe(&eject, pause).is_none(), "one at a time");
        probe.fail(&"a test", pause);
        assert_eq!(server.probe_at(), Some(3 * pause));
        server.begin_probe(&eject, 3 * pause).unwrap().pass(3 * pause);
        assert_eq!(server.state(), ServerState::Up);
        assert!(pool.may_eject(0.5), "it counts no more");
    }

    #[test]
    fn every_address_of_a_name_is_a_server_and_a_name_without_one_is_down() {
        let mut config = config(&[2]);
        let pool_config = Arc::make_mut(&mut config.pools[0]);
        let host = Address::Name { host: "app.internal".into(), port: 8080 };
        pool_config.servers[1] =
            ServerConfig::new("app.internal:8080".into(), host, "app.internal:8080".into());
        let pools = Servers::new(1).of(&config);
        let pool = &pools.pools[0];
        let states = || pool.members().iter().map(|server| server.state()).collect::<Vec<_>>();
        assert_eq!(
            (names(pool), states()),
            (vec!["p0/s0".into(), "p0/app.internal:8080".into()], vec![ServerState::Up, ServerState::Down])
        );
        let address = |last: u8| NamedServer {
            address: ([10, 0, 0, last], 8080).into(),
            weight: None,
            backup: false,
            shows_port: false,
        };
        let changes = pool.set_addresses("app.internal:8080", &[address(7), address(8)]);
        assert_eq!(changes.new, ["app.internal:8080/10.0.0.7", "app.internal:8080/10.0.0.8"]);
        assert_eq!((changes.gone, states()), (vec![], vec![ServerState::Up; 3]));
        let kept = pool.members()[2].clone();
        let changes = pool.set_addresses("app.internal:8080", &[address(8), address(9)]);
        assert_eq!((changes.new.len(), changes.gone), (1, vec!["app.internal:8080/10.0.0.7".to_string()]));
        assert!(Arc::ptr_eq(&kept, &pool.members()[1]));
        assert_eq!(kept.endpoint().host(), "app.internal:8080");
    }

    #[test]
    fn a_slow_start_raises_the_weight_step_by_step() {
        let pool = pool_of(1, &[None, None]);
        let (server, eject) = (pool.members()[0].clone(), Eject::default());
        let ramp = Some(Duration::from_secs(10));
        assert_eq!(server.ramped_weight(ramp, 5), 256, "not at the start");
        (0..3).for_each(|_| server.note_failure(&eject, &"refused", 0));
        server.begin_probe(&eject, 2_000_000).unwrap().pass(2_000_000);
        let weights = [2, 4, 7, 12].map(|second| server.ramped_weight(ramp, second * 1_000_000));
        assert_eq!(weights, [1, 51, 128, 256]);
        assert_eq!(server.ramped_weight(None, 2_000_000), 256);
    }
}
