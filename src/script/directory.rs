//! Names of pools and servers in scripts: resolves the values that handlers return.

use std::collections::{HashMap, HashSet};
use std::ffi::c_void;

use super::nearest;
use crate::config::{Config, PoolId, ServerId};

#[derive(Default)]
pub struct Directory {
    pools: Vec<PoolNames>,
    by_name: Vec<(String, PoolId)>,
    by_identity: Vec<(*const c_void, PoolId)>,
}

struct PoolNames {
    name: String,
    /// Those of the config.
    configured: Vec<ServerNames>,
    /// Those in use, in the order of the pool, and after them those of the config that are not.
    servers: Vec<ServerNames>,
    in_use: usize,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerNames {
    pub name: String,
    /// As written in the config; of a name, the address that it has now.
    pub address: String,
}

impl Directory {
    /// `identities[i]` is the address of the Lua value that `rsp.pool` returned for pool `i`; the values must be kept
    /// alive as long as this is used.
    pub fn new(config: &Config, identities: &[*const c_void]) -> Directory {
        let ids = || (0..).map(PoolId);
        let mut by_name: Vec<_> = config.pools.iter().map(|p| p.name.clone()).zip(ids()).collect();
        let mut by_identity: Vec<_> = identities.iter().copied().zip(ids()).collect();
        by_name.sort_by(|(a, _): &(String, PoolId), (b, _)| a.cmp(b));
        by_identity.sort_by_key(|(identity, _)| *identity);
        Directory {
            pools: config.pools.iter().map(|pool| PoolNames::new(pool)).collect(),
            by_name,
            by_identity,
        }
    }

    pub fn pools(&self) -> usize {
        self.pools.len()
    }

    pub fn servers(&self, pool: PoolId) -> &[ServerNames] {
        self.pools.get(pool.0 as usize).map_or(&[], |p| &p.servers)
    }

    /// The servers that the pool uses now.
    pub fn in_use(&self, pool: PoolId) -> &[ServerNames] {
        self.pools.get(pool.0 as usize).map_or(&[], |p| &p.servers[..p.in_use])
    }

    /// Sets the servers that the pool uses now.
    pub fn set_in_use(&mut self, pool: PoolId, in_use: Vec<ServerNames>) {
        let Some(pool) = self.pools.get_mut(pool.0 as usize) else { return };
        let configured: HashMap<&str, &ServerNames> =
            pool.configured.iter().map(|s| (s.name.as_str(), s)).collect();
        let known = |server: ServerNames| match configured.get(server.name.as_str()) {
            Some(configured) => (*configured).clone(),
            None => server,
        };
        let mut servers: Vec<ServerNames> = in_use.into_iter().map(known).collect();
        let names: HashSet<&str> = servers.iter().map(|s| s.name.as_str()).collect();
        let others = pool.configured.iter().filter(|s| !names.contains(s.name.as_str()));
        let others: Vec<ServerNames> = others.cloned().collect();
        pool.in_use = servers.len();
        servers.extend(others);
        pool.servers = servers;
    }

    pub fn pool_name(&self, pool: PoolId) -> &str {
        self.pools.get(pool.0 as usize).map_or("", |p| &p.name)
    }

    pub fn pool_of(&self, identity: *const c_void) -> Option<PoolId> {
        let at = self.by_identity.binary_search_by_key(&identity, |(identity, _)| *identity).ok()?;
        Some(self.by_identity[at].1)
    }

    pub fn pool_named(&self, name: &[u8]) -> Result<PoolId, String> {
        match self.by_name.binary_search_by(|(known, _)| known.as_bytes().cmp(name)) {
            Ok(at) => Ok(self.by_name[at].1),
            Err(_) => Err(format!("no pool is named {}, {}", quoted(name), self.pool_hint(name))),
        }
    }

    fn pool_hint(&self, name: &[u8]) -> String {
        nearest::hint(name, self.pools.iter().map(|p| p.name.as_str()))
    }

    /// A server by its name or its address.
    pub fn server_named(&self, pool: PoolId, name: &[u8]) -> Result<ServerId, String> {
        let servers = self.servers(pool);
        let named = servers.iter().position(|s| s.name.as_bytes() == name);
        let found = named.or_else(|| servers.iter().position(|s| s.address.as_bytes() == name));
        found.map(|at| ServerId(at as u32)).ok_or_else(|| {
            let hint = nearest::hint(name, servers.iter().map(|s| s.name.as_str()));
            format!("pool \"{}\" has no server {}, {hint}", self.pool_name(pool), quoted(name))
        })
    }
}

impl PoolNames {
    fn new(pool: &crate::config::PoolConfig) -> PoolNames {
        let server = |s: &crate::config::ServerConfig| ServerNames {
            name: s.name.clone(),
            address: s.written.clone(),
        };
        let servers: Vec<ServerNames> = pool.servers.iter().map(server).collect();
        PoolNames { name: pool.name.clone(), configured: servers.clone(), in_use: servers.len(), servers }
    }
}

/// A script's text, quoted for a message.
pub fn quoted(text: &[u8]) -> String {
    format!("\"{}\"", text[..text.len().min(100)].escape_ascii())
}
