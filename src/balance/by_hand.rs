//! What operators set while rsp runs. It beats the config until it is set back: over reloads, and while the server is
//! gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use super::server::lock;
use super::state::Administrative;
use crate::config::ServerConfig;

/// What is set of one server; the rest is as the config says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ByHand {
    pub state: Option<Administrative>,
    pub weight: Option<u32>,
}

/// Servers that operators may add to the process.
pub const MOST_ADDED: usize = 4096;

/// By pool and server.
type Names = (String, String);

/// All servers of the process of which something is set, that were added to the config's, or taken from them.
#[derive(Default)]
pub struct ByHandTable {
    set: Mutex<BTreeMap<Names, ByHand>>,
    added: Mutex<BTreeMap<Names, ServerConfig>>,
    deleted: Mutex<BTreeSet<Names>>,
}

impl ByHandTable {
    pub fn get(&self, pool: &str, server: &str) -> ByHand {
        let table = lock(&self.set);
        table.get(&(pool.to_owned(), server.to_owned())).copied().unwrap_or_default()
    }

    pub fn set(&self, pool: &str, server: &str, by_hand: ByHand) {
        let key = (pool.to_owned(), server.to_owned());
        match by_hand == ByHand::default() {
            true => lock(&self.set).remove(&key),
            false => lock(&self.set).insert(key, by_hand),
        };
    }

    /// The whole table, in the order of the names.
    pub fn all(&self) -> Vec<(String, String, ByHand)> {
        let table = lock(&self.set);
        table.iter().map(|((pool, server), by_hand)| (pool.clone(), server.clone(), *by_hand)).collect()
    }

    /// A server that was added. One of the same name in the config is not used.
    pub fn added(&self, pool: &str, server: &str) -> Option<ServerConfig> {
        lock(&self.added).get(&(pool.to_owned(), server.to_owned())).cloned()
    }

    /// Returns false if there are too many.
    pub fn add(&self, pool: &str, server: ServerConfig) -> bool {
        let mut added = lock(&self.added);
        let key = (pool.to_owned(), server.name.clone());
        if added.len() >= MOST_ADDED && !added.contains_key(&key) {
            return false;
        }
        lock(&self.deleted).remove(&key);
        added.insert(key, server);
        true
    }

    /// Removes one that was added, or leaves out one of the config.
    pub fn delete(&self, pool: &str, server: &str, is_configured: bool) {
        let key = (pool.to_owned(), server.to_owned());
        lock(&self.added).remove(&key);
        lock(&self.set).remove(&key);
        if is_configured {
            lock(&self.deleted).insert(key);
        }
    }

    pub fn is_deleted(&self, pool: &str, server: &str) -> bool {
        lock(&self.deleted).contains(&(pool.to_owned(), server.to_owned()))
    }

    pub fn all_added(&self) -> Vec<(String, String, ServerConfig)> {
        let added = lock(&self.added);
        added.iter().map(|((pool, name), server)| (pool.clone(), name.clone(), server.clone())).collect()
    }

    pub fn all_deleted(&self) -> Vec<(String, String)> {
        lock(&self.deleted).iter().cloned().collect()
    }

    /// The servers of a pool: those of its config, as far as they are not deleted, and those that were added.
    pub fn servers(&self, pool: &str, configured: &[ServerConfig]) -> Vec<ServerConfig> {
        let (added, deleted) = (lock(&self.added), lock(&self.deleted));
        if added.is_empty() && deleted.is_empty() {
            return configured.to_vec();
        }
        let of_pool: Vec<&ServerConfig> =
            added.iter().filter(|((of, _), _)| of == pool).map(|(_, server)| server).collect();
        let stays = |server: &&ServerConfig| {
            !deleted.contains(&(pool.to_owned(), server.name.clone()))
                && !of_pool.iter().any(|added| added.name == server.name)
        };
        configured.iter().filter(stays).chain(of_pool.iter().copied()).cloned().collect()
    }
}
