//! A server as one worker uses it: its idle connections and the worker's own counters.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::algorithm::Candidate;
use super::counters::ServerCounters;
use super::idle::IdleConnections;
use super::server::Server;

/// Places of servers whose requests in flight changed since the last pick.
pub(super) type Changes = Rc<RefCell<Vec<u32>>>;

pub struct WorkerServer {
    server: Arc<Server>,
    pub counters: Arc<ServerCounters>,
    pub idle: RefCell<IdleConnections>,
    /// The idle timeout of the current config.
    pub idle_timeout: Cell<Duration>,
    /// Idle connections that this worker keeps at most.
    pub max_idle: Cell<u32>,
    /// Connections that are opened before they are needed.
    pub opening: Cell<u32>,
    /// The current config contains the server.
    pub listed: Cell<bool>,
    /// In units of 1/256, as of the last time the pool's servers changed.
    pub(super) weight: Cell<u32>,
    /// Where the algorithm wants to be told of changes: its place, and the list.
    pub(super) watched: Cell<bool>,
    /// It is in the list.
    pub(super) noted: Cell<bool>,
    pub(super) changes: RefCell<(u32, Changes)>,
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

impl Candidate for WorkerServer {
    fn weight(&self) -> u32 {
        self.weight.get()
    }

    fn in_flight(&self) -> u32 {
        self.server.in_flight()
    }

    fn is_shared(&self) -> bool {
        self.server.counters.len() > 1
    }

    fn latency(&self, now: u64) -> Option<u64> {
        self.server.latency.at(now)
    }

    fn identity(&self) -> u64 {
        self.server.identity()
    }
}

impl WorkerServer {
    /// More connections are idle than are to be kept.
    pub fn has_surplus(&self) -> bool {
        self.idle.borrow().len() > self.max_idle.get() as usize
    }

    /// The process's object.
    pub fn shared(&self) -> &Arc<Server> {
        &self.server
    }

    /// Returns true if a connection made at this `endpoint_version` may be kept for another request.
    pub fn may_keep(&self, version: u32) -> bool {
        self.listed.get() && version == self.endpoint_version() && self.state().keeps_connections()
    }

    /// Counts a request of this worker.
    pub fn request_begins(&self) {
        let count = &self.counters.in_flight;
        count.store(count.load(Relaxed) + 1, Relaxed);
        self.counters.tries.add(1);
        if self.watched.get() {
            self.note_change();
        }
    }

    pub fn request_ends(&self) {
        let count = &self.counters.in_flight;
        debug_assert!(count.load(Relaxed) > 0);
        count.store(count.load(Relaxed).saturating_sub(1), Relaxed);
        if self.watched.get() {
            self.note_change();
        }
    }

    fn note_change(&self) {
        if !self.noted.replace(true) {
            let (place, changes) = &*self.changes.borrow();
            changes.borrow_mut().push(*place);
        }
    }
}

/// The servers that one worker uses, each once, for all its configs.
pub struct WorkerServers {
    /// The worker's number, from 0.
    worker: usize,
    known: HashMap<*const Server, Weak<WorkerServer>>,
    /// At this length those that are gone are removed: not at every new one, which would take the square of their
    /// number.
    clean_at: usize,
}

/// So many entries are never cleaned.
const FEW: usize = 64;

impl WorkerServers {
    pub fn new(worker: usize) -> WorkerServers {
        WorkerServers { worker, known: HashMap::new(), clean_at: FEW }
    }

    pub fn worker(&self) -> usize {
        self.worker
    }

    /// Unlists all servers before a reload; those in the new config are listed again.
    pub fn unlist(&self) {
        self.known.values().filter_map(Weak::upgrade).for_each(|server| server.listed.set(false));
    }

    pub fn get(&mut self, server: &Arc<Server>) -> Rc<WorkerServer> {
        let key = Arc::as_ptr(server);
        if let Some(known) = self.known.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        // A freed server's address may be reused: its stale entry is replaced or removed here.
        if self.known.len() >= self.clean_at {
            self.known.retain(|_, known| known.strong_count() > 0);
            self.clean_at = FEW.max(2 * self.known.len());
        }
        let new = Rc::new(WorkerServer {
            server: server.clone(),
            counters: server.counters[self.worker].clone(),
            idle: RefCell::default(),
            idle_timeout: Cell::default(),
            max_idle: Cell::default(),
            opening: Cell::default(),
            listed: Cell::default(),
            weight: Cell::new(256),
            watched: Cell::default(),
            noted: Cell::default(),
            changes: RefCell::default(),
        });
        self.known.insert(key, Rc::downgrade(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::tests::pool_of;

    #[test]
    fn the_requests_of_all_workers_are_counted_together() {
        let pool = pool_of(3, &[None]);
        let server = pool.members()[0].clone();
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
        let pool = pool_of(1, &[None]);
        let server = pool.members()[0].clone();
        let mut worker = WorkerServers::new(0);
        let (one, two) = (worker.get(&server), worker.get(&server));
        assert!(Rc::ptr_eq(&one, &two));
        drop((one, two));
        worker.get(&server);
        assert_eq!(Arc::strong_count(&server), 2, "the pool's and this one");
    }

    #[test]
    fn entries_of_servers_that_are_gone_do_not_pile_up() {
        let mut worker = WorkerServers::new(0);
        let pools: Vec<_> = (0..10).map(|_| pool_of(1, &[None; FEW])).collect();
        let kept: Vec<_> = pools[0].members().iter().map(|server| worker.get(server)).collect();
        for pool in &pools {
            pool.members().iter().for_each(|server| _ = worker.get(server));
            assert!(worker.known.len() <= 2 * FEW, "{}", worker.known.len());
        }
        assert!(
            pools[0]
                .members()
                .iter()
                .zip(&kept)
                .all(|(server, known)| Rc::ptr_eq(known, &worker.get(server)))
        );
    }
}
