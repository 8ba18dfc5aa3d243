//! The names of servers while rsp runs: looked up again and again (`resolve`), and each of their addresses is a server of
//! the pool. What a name server does not answer stays as it was.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::balance::{MemberChanges, NamedServer, PoolState, SitePools};
use crate::config::{Address, Config, PoolConfig, ServerConfig};
use crate::control::resolve::{Answer, Change, Query, Resolved, Resolver, ResolverConfig, Update};

/// The heaviest weight of a server; those of SRV records go up to 65535.
const MOST_WEIGHT: u32 = ServerConfig::MOST_WEIGHT;

/// All watched names.
pub struct Names {
    /// Dropped first: it calls the others.
    _resolver: Resolver,
    watched: Arc<Watched>,
}

/// What to look up, and whom to tell.
#[derive(Clone, PartialEq)]
struct Wanted {
    pool: String,
    /// Of the server in the config.
    server: String,
    query: Query,
    every: Option<Duration>,
}

/// What is known of the names. The position of each is its id at the resolver.
pub struct Watched {
    name_server: Option<SocketAddr>,
    names: Mutex<Vec<Name>>,
    answered: Condvar,
}

struct Name {
    wanted: Wanted,
    /// `None` until the config is in use.
    pool: Option<Weak<PoolState>>,
    /// The last servers of the name, once there are some.
    servers: Option<Vec<NamedServer>>,
    /// Why there are none, once a lookup has failed.
    failed: Option<String>,
}

impl Names {
    /// Looks up the names of a config that is not in use yet. What is `known` of them already need not be waited for.
    /// `None` if there are none.
    pub fn start(config: &Config, known: Option<&Watched>) -> io::Result<Option<Names>> {
        let wanted = wanted(config);
        if wanted.is_empty() {
            return Ok(None);
        }
        let name = |wanted: &Wanted| {
            let servers = known.and_then(|known| known.servers(wanted));
            Name { wanted: wanted.clone(), pool: None, servers, failed: None }
        };
        let names = Mutex::new(wanted.iter().map(name).collect());
        let name_server = config.settings.resolver;
        let watched = Arc::new(Watched { name_server, names, answered: Condvar::new() });
        let servers: Vec<SocketAddr> = name_server.into_iter().collect();
        let told = watched.clone();
        let resolver =
            Resolver::start(ResolverConfig { servers, ..ResolverConfig::default() }, move |update| {
                told.take(&update);
            })?;
        for (id, Wanted { query, every, .. }) in (0..).zip(&wanted) {
            resolver.watch(id, query.clone(), *every);
        }
        Ok(Some(Names { _resolver: resolver, watched }))
    }

    /// What is known of the names.
    pub fn watched(&self) -> Arc<Watched> {
        self.watched.clone()
    }

    /// Waits until each name has been looked up once, but not longer than this.
    pub fn wait(&self, most: Duration) {
        let until = Instant::now() + most;
        let mut names = lock(&self.watched.names);
        while names.iter().any(Name::is_pending) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.watched.answered.wait_timeout(names, left);
            names = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The servers of a name, as far as they are known.
    pub fn servers(&self, pool: &str, server: &str) -> Option<Vec<NamedServer>> {
        let names = lock(&self.watched.names);
        let same = |name: &&Name| name.wanted.pool == pool && name.wanted.server == server;
        names.iter().find(same)?.servers.clone()
    }

    /// The config is in use: its pools, which have the servers that are known, get every change from now on. `changes`:
    /// what of each pool's servers has changed by it.
    pub fn serve(&self, pools: &SitePools, changes: &[MemberChanges]) {
        for name in lock(&self.watched.names).iter_mut() {
            let Wanted { pool, server, .. } = &name.wanted;
            let mut pools = pools.pools.iter().zip(changes);
            let Some((state, changes)) = pools.find(|(state, _)| state.name() == pool) else { continue };
            name.pool = Some(Arc::downgrade(state));
            let of_name = |changed: &String| {
                changed.strip_prefix(server.as_str()).is_some_and(|rest| rest.starts_with('/'))
            };
            let new = changes.new.iter().filter(|changed| of_name(changed)).cloned().collect();
            match (&name.servers, &name.failed) {
                (Some(servers), _) => {
                    let later = state.set_addresses(server, servers);
                    say(state, server, &MemberChanges { new, gone: Vec::new() });
                    say(state, server, &later);
                }
                (None, Some(why)) => {
                    log::warn!("pool {pool}: {server} does not resolve: {why}; it has no address yet");
                }
                (None, None) => {}
            }
        }
    }

    /// A line for each name that no lookup of has ended.
    pub fn pending(&self) -> Vec<String> {
        let why =
            |name: &Name| name.is_pending().then(|| "has no answer yet from the name servers".to_owned());
        self.watched.lines(why)
    }

    /// A line for each name without an address, with the reason.
    pub fn unresolved(&self) -> Vec<String> {
        let why = |name: &Name| {
            let why = name.failed.as_deref().unwrap_or("no answer yet");
            name.servers.is_none().then(|| format!("does not resolve: {why}"))
        };
        self.watched.lines(why)
    }
}

/// The names of a config's servers, in its order.
fn wanted(config: &Config) -> Vec<Wanted> {
    let of_pool = |pool: &Arc<PoolConfig>| {
        let name = pool.name.clone();
        let wanted = |server: &ServerConfig| {
            let (pool, server_name) = (name.clone(), server.name.clone());
            Some(Wanted { pool, server: server_name, query: query(&server.address)?, every: server.resolve })
        };
        pool.servers.iter().filter_map(wanted).collect::<Vec<_>>()
    };
    config.pools.iter().flat_map(of_pool).collect()
}

impl Name {
    fn is_pending(&self) -> bool {
        self.servers.is_none() && self.failed.is_none()
    }
}

impl Watched {
    /// Whether the config has the same names and looks them up in the same way.
    pub fn is_of(&self, config: &Config) -> bool {
        let wanted = wanted(config);
        let names = lock(&self.names);
        self.name_server == config.settings.resolver && names.iter().map(|name| &name.wanted).eq(&wanted)
    }

    /// The sorted lines of those names of which there is something to say.
    fn lines(&self, why: impl Fn(&Name) -> Option<String>) -> Vec<String> {
        let line = |name: &Name| {
            let Wanted { pool, server, .. } = &name.wanted;
            Some(format!("pool {pool}: {server} {}", why(name)?))
        };
        let mut lines: Vec<String> = lock(&self.names).iter().filter_map(line).collect();
        lines.sort();
        lines
    }

    /// The last servers of a name.
    fn servers(&self, wanted: &Wanted) -> Option<Vec<NamedServer>> {
        let same = |name: &&Name| {
            let Wanted { pool, server, query, .. } = &name.wanted;
            (pool, server, query) == (&wanted.pool, &wanted.server, &wanted.query)
        };
        lock(&self.names).iter().find(same)?.servers.clone()
    }

    fn take(&self, update: &Update) {
        let mut names = lock(&self.names);
        let Some(name) = names.get_mut(update.id as usize) else { return };
        let had_address = name.servers.is_some();
        let Wanted { pool: pool_name, server, .. } = &name.wanted;
        match &update.result {
            Ok(answer) => {
                let servers = named_servers(answer);
                if update.change == Change::Recovered && name.pool.is_some() {
                    let when = if had_address { "again" } else { "now" };
                    log::info!("pool {pool_name}: {server} resolves {when}");
                }
                if let Some(pool) = name.pool.as_ref().and_then(Weak::upgrade) {
                    say(&pool, server, &pool.set_addresses(server, &servers));
                }
                name.servers = Some(servers);
            }
            Err(error) => {
                let rest =
                    if had_address { "its last addresses stay in use" } else { "it has no address yet" };
                // Of a config that may never be used there is nothing to say.
                if name.pool.is_some() {
                    log::warn!("pool {pool_name}: {server} does not resolve: {error}; {rest}");
                }
                name.failed = Some(error.to_string());
            }
        }
        drop(names);
        self.answered.notify_all();
    }
}

fn say(pool: &PoolState, server: &str, changes: &MemberChanges) {
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
        Address::Ip(_) | Address::Unix(_) | Address::Systemd(_) => None,
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
