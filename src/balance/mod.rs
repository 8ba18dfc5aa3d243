//! Floor 4: choosing a server. Servers per process and per worker, their pools, their idle connections, and pauses
//! after failures. No sockets: connections are numbers that the worker assigns.

mod algorithm;
mod idle;
mod pause;
mod pool;
mod server;

pub use algorithm::{
    Algorithm, Balancer, Candidate, First, Hash, LeastConnections, LeastLatency, MAX_WEIGHT, PeakEwma, Pick,
    Random, RoundRobin, SourceHash, TwoChoices,
};
pub use idle::{Idle, IdleConnections};
pub use pause::Pause;
pub use pool::{Pool, Tried};
pub use server::{Server, Servers, WorkerServer, WorkerServers};

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::config::{Address, Balance, Config, PoolConfig, ServerConfig, Settings};

    fn pool(number: usize, servers: usize) -> PoolConfig {
        let server = |i: usize| {
            let address = Address::Ip(([127, 0, 0, 1], i as u16 + 1).into());
            ServerConfig::new(format!("s{i}"), address, format!("127.0.0.1:{}", i + 1))
        };
        PoolConfig {
            servers: (0..servers).map(server).collect(),
            ..PoolConfig::named(format!("p{number}"), Balance::RoundRobin)
        }
    }

    /// Returns a config with pools p0, p1 … with so many servers s0, s1 … each.
    pub fn config(pools: &[usize]) -> Config {
        let pools =
            pools.iter().enumerate().map(|(number, servers)| Arc::new(pool(number, *servers))).collect();
        let settings = Settings::default();
        Config {
            listeners: Vec::new(),
            pools,
            settings,
            classic: None,
            on_request: false,
            on_response: false,
            warnings: Vec::new(),
        }
    }
}
