//! The names of servers while rsp runs: looked up again and again (`resolve`), and each of their addresses is a server of
//! the pool. What a name server does not answer stays as it was.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::balance::{MemberChanges, NamedServer, PoolState, SitePools};
use crate::config::{Address, Config, ServerConfig};
use crate::control::resolve::{Answer, Change, Query, Resolved, Resolver, ResolverConfig, Update};

/// The heaviest weight of a server; those of SRV records go up to 65535.
const MOST_WEIGHT: u32 = ServerConfig::MOST_WEIGHT;

/// All watched names.
pub struct Names {
    /// Dropped first: it calls the others.
    _resolver: Resolver,
    watched: Arc<Watched>,
}

#[derive(Default)]
struct Watched {
    names: Mutex<HashMap<u64, Name>>,
    answered: Condvar,
}

struct Name {
    pool: Weak<PoolState>,
    /// Of the server in the config.
    server: String,
    /// The result of the last lookup, once there is one.
    result: Option<Result<(), String>>,
}

impl Names {
    /// Watches the names of all pools; `None` if there are none.
    pub fn start(config: &Config, pools: &SitePools) -> io::Result<Option<Names>> {
        let watched = Arc::new(Watched::default());
        let mut queries = Vec::new();
        for (config, pool) in config.pools.iter().zip(&pools.pools) {
            for server in config.servers.iter().filter(|server| server.is_name()) {
                let Some(query) = query(&server.address) else { continue };
                let id = queries.len() as u64;
                let name = Name { pool: Arc::downgrade(pool), server: server.name.clone(), result: None };
                lock(&watched.names).insert(id, name);
                queries.push((id, query, server.resolve));
            }
        }
        if queries.is_empty() {
            return Ok(None);
        }
        let servers: Vec<SocketAddr> = config.settings.resolver.into_iter().collect();
        let told = watched.clone();
        let resolver =
            Resolver::start(ResolverConfig { servers, ..ResolverConfig::default() }, move |update| {
                told.take(&update);
            })?;
        queries.into_iter().for_each(|(id, query, every)| resolver.watch(id, query, every));
        Ok(Some(Names { _resolver: resolver, watched }))
    }

    /// Waits until each name has been looked up once, but not longer than this.
    pub fn wait(&self, most: Duration) {
        let until = Instant::now() + most;
        let mut names = lock(&self.watched.names);
        while names.values().any(|name| name.result.is_none()) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.watched.answered.wait_timeout(names, left);
            names = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The names that no lookup of has ended.
    pub fn pending(&self) -> Vec<String> {
        let names = lock(&self.watched.names);
        let pending = names.values().filter(|name| name.result.is_none());
        let line = |name: &Name| {
            let pool = name.pool.upgrade()?;
            Some(format!("pool {}: {} has no answer yet from the name servers", pool.name(), name.server))
        };
        let mut lines: Vec<String> = pending.filter_map(line).collect();
        lines.sort();
        lines
    }

    /// The names without an address, each with its pool and why.
    pub fn unresolved(&self) -> Vec<String> {
        let names = lock(&self.watched.names);
        let mut lines: Vec<String> = names
            .values()
            .filter_map(|name| {
                let why = match &name.result {
                    Some(Ok(())) => return None,
                    Some(Err(why)) => why,
                    None => "no answer yet",
                };
                let pool = name.pool.upgrade()?;
                Some(format!("pool {}: {} does not resolve: {why}", pool.name(), name.server))
            })
            .collect();
        lines.sort();
        lines
    }
}

impl Watched {
    fn take(&self, update: &Update) {
        let mut names = lock(&self.names);
        let Some(name) = names.get_mut(&update.id) else { return };
        let had_address = matches!(name.result, Some(Ok(())));
        match &update.result {
            Ok(_) => name.result = Some(Ok(())),
            // What worked once stays in use.
            Err(error) if !had_address => name.result = Some(Err(error.to_string())),
            Err(_) => {}
        }
        let (pool, server) = (name.pool.upgrade(), name.server.clone());
        drop(names);
        self.answered.notify_all();
        let Some(pool) = pool else { return };
        match &update.result {
            Ok(answer) => {
                let changes = pool.set_addresses(&server, &named_servers(answer));
                say(&pool, &server, update.change, had_address, &changes);
            }
            Err(error) => {
                let rest =
                    if had_address { "its last addresses stay in use" } else { "it has no address yet" };
                log::warn!("pool {}: {server} does not resolve: {error}; {rest}", pool.name());
            }
        }
    }
}

fn say(pool: &PoolState, server: &str, change: Change, had_address: bool, changes: &MemberChanges) {
    if change == Change::Recovered {
        let when = if had_address { "again" } else { "now" };
        log::info!("pool {}: {server} resolves {when}", pool.name());
    }
    for name in &changes.new {
        log::info!("server {}/{name} is new: {server} has this address now", pool.name());
    }
    for name in &changes.gone {
        log::info!("server {}/{name} is gone: {server} does not have this address any more", pool.name());
    }
}

fn query(address: &Address) -> Option<Query> {
    match address {
        Address::Name { host, port } => Some(Query::Host { name: host.clone(), port: *port }),
        Address::Srv(name) => Some(Query::Srv(name.clone())),
        Address::Ip(_) | Address::Unix(_) => None,
    }
}

/// The servers of an answer: of SRV records those of the best priority, and the others as backups (RFC 2782).
fn named_servers(answer: &Answer) -> Vec<NamedServer> {
    let best = answer.servers.iter().map(|server| server.priority).min().unwrap_or(0);
    let heaviest = answer.servers.iter().filter_map(|server| server.weight).max().map_or(0, u32::from);
    let named = |server: &Resolved| NamedServer {
        address: server.address,
        weight: server.weight.map(|weight| scaled(u32::from(weight), heaviest)),
        backup: server.priority > best,
        shows_port: server.weight.is_some(),
    };
    answer.servers.iter().map(named).collect()
}

/// Weights up to the heaviest that a server may have stay as they are; larger ones shrink in proportion. A weight of 0
/// is a small chance (RFC 2782), not none.
fn scaled(weight: u32, heaviest: u32) -> u32 {
    match heaviest > MOST_WEIGHT {
        true => (weight * MOST_WEIGHT / heaviest).max(1),
        false => weight.max(1),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(port: u16, weight: u16, priority: u16) -> Resolved {
        Resolved { address: ([10, 0, 0, 1], port).into(), weight: Some(weight), priority }
    }

    #[test]
    fn servers_of_a_later_priority_are_backups_and_large_weights_shrink() {
        let answer = |servers| Answer { servers, ttl: None, v4_failed: false, v6_failed: false };
        let of = |servers| {
            let named = named_servers(&answer(servers)).into_iter();
            named.map(|server| (server.address.port(), server.weight, server.backup)).collect::<Vec<_>>()
        };
        assert_eq!(
            of(vec![resolved(1, 5, 10), resolved(2, 0, 20)]),
            [(1, Some(5), false), (2, Some(1), true)]
        );
        assert_eq!(of(vec![resolved(1, 60_000, 0), resolved(2, 30_000, 0)])[1].1, Some(128));
    }
}
