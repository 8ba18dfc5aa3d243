//! A server of the process: one object per pool and server name, shared by all configs, workers and connections. A
//! reload that keeps the server keeps the object, and with it its state.

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
    /// Incremented when the endpoint changes: connections to an earlier one are not reused.
    endpoint_version: AtomicU32,
    pub pause: Pause,
    /// One per worker.
    counters: Box<[Arc<ServerCounters>]>,
}

/// One worker's counters of a server. Only that worker writes them, on cache lines of their own (some processors fetch
/// them in pairs); readers sum over the workers.
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
            endpoint_version: AtomicU32::new(0),
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
}

/// The server's identity: `POOL/SERVER`.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.pool, self.name)
    }
}

/// All servers of the process that are in use, by pool and name.
pub struct Servers {
    workers: usize,
    known: Mutex<HashMap<(String, String), Weak<Server>>>,
}

impl Servers {
    pub fn new(workers: usize) -> Servers {
        Servers { workers, known: Mutex::default() }
    }

    /// Returns the servers of a config, pool by pool in its order. Known ones stay unchanged until `adopt`.
    pub fn of(&self, config: &Config) -> Vec<Vec<Arc<Server>>> {
        let mut known = lock(&self.known);
        known.retain(|_, server| server.strong_count() > 0);
        let pools = config.pools.iter();
        pools
            .map(|pool| pool.servers.iter().map(|server| self.find(&mut known, pool, server)).collect())
            .collect()
    }

    /// Makes this config the current one: its servers (from `of`) get its endpoints.
    pub fn adopt(config: &Config, servers: &[Vec<Arc<Server>>]) {
        for (pool, servers) in config.pools.iter().zip(servers) {
            for (config, server) in pool.servers.iter().zip(servers) {
                server.set_endpoint(Endpoint::of(config, pool));
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
    /// The idle timeout of the current config.
    pub idle_timeout: Cell<Duration>,
    /// The current config contains the server.
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
    /// Returns true if a connection made at this `endpoint_version` may be kept for another request.
    pub fn may_keep(&self, version: u32) -> bool {
        self.listed.get() && version == self.endpoint_version()
    }

    /// Counts a request of this worker.
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

/// The servers that one worker uses, each once, for all its configs.
pub struct WorkerServers {
    /// The worker's number, from 0.
    worker: usize,
    known: HashMap<*const Server, WeakRc<WorkerServer>>,
}

impl WorkerServers {
    pub fn new(worker: usize) -> WorkerServers {
        WorkerServers { worker, known: HashMap::new() }
    }

    /// Unlists all servers before a reload; those in the new config are listed again.
    pub fn unlist(&self) {
        self.known.values().filter_map(WeakRc::upgrade).for_each(|server| server.listed.set(false));
    }

    pub fn get(&mut self, server: &Arc<Server>) -> Rc<WorkerServer> {
        let key = Arc::as_ptr(server);
        if let Some(known) = self.known.get(&key).and_then(WeakRc::upgrade) {
            return known;
        }
        // A freed server's address may be reused: its stale entry is replaced or removed here.
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
    fn a_server_kept_by_a_reload_is_the_same_object() {
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
    fn a_server_in_use_can_change_its_endpoint() {
        let servers = Servers::new(1);
        let mut config = config(&[1]);
        let server = servers.of(&config)[0][0].clone();
        let before = (server.endpoint(), server.endpoint_version());
        Servers::adopt(&config, &servers.of(&config));
        assert_eq!((server.endpoint(), server.endpoint_version()), before);
        Arc::make_mut(&mut config.pools[0]).servers[0].written = "elsewhere:80".into();
        let of_config = servers.of(&config);
        assert_eq!(server.endpoint_version(), before.1, "not before the config is the current one");
        Servers::adopt(&config, &of_config);
        assert_eq!(
            (server.endpoint().written.as_str(), server.endpoint_version()),
            ("elsewhere:80", before.1 + 1)
        );
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
    fn a_worker_has_one_object_per_server_and_frees_it_after_the_last_use() {
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
