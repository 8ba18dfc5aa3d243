//! A pool as one worker uses it, with round robin.

use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::server::{Server, WorkerServer, WorkerServers};
use crate::config::{PoolConfig, PoolId, ServerId};

/// Servers that failed for one request. A request tries three at most.
#[derive(Clone, Default)]
pub struct Tried(Vec<Rc<WorkerServer>>);

impl Tried {
    /// The first server and up to two others.
    pub const MAX: usize = 3;

    pub fn add(&mut self, server: Rc<WorkerServer>) {
        if self.0.len() < Tried::MAX {
            self.0.push(server);
        }
    }

    pub fn has(&self, server: &Rc<WorkerServer>) -> bool {
        self.0.iter().any(|tried| Rc::ptr_eq(tried, server))
    }

    pub fn is_full(&self) -> bool {
        self.0.len() == Tried::MAX
    }

    pub fn clear(&mut self) {
        if !self.0.is_empty() {
            self.0.clear();
        }
    }
}

pub struct Pool {
    /// The pool's id in the same config's script.
    pub id: PoolId,
    pub config: Arc<PoolConfig>,
    pub servers: Vec<Rc<WorkerServer>>,
    /// Where round robin continues.
    next: Cell<usize>,
    candidates: RefCell<Candidates>,
}

/// The servers a `balance` function may choose from. Reused to save allocations.
#[derive(Default)]
pub struct Candidates {
    /// In the pool's order.
    pub servers: Vec<ServerId>,
    /// For each server of the pool, the requests in progress of all workers.
    pub in_flight: Vec<u32>,
}

impl Pool {
    /// `servers`: in the order of the config.
    pub fn new(
        id: PoolId,
        config: Arc<PoolConfig>,
        servers: &[Arc<Server>],
        all: &mut WorkerServers,
    ) -> Pool {
        debug_assert_eq!(config.servers.len(), servers.len());
        let servers: Vec<Rc<WorkerServer>> = servers.iter().map(|server| all.get(server)).collect();
        for server in &servers {
            server.listed.set(true);
            server.idle_timeout.set(config.timeouts.idle);
        }
        Pool { id, config, servers, next: Cell::new(0), candidates: RefCell::default() }
    }

    pub fn server(&self, id: ServerId) -> Option<&Rc<WorkerServer>> {
        self.servers.get(id.0 as usize)
    }

    /// Returns the next server that has not failed for this request; a paused one only if no other is left.
    pub fn round_robin(&self, tried: &Tried, now: u64) -> Option<&Rc<WorkerServer>> {
        let (count, next) = (self.servers.len(), self.next.get());
        let mut second_choice = None;
        for step in 0..count {
            let at = if next + step >= count { next + step - count } else { next + step };
            let server = &self.servers[at];
            if tried.has(server) {
                continue;
            }
            if server.pause.is_over(now) {
                second_choice = Some(at);
                break;
            }
            second_choice = second_choice.or(Some(at));
        }
        let at = second_choice?;
        self.next.set(if at + 1 == count { 0 } else { at + 1 });
        Some(&self.servers[at])
    }

    /// Returns the servers that a `balance` function may choose from, with the same preference as `round_robin`.
    pub fn candidates(&self, tried: &Tried, now: u64) -> Ref<'_, Candidates> {
        let mut filled = self.candidates.borrow_mut();
        let Candidates { servers, in_flight } = &mut *filled;
        in_flight.clear();
        in_flight.extend(self.servers.iter().map(|server| server.in_flight()));
        for paused_too in [false, true] {
            let usable =
                |server: &Rc<WorkerServer>| !tried.has(server) && (paused_too || server.pause.is_over(now));
            let all = (0..).map(ServerId).zip(&self.servers);
            servers.clear();
            servers.extend(all.filter(|(_, server)| usable(server)).map(|(id, _)| id));
            if !servers.is_empty() {
                break;
            }
        }
        drop(filled);
        self.candidates.borrow()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::Servers;
    use crate::balance::tests::config;

    /// Returns one pool per worker, with shared servers.
    fn of_workers(workers: usize, servers: usize) -> Vec<Pool> {
        let (known, config) = (Servers::new(workers), config(&[servers]));
        let all = known.of(&config);
        let pool =
            |worker| Pool::new(PoolId(0), config.pools[0].clone(), &all[0], &mut WorkerServers::new(worker));
        (0..workers).map(pool).collect()
    }

    fn pool(servers: usize) -> Pool {
        of_workers(1, servers).remove(0)
    }

    fn picks(pool: &Pool, tried: &Tried, now: u64, count: usize) -> Vec<String> {
        let name = |server: Option<&Rc<WorkerServer>>| server.map_or("none".into(), |s| s.name().to_string());
        (0..count).map(|_| name(pool.round_robin(tried, now))).collect()
    }

    #[test]
    fn round_robin_strictly_alternates() {
        assert_eq!(picks(&pool(3), &Tried::default(), 0, 7), ["s0", "s1", "s2", "s0", "s1", "s2", "s0"]);
        assert_eq!(picks(&pool(0), &Tried::default(), 0, 1), ["none"]);
    }

    #[test]
    fn a_paused_server_is_skipped_unless_no_other_is_left() {
        let pool = pool(2);
        pool.servers[0].pause.failed(0);
        assert_eq!(picks(&pool, &Tried::default(), 1, 3), ["s1"; 3]);
        let mut tried = Tried::default();
        tried.add(pool.servers[1].clone());
        assert_eq!(picks(&pool, &tried, 1, 1), ["s0"]);
        tried.add(pool.servers[0].clone());
        assert_eq!(picks(&pool, &tried, 1, 1), ["none"]);
        assert_eq!(picks(&pool, &Tried::default(), 200_000, 2), ["s1", "s0"]);
    }

    #[test]
    fn a_server_paused_by_one_worker_is_skipped_by_the_others() {
        let pools = of_workers(2, 2);
        assert!(pools[0].servers[0].pause.failed(0), "news");
        assert!(!pools[1].servers[0].pause.failed(1), "no news");
        assert_eq!(picks(&pools[1], &Tried::default(), 1, 2), ["s1"; 2]);
        assert!(pools[1].servers[0].pause.succeeded());
        assert_eq!(picks(&pools[0], &Tried::default(), 1, 2), ["s0", "s1"]);
    }

    #[test]
    fn candidates_skip_paused_servers_and_keep_the_pools_order() {
        let pool = pool(3);
        pool.servers[1].pause.failed(0);
        pool.servers[2].request_begins();
        let mut tried = Tried::default();
        let candidates = |tried: &Tried| pool.candidates(tried, 1).servers.clone();
        assert_eq!(candidates(&tried), [ServerId(0), ServerId(2)]);
        assert_eq!(pool.candidates(&tried, 1).in_flight, [0, 0, 1]);
        tried.add(pool.servers[0].clone());
        tried.add(pool.servers[2].clone());
        assert_eq!(candidates(&tried), [ServerId(1)]);
    }

    #[test]
    fn candidates_count_the_requests_of_all_workers() {
        let pools = of_workers(2, 2);
        pools[0].servers[1].request_begins();
        pools[1].servers[1].request_begins();
        assert_eq!(pools[0].candidates(&Tried::default(), 0).in_flight, [0, 2]);
        pools[0].servers[1].request_ends();
        assert_eq!(pools[1].candidates(&Tried::default(), 0).in_flight, [0, 1]);
    }

    #[test]
    fn a_request_tries_three_servers_at_most() {
        let (pool, mut tried) = (pool(5), Tried::default());
        for (number, server) in pool.servers.iter().enumerate() {
            assert_eq!(tried.is_full(), number >= 3);
            tried.add(server.clone());
        }
        assert!(tried.has(&pool.servers[2]) && !tried.has(&pool.servers[3]));
    }
}
