//! The pools of the process by name: a reload that keeps a pool keeps the object.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use super::by_hand::ByHandTable;
use super::counters::{Former, PoolTotals, ServerTotals};
use super::pool_state::{KnownNames, MemberChanges, PoolState};
use super::queue::Inboxes;
use super::server::{Server, lock};
use crate::config::{Config, PoolConfig};

/// All pools of the process that are in use, by name.
pub struct Servers {
    pub(super) workers: usize,
    pub(super) by_hand: Arc<ByHandTable>,
    pub(super) former: Arc<Former>,
    pub(super) inboxes: Arc<Inboxes>,
    pub(super) known: Mutex<HashMap<String, Weak<PoolState>>>,
}

/// Counters of what the current config does not have.
#[derive(Default)]
pub struct Others {
    /// Of each server: pool, name and counters.
    pub servers: Vec<(String, String, ServerTotals)>,
    pub pools: Vec<(String, PoolTotals)>,
    /// By pool: those of earlier servers together.
    pub rest: HashMap<String, ServerTotals>,
}

/// The pools of a config, in its order.
#[derive(Clone)]
pub struct SitePools {
    pub pools: Vec<Arc<PoolState>>,
    pub inboxes: Arc<Inboxes>,
}

impl Servers {
    pub fn new(workers: usize) -> Servers {
        let (by_hand, former, inboxes) = (Arc::default(), Arc::default(), Arc::new(Inboxes::new(workers)));
        Servers { workers, by_hand, former, inboxes, known: Mutex::default() }
    }

    /// What is set of servers by hand.
    pub fn by_hand(&self) -> &ByHandTable {
        &self.by_hand
    }

    /// The counters of servers and pools that are gone.
    pub fn former(&self) -> &Former {
        &self.former
    }

    /// What was counted at servers and in pools other than the present ones and their members.
    pub fn others(&self, present: &[Arc<PoolState>]) -> Others {
        // Pools that a reload has removed are there as long as a request needs them.
        let known: Vec<Arc<PoolState>> = lock(&self.known).values().filter_map(Weak::upgrade).collect();
        let leaving = known.iter().filter(|pool| !present.iter().any(|of| Arc::ptr_eq(of, pool)));
        let (mut servers, mut pools) = (self.former.servers(), self.former.pools());
        for pool in leaving {
            pools.push((pool.name().to_owned(), pool.totals()));
            let of =
                |server: &Arc<Server>| (pool.name().to_owned(), server.name().to_owned(), server.totals());
            servers.extend(pool.members().iter().map(of));
        }
        Others { servers, pools, rest: self.former.rest() }
    }

    /// Returns the pools of a config. Those that are known stay unchanged until `adopt`.
    pub fn of(&self, config: &Config) -> SitePools {
        let mut known = lock(&self.known);
        known.retain(|_, pool| pool.strong_count() > 0);
        let pools = config.pools.iter().map(|pool| self.find(&mut known, pool)).collect();
        SitePools { pools, inboxes: self.inboxes.clone() }
    }

    /// Makes this config the current one: its pools (from `of`) get its servers. Returns the changes of each pool.
    pub fn adopt(config: &Config, pools: &SitePools, known: KnownNames<'_>) -> Vec<MemberChanges> {
        let pools = config.pools.iter().zip(&pools.pools);
        pools.map(|(config, pool)| pool.set_config(config, known)).collect()
    }

    fn find(&self, known: &mut HashMap<String, Weak<PoolState>>, config: &Arc<PoolConfig>) -> Arc<PoolState> {
        if let Some(pool) = known.get(&config.name).and_then(Weak::upgrade) {
            return pool;
        }
        let pool = Arc::new(PoolState::new(&config.name, self));
        pool.set_config(config, &|_, _| None);
        known.insert(config.name.clone(), Arc::downgrade(&pool));
        pool
    }
}
