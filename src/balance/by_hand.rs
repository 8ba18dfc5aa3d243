//! What operators set while rsp runs. It beats the config until it is set back: over reloads, and while the server is
//! gone.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::server::lock;
use super::state::Administrative;

/// What is set of one server; the rest is as the config says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ByHand {
    pub state: Option<Administrative>,
    pub weight: Option<u32>,
}

/// All servers of the process of which something is set, by pool and server.
#[derive(Default)]
pub struct ByHandTable(Mutex<BTreeMap<(String, String), ByHand>>);

impl ByHandTable {
    pub fn get(&self, pool: &str, server: &str) -> ByHand {
        let table = lock(&self.0);
        table.get(&(pool.to_owned(), server.to_owned())).copied().unwrap_or_default()
    }

    pub fn set(&self, pool: &str, server: &str, by_hand: ByHand) {
        let key = (pool.to_owned(), server.to_owned());
        match by_hand == ByHand::default() {
            true => lock(&self.0).remove(&key),
            false => lock(&self.0).insert(key, by_hand),
        };
    }

    /// The whole table, in the order of the names.
    pub fn all(&self) -> Vec<(String, String, ByHand)> {
        let table = lock(&self.0);
        table.iter().map(|((pool, server), by_hand)| (pool.clone(), server.clone(), *by_hand)).collect()
    }
}
