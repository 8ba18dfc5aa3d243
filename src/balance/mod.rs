//! Floor 4: choosing a server. No sockets: connections are numbers that the worker assigns.
//!
//! ```text
//! process    servers.rs     the pools by name; pool_state.rs: one, with its servers
//!            server.rs      a server, whose state is state.rs; history.rs: since when and why
//!            by_hand.rs     what operators set while rsp runs
//!            slot.rs        what a request holds of its server
//!            queue.rs       requests that wait; budget.rs: how often they may be tried again
//!            hedges.rs      when a request is sent a second time, from recent_times.rs; mirror.rs: which are copied
//!            counters.rs    what each worker counts of servers and pools
//!            ejection.rs    what failures do, counted in outcomes.rs; idle_limit.rs: how long it keeps connections
//! worker     pool/          the servers that may take a request, and the algorithm that chooses one
//!            algorithm/     the algorithms
//!            sessions.rs    tokens of sticky sessions
//!            worker_server.rs, idle.rs   a server's idle connections
//! ```

pub mod algorithm;
mod budget;
mod by_hand;
mod counters;
mod ejection;
mod hedges;
mod history;
mod idle;
mod idle_limit;
mod mirror;
mod outcomes;
mod pool;
mod pool_state;
mod queue;
mod recent_times;
mod server;
mod servers;
mod sessions;
mod slot;
mod state;
mod worker_server;

pub use by_hand::{ByHand, ByHandTable};
pub use counters::{
    Former, HedgeEnd, MirrorEnd, PHASES, PoolCounters, PoolTotals, REQUEST_BOUNDS, ServerTotals,
};
pub use hedges::looks_again;
pub use history::Change;
pub use idle::{Idle, IdleConnections};
pub use mirror::{CopyCount, CopyPermit};
pub use pool::{Picked, Pool, Tried, Unavailable, Want, take, take_named};
pub use pool_state::{KnownNames, MemberChanges, NamedServer, PoolState};
pub use queue::{Grant, GrantedServer, Inboxes, Queue, QueuedRequest, Wakes};
pub use server::Server;
pub use servers::{Others, Servers, SitePools};
pub use slot::{Probe, Slot};
pub use state::{Administrative, ServerState};
pub use worker_server::{WorkerServer, WorkerServers};

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{PoolState, Servers};
    use crate::config::{Address, Balance, Config, PoolConfig, ServerConfig};

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
        Config { pools, ..Config::default() }
    }

    /// Returns the pool p0 for so many workers, with servers of these limits.
    pub fn pool_of(workers: usize, limits: &[Option<u32>]) -> Arc<PoolState> {
        let mut config = config(&[limits.len()]);
        let servers = &mut Arc::make_mut(&mut config.pools[0]).servers;
        for (server, limit) in servers.iter_mut().zip(limits) {
            server.max_connections = *limit;
        }
        Servers::new(workers).of(&config).pools.remove(0)
    }
}
