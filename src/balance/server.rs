//! A server as the process knows it: one object for each pool and server name, whatever number of configs, workers and
//! connections refer to it. A config that replaces another one and names it again gets the same object, so what was
//! learnt of it stays.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::rc::{Rc, Weak as WeakRc};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::idle::IdleConnections;
use super::pause::Pause;
use crate::config::{Config, Endpoint, PoolConfig, ServerConfig};

pub struct Server {
    pool: String,
    name: String,
    /// Locked for a new connection, and for a request without `Host`.
    endpoint: Mutex<Arc<Endpoint>>,
    /// How often the endpoint was replaced: connections of an earlier one are not used again.
    moves: AtomicU32,
    pub pause: Pause,
    /// One a worker.
    counters: Box<[Arc<ServerCounters>]>,
}

/// What one worker counts of a server: written by it alone, on a cache line of its own (some processors fetch them in
/// pairs), and summed by who reads.
#[derive(Default)]
#[repr(align(128))]
struct ServerCounters {
    in_flight: AtomicU32,
}

impl Server {
    fn new(server: &ServerConfig, pool: &PoolConfig, workers: usize) -> Server {
        Server {
            pool: pool.name.clone(),
            name: server.name.clone(),
            endpoint: Mutex::new(Arc::new(Endpoint::of(server, pool))),
            moves: AtomicU32::new(0),
            pause: Pause::default(),
            counters: (0..workers).map(|_| Arc::default()).collect(),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn endpoint(&self) -> Arc<Endpoint> {
        lock(&self.endpoint).clone()
    }

    /// Connections made from now on go there.
    pub fn move_to(&self, endpoint: Endpoint) {
        let mut place = lock(&self.endpoint);
        if **place != endpoint {
            *place = Arc::new(endpoint);
            self.moves.fetch_add(1, Relaxed);
        }
    }

    /// Changes when the endpoint does.
    pub fn moves(&self) -> u32 {
        self.moves.load(Relaxed)
    }

    /// Requests that all workers have there now.
    pub fn in_flight(&self) -> u32 {
        self.counters.iter().map(|counters| counters.in_flight.load(Relaxed)).sum()
    }
}

/// Its identity: `POOL/SERVER`.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.pool, self.name)
    }
}

/// All servers of the process that anybody still refers to, by pool and name.
pub struct Servers {
    workers: usize,
    known: Mutex<HashMap<(String, String), Weak<Server>>>,
}

impl Servers {
    pub fn new(workers: usize) -> Servers {
        Servers { workers, known: Mutex::default() }
    }

    /// Those of a config, pool by pool in its order. One that is known already stays as it is until `adopt`.
    pub fn of(&self, config: &Config) -> Vec<Vec<Arc<Server>>> {
        let mut known = lock(&self.known);
        known.retain(|_, server| server.strong_count() > 0);
        let pools = config.pools.iter();
        pools
            .map(|pool| pool.servers.iter().map(|server| self.find(&mut known, pool, server)).collect())
            .collect()
    }

    /// This config is the current one from now on: its servers (as `of` gave them) go where it says.
    pub fn adopt(config: &Config, servers: &[Vec<Arc<Server>>]) {
        for (pool, servers) in config.pools.iter().zip(servers) {
            for (config, server) in pool.servers.iter().zip(servers) {
                server.move_to(Endpoint::of(config, pool));
            }
        }
    }

    fn find(
        &self,
        known: &mut HashMap<(String, String), Weak<Server>>,
        pool: &PoolConfig,
        config: &ServerConfig,
    ) -> Arc<Server> {
        let key = (pool.name.clone(), config.name.clone());
        if let Some(server) = known.get(&key).and_then(Weak::upgrade) {
            return server;
        }
        let server = Arc::new(Server::new(config, pool, self.workers));
        known.insert(key, Arc::downgrade(&server));
        server
    }
}

/// A server as one worker uses it.
pub struct WorkerServer {
    server: Arc<Server>,
    counters: Arc<ServerCounters>,
    pub idle: RefCell<IdleConnections>,
    /// How long a connection of it is kept without a request, as the current config says.
    pub idle_timeout: Cell<Duration>,
    /// The current config names it.
    pub listed: Cell<bool>,
}

impl Deref for WorkerServer {
    type Target = Server;
    fn deref(&self) -> &Server {
        &self.server
    }
}

impl fmt::Display for WorkerServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.server.fmt(f)
    }
}

impl WorkerServer {
    /// Whether a connection that was made when the server had moved so often is kept for another request.
    pub fn keeps(&self, moves: u32) -> bool {
        self.listed.get() && moves == self.moves()
    }

    /// A request of this worker goes there.
    pub fn request_begins(&self) {
        let count = &self.counters.in_flight;
        count.store(count.load(Relaxed) + 1, Relaxed);
    }

    pub fn request_ends(&self) {
        let count = &self.counters.in_flight;
        debug_assert!(count.load(Relaxed) > 0);
        count.store(count.load(Relaxed).saturating_sub(1), Relaxed);
    }
}

/// The servers that one worker uses, each once, however many configs it runs.
pub struct WorkerServers {
    /// Which of the workers this is, from 0.
    worker: usize,
    known: HashMap<*const Server, WeakRc<WorkerServer>>,
}

impl WorkerServers {
    pub fn new(worker: usize) -> WorkerServers {
        WorkerServers { worker, known: HashMap::new() }
    }

    /// Another config takes the place of the current one: those that it names will be listed again.
    pub fn unlist(&self) {
        self.known.values().filter_map(WeakRc::upgrade).for_each(|server| server.listed.set(false));
    }

    pub fn get(&mut self, server: &Arc<Server>) -> Rc<WorkerServer> {
        let key = Arc::as_ptr(server);
        if let Some(known) = self.known.get(&key).and_then(WeakRc::upgrade) {
            return known;
        }
        // The address of one that is gone may be used again: its entry is replaced here, or goes.
        self.known.retain(|_, known| known.strong_count() > 0);
        let counters = server.counters[self.worker].clone();
        let new = Rc::new(WorkerServer {
            server: server.clone(),
            counters,
            idle: RefCell::default(),
            idle_timeout: Cell::default(),
            listed: Cell::default(),
        });
        self.known.insert(key, Rc::downgrade(&new));
        new
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::tests::config;

    #[test]
    fn a_server_that_a_second_config_names_again_is_the_same_object() {
        let servers = Servers::new(1);
        let first = servers.of(&config(&[2, 1]));
        let second = servers.of(&config(&[3]));
        assert!(Arc::ptr_eq(&first[0][1], &second[0][1]));
        let names: Vec<String> = second[0].iter().map(|server| server.to_string()).collect();
        assert_eq!(names, ["p0/s0", "p0/s1", "p0/s2"]);
        drop((first, second));
        assert!(
            servers.of(&config(&[])).is_empty() && lock(&servers.known).is_empty(),
            "those that are gone are forgotten"
        );
    }

    #[test]
    fn a_server_moves_while_it_is_used() {
        let servers = Servers::new(1);
        let mut config = config(&[1]);
        let server = servers.of(&config)[0][0].clone();
        let before = (server.endpoint(), server.moves());
        Servers::adopt(&config, &servers.of(&config));
        assert_eq!((server.endpoint(), server.moves()), before);
        Arc::make_mut(&mut config.pools[0]).servers[0].written = "elsewhere:80".into();
        let of_config = servers.of(&config);
        assert_eq!(server.moves(), before.1, "not before the config is the current one");
        Servers::adopt(&config, &of_config);
        assert_eq!((server.endpoint().written.as_str(), server.moves()), ("elsewhere:80", before.1 + 1));
    }

    #[test]
    fn the_requests_of_all_workers_are_counted_together() {
        let servers = Servers::new(3);
        let server = servers.of(&config(&[1]))[0][0].clone();
        let mut workers = [0, 1, 2].map(|number| WorkerServers::new(number).get(&server));
        workers[0].request_begins();
        workers[2].request_begins();
        workers[2].request_begins();
        assert_eq!(server.in_flight(), 3);
        workers[2].request_ends();
        workers.reverse();
        assert_eq!(server.in_flight(), 2);
    }

    #[test]
    fn a_worker_has_one_view_of_a_server_and_forgets_it_with_its_last_user() {
        let servers = Servers::new(1);
        let server = servers.of(&config(&[1]))[0][0].clone();
        let mut worker = WorkerServers::new(0);
        let (one, two) = (worker.get(&server), worker.get(&server));
        assert!(Rc::ptr_eq(&one, &two));
        drop((one, two));
        worker.get(&server);
        assert_eq!(Arc::strong_count(&server), 1, "nobody else holds it");
    }
}
