//! The state of every pool, and round robin over it.

use std::sync::Arc;

use super::board::Row;
use super::idle::IdleConnections;
use super::pause::Pause;
use crate::config::{Balance, Config, PoolId, ServerId};

/// Servers that already failed for one request. A request tries three at most.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Tried {
    servers: [ServerId; Tried::MAX],
    count: u8,
}

impl Tried {
    /// The first server and up to two others.
    pub const MAX: usize = 3;

    pub fn add(&mut self, server: ServerId) {
        let count = self.len();
        if let Some(place) = self.servers.get_mut(count) {
            *place = server;
            self.count += 1;
        }
    }

    #[inline]
    pub fn has(&self, server: ServerId) -> bool {
        self.count > 0 && self.servers[..self.len()].contains(&server)
    }

    pub fn len(&self) -> usize {
        self.count as usize
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn is_full(&self) -> bool {
        self.len() == Tried::MAX
    }
}

#[derive(Default)]
pub struct ServerState {
    pub idle: IdleConnections,
    pub pause: Arc<Pause>,
}

struct PoolState {
    servers: Vec<ServerState>,
    /// Requests each server has now; apart from the rest because scripts are handed the whole slice.
    in_flight: Vec<u32>,
    /// Where round robin goes on.
    next: usize,
    /// The answer of the last `candidates`, kept to be filled again.
    candidates: Vec<ServerId>,
    /// Requests of all workers, for that answer.
    everywhere: Vec<u32>,
    /// Servers of the pools before this one.
    first: usize,
}

impl PoolState {
    fn new(servers: usize, first: usize) -> PoolState {
        PoolState {
            servers: (0..servers).map(|_| ServerState::default()).collect(),
            in_flight: vec![0; servers],
            next: 0,
            candidates: Vec::new(),
            everywhere: Vec::new(),
            first,
        }
    }
}

pub struct Pools {
    pools: Vec<PoolState>,
    /// Those whose servers a function chooses.
    chosen: Vec<usize>,
    /// Where several workers tell each other their requests in flight.
    row: Option<Row>,
}

impl Pools {
    pub fn new(config: &Config) -> Pools {
        let mut first = 0;
        let pools = config.pools.iter().map(|pool| {
            let state = PoolState::new(pool.servers.len(), first);
            first += pool.servers.len();
            state
        });
        let pools = pools.collect();
        let all = config.pools.iter().enumerate();
        let chosen = all.filter(|(_, pool)| pool.balance == Balance::Function).map(|(at, _)| at).collect();
        Pools { pools, chosen, row: None }
    }

    /// One for each server, for the workers to have in common.
    pub fn pauses(config: &Config) -> Vec<Arc<Pause>> {
        config.pools.iter().flat_map(|pool| &pool.servers).map(|_| Arc::default()).collect()
    }

    /// Takes these for its own.
    pub fn share_pauses(&mut self, pauses: &[Arc<Pause>]) {
        let servers = self.pools.iter_mut().flat_map(|pool| &mut pool.servers);
        for (server, pause) in servers.zip(pauses) {
            server.pause = pause.clone();
        }
    }

    /// Counts the requests of all workers together from here on.
    pub fn share_counts(&mut self, row: Row) {
        self.row = Some(row);
    }

    /// Tells the other workers, once a turn.
    pub fn tell_counts(&self) {
        let Some(row) = &self.row else { return };
        for at in &self.chosen {
            let pool = &self.pools[*at];
            row.write(pool.first, &pool.in_flight);
        }
    }

    /// The next server in turn that has not failed for this request; one that pauses only if no other is left.
    #[inline(always)]
    pub fn round_robin(&mut self, pool: PoolId, tried: &Tried, now: u64) -> Option<ServerId> {
        let pool = &mut self.pools[pool.0 as usize];
        let count = pool.servers.len();
        let mut second_choice = None;
        for step in 0..count {
            let mut at = pool.next + step;
            if at >= count {
                at -= count;
            }
            let server = ServerId(at as u32);
            if tried.has(server) {
                continue;
            }
            if pool.servers[at].pause.is_over(now) {
                pool.next = if at + 1 == count { 0 } else { at + 1 };
                return Some(server);
            }
            second_choice = second_choice.or(Some(server));
        }
        if let Some(server) = second_choice {
            pool.next = (server.0 as usize + 1) % count;
        }
        second_choice
    }

    /// The servers a `balance` function may choose from, in the pool's order, and the requests every server of
    /// the pool has now. The same preference as in `round_robin`.
    pub fn candidates(&mut self, pool: PoolId, tried: &Tried, now: u64) -> (&[ServerId], &[u32]) {
        let pool = &mut self.pools[pool.0 as usize];
        let (servers, candidates) = (&pool.servers, &mut pool.candidates);
        let mut fill = |paused_too: bool| {
            let all = (0..servers.len() as u32).map(ServerId);
            let usable = |s: &ServerId| paused_too || servers[s.0 as usize].pause.is_over(now);
            candidates.clear();
            candidates.extend(all.filter(|s| !tried.has(*s) && usable(s)));
            !candidates.is_empty()
        };
        if !fill(false) {
            fill(true);
        }
        let Some(row) = &self.row else { return (&pool.candidates, &pool.in_flight) };
        row.sum(pool.first, &pool.in_flight, &mut pool.everywhere);
        (&pool.candidates, &pool.everywhere)
    }

    pub fn server(&mut self, pool: PoolId, server: ServerId) -> &mut ServerState {
        &mut self.pools[pool.0 as usize].servers[server.0 as usize]
    }

    pub fn request_begins(&mut self, pool: PoolId, server: ServerId) {
        self.pools[pool.0 as usize].in_flight[server.0 as usize] += 1;
    }

    pub fn request_ends(&mut self, pool: PoolId, server: ServerId) {
        let count = &mut self.pools[pool.0 as usize].in_flight[server.0 as usize];
        debug_assert!(*count > 0);
        *count = count.saturating_sub(1);
    }

    pub fn in_flight(&self, pool: PoolId, server: ServerId) -> u32 {
        self.pools[pool.0 as usize].in_flight[server.0 as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::super::board::Board;
    use super::*;

    const POOL: PoolId = PoolId(0);

    fn pools(servers: usize) -> Pools {
        Pools { pools: vec![PoolState::new(servers, 0)], chosen: vec![0], row: None }
    }

    fn picks(pools: &mut Pools, tried: &Tried, now: u64, count: usize) -> Vec<u32> {
        (0..count).map(|_| pools.round_robin(POOL, tried, now).map_or(99, |s| s.0)).collect()
    }

    #[test]
    fn round_robin_strictly_alternates() {
        assert_eq!(picks(&mut pools(3), &Tried::default(), 0, 7), [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn a_server_that_refused_is_passed_over_while_it_pauses_and_tried_when_no_other_is_left() {
        let mut pools = pools(2);
        pools.server(POOL, ServerId(0)).pause.failed(0);
        assert_eq!(picks(&mut pools, &Tried::default(), 1, 3), [1, 1, 1]);
        let mut tried = Tried::default();
        tried.add(ServerId(1));
        assert_eq!(picks(&mut pools, &tried, 1, 1), [0]);
        tried.add(ServerId(0));
        assert_eq!(picks(&mut pools, &tried, 1, 1), [99]);
        assert_eq!(picks(&mut pools, &Tried::default(), 200_000, 2), [1, 0]);
    }

    #[test]
    fn a_server_that_refused_one_worker_is_passed_over_by_the_others() {
        let (mut one, mut other) = (pools(2), pools(2));
        let pauses = [Arc::default(), Arc::default()];
        one.share_pauses(&pauses);
        other.share_pauses(&pauses);
        assert!(one.server(POOL, ServerId(0)).pause.failed(0), "news");
        assert!(!other.server(POOL, ServerId(0)).pause.failed(1), "no news");
        assert_eq!(picks(&mut other, &Tried::default(), 1, 2), [1, 1]);
        assert!(other.server(POOL, ServerId(0)).pause.succeeded());
        assert_eq!(picks(&mut one, &Tried::default(), 1, 2), [0, 1]);
    }

    #[test]
    fn candidates_follow_the_same_preference_in_the_pools_order() {
        let mut pools = pools(3);
        pools.server(POOL, ServerId(1)).pause.failed(0);
        pools.request_begins(POOL, ServerId(2));
        let mut tried = Tried::default();
        assert_eq!(pools.candidates(POOL, &tried, 1), (&[ServerId(0), ServerId(2)][..], &[0, 0, 1][..]));
        tried.add(ServerId(0));
        tried.add(ServerId(2));
        assert_eq!(pools.candidates(POOL, &tried, 1).0, [ServerId(1)]);
    }

    #[test]
    fn candidates_have_the_requests_of_all_workers() {
        let board = Arc::new(Board::new(2, 3));
        // Another pool with one server comes before.
        let pools = |number| Pools {
            pools: vec![PoolState::new(1, 0), PoolState::new(2, 1)],
            chosen: vec![1],
            row: Some(Row { board: board.clone(), number }),
        };
        let (mut one, mut other) = (pools(0), pools(1));
        one.request_begins(PoolId(0), ServerId(0));
        one.request_begins(PoolId(1), ServerId(1));
        other.request_begins(PoolId(1), ServerId(1));
        one.tell_counts();
        assert_eq!(one.candidates(PoolId(1), &Tried::default(), 0).1, [0, 1]);
        assert_eq!(other.candidates(PoolId(1), &Tried::default(), 0).1, [0, 2]);
        one.request_ends(PoolId(1), ServerId(1));
        one.tell_counts();
        assert_eq!(other.candidates(PoolId(1), &Tried::default(), 0).1, [0, 1]);
    }

    #[test]
    fn a_request_tries_three_servers_at_most() {
        let mut tried = Tried::default();
        for server in 0..5 {
            assert_eq!(tried.is_full(), server >= 3);
            tried.add(ServerId(server));
        }
        assert!(tried.has(ServerId(2)) && !tried.has(ServerId(3)));
    }
}
