//! Pools of the product, made without a config file.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use rsp::balance::{Pool, Servers, SitePools, WorkerServers};
use rsp::config::{Address, Balance, Config, PoolConfig, PoolId, ServerConfig};

use crate::origin::Spec;

pub const ALGORITHMS: [(&str, Balance); 7] = [
    ("round_robin", Balance::RoundRobin),
    ("least_connections", Balance::LeastConnections),
    ("least_latency", Balance::LeastLatency),
    ("random", Balance::Random),
    ("first", Balance::First),
    ("source_hash", Balance::SourceHash),
    ("hash", Balance::Hash),
];

/// A config with one pool of these servers, named s0, s1 …
pub fn config(balance: Balance, servers: &[Spec]) -> Config {
    let server = |(number, spec): (usize, &Spec)| {
        let address = Address::Ip(([127, 0, 0, 1], 1).into());
        ServerConfig {
            weight: spec.weight,
            max_connections: spec.max_connections,
            ..ServerConfig::new(format!("s{number}"), address, "127.0.0.1:1".to_owned())
        }
    };
    let servers = servers.iter().enumerate().map(server).collect();
    let pool = PoolConfig { servers, ..PoolConfig::named("web".to_owned(), balance) };
    Config { pools: vec![Arc::new(pool)], ..Config::default() }
}

/// One worker's view of the pool of a config.
pub struct View {
    pub pool: Pool,
    pub servers: Rc<RefCell<WorkerServers>>,
}

impl View {
    pub fn new(worker: usize, config: &Config, pools: &SitePools) -> View {
        let servers = Rc::new(RefCell::new(WorkerServers::new(worker)));
        View { pool: pool(config, pools, &servers), servers }
    }
}

pub fn pool(config: &Config, pools: &SitePools, servers: &Rc<RefCell<WorkerServers>>) -> Pool {
    Pool::new(PoolId(0), config.pools[0].clone(), pools.pools[0].clone(), servers)
}

/// The pool for so many workers, each with its view.
pub fn views(config: &Config, workers: usize) -> (SitePools, Vec<View>) {
    let pools = Servers::new(workers).of(config);
    let views = (0..workers).map(|worker| View::new(worker, config, &pools)).collect();
    (pools, views)
}
