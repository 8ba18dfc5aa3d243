//! How rsp balances in one seed: the pool's algorithm, limits, queue, retries, ejection, sessions and checks. The same for
//! all sites of the seed.

use std::time::Duration;

use rsp::balance::{ServerState, SitePools};
use rsp::config::{
    Balance, Eject, HashBy, Health, HealthKind, Hedge, HedgeAfter, HttpCheck, Mirror, PoolConfig, PoolId,
    Queue, StatusRanges, Sticky,
};

use crate::plan::{Body, Request};
use crate::rng::Rng;

/// What the servers are asked for by checks.
pub const CHECK: &str = "/check";

#[derive(Clone)]
pub struct Balancing {
    pub balance: Balance,
    pub limit: Option<u32>,
    pub queue: Queue,
    pub retries: u8,
    sticky: bool,
    eject: Option<Eject>,
    pub health: Option<HealthKind>,
    min_idle: u32,
    max_idle: u32,
    weights: bool,
    backup: bool,
    buffer_request: Option<u64>,
    buffer_response: Option<u64>,
    pub buffer_memory: u64,
    /// When a request is sent to a second server.
    pub hedge: Option<Duration>,
    /// The share of the requests that is copied to the shadow pool.
    mirror: Option<f64>,
}

impl Balancing {
    pub fn any(rng: &mut Rng, honest: bool) -> Balancing {
        use Balance::*;
        let balances =
            [RoundRobin, RoundRobin, LeastConnections, LeastLatency, Random, First, SourceHash, Hash];
        let queue = match honest {
            true => Queue { most: 1000, timeout: Duration::from_secs(86_400) },
            false => {
                Queue { most: rng.below(4) as u32, timeout: Duration::from_secs(1 + rng.below(5) as u64) }
            }
        };
        let eject = Eject {
            failures: 1 + rng.below(3) as u32,
            status: StatusRanges(if rng.one_in(2) { vec![500..=599] } else { Vec::new() }),
            error_rate: rng.one_in(3).then_some(0.5),
            ..Eject::default()
        };
        Balancing {
            balance: rng.pick(&balances),
            limit: rng.one_in(2).then(|| 1 + rng.below(2) as u32),
            queue,
            retries: rng.below(4) as u8,
            sticky: rng.one_in(4),
            eject: (!rng.one_in(4)).then_some(eject),
            health: (!honest && rng.one_in(3)).then(|| match rng.one_in(3) {
                true => HealthKind::Tcp,
                false => HealthKind::Http(HttpCheck { path: CHECK.into(), ..HttpCheck::default() }),
            }),
            min_idle: if rng.one_in(6) { 1 } else { 0 },
            weights: rng.one_in(4),
            backup: rng.one_in(6),
            buffer_request: rng.one_in(3).then(|| rng.pick(&[1, 1000, 40_000, 1 << 20])),
            buffer_response: rng.one_in(2).then(|| rng.pick(&[1, 40_000, 100_000, 1 << 20])),
            buffer_memory: if rng.one_in(3) { rng.below(150_000) as u64 } else { 256 << 20 },
            hedge: rng.one_in(3).then(|| Duration::from_millis(rng.pick(&[1, 5, 50, 500]))),
            mirror: rng.one_in(3).then(|| rng.pick(&[1.0, 0.5])),
            max_idle: rng.pick(&[0, 1, 64, 64]),
        }
    }

    /// What becomes of a request's body that goes to a server.
    pub fn hold(&self, request: &mut Request) {
        let Some(most) = self.buffer_request.filter(|_| request.page.is_none()) else { return };
        request.held = match request.body {
            Body::Length(length) => (1..=most).contains(&(length as u64)),
            Body::Chunked(_) => true,
            Body::None | Body::Tunnel(_) => false,
        };
        request.kept = request.held && request.body.len() as u64 <= most;
    }

    /// Something goes on whether there are requests or not.
    pub fn goes_on(&self) -> bool {
        self.health.is_some() || self.min_idle > 0
    }

    pub fn set(&self, pool: &mut PoolConfig) {
        pool.balance = self.balance;
        pool.hash_by = (self.balance == Balance::Hash).then_some(HashBy::Path);
        (pool.queue, pool.retries) = (self.queue, self.retries);
        (pool.min_idle, pool.max_idle) = (self.min_idle, self.max_idle.max(self.min_idle));
        (pool.buffer_request, pool.buffer_response) = (self.buffer_request, self.buffer_response);
        pool.eject = self.eject.clone();
        pool.hedge = self.hedge.map(|after| Hedge { after: HedgeAfter::Time(after), budget: 1.0 });
        pool.mirror = self.mirror.map(|share| Mirror { pool: PoolId(1), share });
        pool.sticky =
            self.sticky.then(|| Sticky { cookie: "srv".into(), secret: "secret".into(), max_age: None });
        pool.health =
            self.health.clone().map(|kind| Health { interval: Duration::from_secs(30), ..Health::of(kind) });
        for (server, weight) in pool.servers.iter_mut().zip(1..) {
            server.max_connections = self.limit;
            server.weight = if self.weights { weight } else { 1 };
        }
        if self.backup {
            pool.servers[0].backup = true;
        }
    }
}

/// Nothing is left of the seed's requests.
pub fn check_given_back(pools: &SitePools) {
    for pool in &pools.pools {
        assert_eq!(pool.queue.count(), 0, "requests are left in a queue");
        assert_eq!(pool.in_flight(), 0, "requests of a pool are still counted");
        assert_eq!(pool.copies.get(), 0, "copies of a pool's requests are still counted");
        for server in pool.members().iter() {
            assert_eq!(server.in_flight(), 0, "requests of server {server} are still counted");
            assert_eq!(server.taken(), 0, "slots of server {server} are not given back");
            assert!(server.state() != ServerState::Maint, "nobody set that");
        }
    }
}
