//! What the old process knows and the new one should not have to learn again. It goes over as one line of JSON, in
//! which either side may know fields that the other does not: they are of different versions.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::balance::{Administrative, ByHand, PoolState, Server, Servers, SitePools};
use crate::control::by_hand;
use crate::script;
use crate::store::{HandedOver, Store};
use crate::tls::RandomKeys;

#[derive(Serialize, Deserialize, Default, PartialEq, Debug)]
#[serde(default)]
pub struct Handover {
    /// The number of the config in use.
    pub generation: u64,
    pub by_hand: Vec<SetByHand>,
    pub added: Vec<Added>,
    /// Servers of the config that are not used: pool and server.
    pub deleted: Vec<(String, String)>,
    /// What the health checks say of those servers that have been checked.
    pub checked: Vec<Checked>,
    /// The keys of session tickets: what the old process sealed, the new one opens.
    pub tickets: Tickets,
    /// What scripts share, as `store` writes and reads it.
    pub store: StoreText,
}

/// What `store::HandedOver` writes: any JSON, since only the store knows what it understands of it. It is not printed:
/// scripts may keep secrets there.
#[derive(Serialize, Deserialize, Default, PartialEq)]
#[serde(transparent)]
pub struct StoreText(serde_json::Value);

impl fmt::Debug for StoreText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreText")
    }
}

/// The random keys of session tickets. They are secret: the channel is a socket between the two processes alone.
#[derive(Serialize, Deserialize, Default, PartialEq)]
#[serde(default)]
pub struct Tickets {
    /// In base64, the newest first.
    keys: Vec<String>,
    /// The second since 1970 at which they change.
    next: u64,
}

impl Tickets {
    fn of_process() -> Tickets {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let RandomKeys { keys, next } = RandomKeys::of_process(now);
        Tickets { keys, next }
    }

    /// Makes them those of this process, before it seals a ticket.
    pub fn adopt(&self) {
        RandomKeys { keys: self.keys.clone(), next: self.next }.adopt();
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tickets({})", self.keys.len())
    }
}

/// What operators have set of a server.
#[derive(Serialize, Deserialize, Default, PartialEq, Debug)]
#[serde(default)]
pub struct SetByHand {
    pub pool: String,
    pub server: String,
    pub state: Option<String>,
    pub weight: Option<u32>,
}

/// A server that operators have added.
#[derive(Serialize, Deserialize, Default, PartialEq, Debug)]
#[serde(default)]
pub struct Added {
    pub pool: String,
    pub server: String,
    pub address: String,
    pub weight: u32,
    pub max_connections: Option<u32>,
    pub backup: bool,
}

#[derive(Serialize, Deserialize, Default, PartialEq, Debug)]
#[serde(default)]
pub struct Checked {
    pub pool: String,
    pub server: String,
    pub up: bool,
}

impl Handover {
    pub fn of(generation: u64, servers: &Servers, pools: &SitePools, store: &Store) -> Handover {
        let by_hand = servers.by_hand().all().into_iter();
        let by_hand = by_hand.map(|(pool, server, ByHand { state, weight })| {
            let state = state.map(|state| state.text().to_owned());
            SetByHand { pool, server, state, weight }
        });
        let checked = pools.pools.iter().flat_map(|pool| checked(pool));
        let added = servers.by_hand().all_added().into_iter();
        let added = added.map(|(pool, server, config)| Added {
            pool,
            server,
            address: config.written,
            weight: config.weight,
            max_connections: config.max_connections,
            backup: config.backup,
        });
        Handover {
            generation,
            by_hand: by_hand.collect(),
            added: added.collect(),
            deleted: servers.by_hand().all_deleted(),
            checked: checked.collect(),
            tickets: Tickets::of_process(),
            store: StoreText(store.hand_over(script::monotonic()).written()),
        }
    }

    /// Sets what was set by hand, before the pools are made.
    pub fn set_by_hand(&self, servers: &Servers) {
        for SetByHand { pool, server, state, weight } in &self.by_hand {
            let state = state.as_deref().and_then(Administrative::from_text);
            servers.by_hand().set(pool, server, ByHand { state, weight: *weight });
        }
        for (pool, server) in &self.deleted {
            servers.by_hand().delete(pool, server, true);
        }
        for Added { pool, server, address, weight, max_connections, backup } in &self.added {
            let Ok(mut config) = by_hand::server(server, address) else { continue };
            (config.weight, config.backup) = (*weight, *backup);
            config.max_connections = *max_connections;
            servers.by_hand().add(pool, config);
        }
    }

    /// Takes what scripts share, before a script is loaded that names it.
    pub fn fill(&self, store: &Store) {
        store.adopt(HandedOver::read(self.store.0.clone()));
    }

    /// Takes the results of checks for the servers that have none.
    pub fn set_checked(&self, pools: &SitePools) {
        for Checked { pool, server, up } in &self.checked {
            let pool = pools.pools.iter().find(|of| of.name() == pool);
            if let Some(pool) = pool {
                pool.set_checked(server, *up);
            }
        }
    }

    pub fn to_line(&self) -> String {
        // Strings, numbers and lists of them cannot fail to be written.
        serde_json::to_string(self).unwrap_or_default()
    }

    pub fn from_line(line: &str) -> Result<Handover, String> {
        serde_json::from_str(line).map_err(|error| error.to_string())
    }
}

fn checked(pool: &PoolState) -> Vec<Checked> {
    let members = pool.members();
    let result = |server: &Arc<Server>| {
        let (pool, name) = (pool.name().to_owned(), server.name().to_owned());
        Some(Checked { pool, server: name, up: server.check_result()? })
    };
    members.iter().filter_map(result).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::balance::ServerState;
    use crate::config::{Address, Balance, Config, Health, HealthKind, PoolConfig, ServerConfig};

    fn config() -> Config {
        let server = |name: &str| {
            ServerConfig::new(name.into(), Address::Ip(([127, 0, 0, 1], 1).into()), "127.0.0.1:1".into())
        };
        let second = Duration::from_secs(1);
        let health =
            Health { kind: HealthKind::Tcp, interval: second, timeout: second, rise: 2, fall: 3, port: None };
        let pool = PoolConfig {
            servers: ["a", "b", "c"].map(server).to_vec(),
            health: Some(health),
            ..PoolConfig::named("web".into(), Balance::RoundRobin)
        };
        Config { pools: vec![Arc::new(pool)], ..Config::default() }
    }

    #[test]
    fn the_new_process_knows_what_the_old_one_knew() {
        let (old, new) = (Servers::new(1), Servers::new(2));
        let pools = old.of(&config());
        pools.pools[0].set_checked("a", true);
        pools.pools[0].set_checked("b", false);
        pools.pools[0].set_by_hand("c", ByHand { state: Some(Administrative::Drain), weight: Some(3) });
        pools.pools[0].add_server(by_hand::server("new", "127.0.0.1:2").unwrap()).unwrap();
        pools.pools[0].delete_server("b");
        let line = Handover::of(7, &old, &pools, &Store::default()).to_line();
        let handover = Handover::from_line(&line).unwrap();
        assert_eq!(handover.generation, 7);
        assert!(!handover.tickets.keys.is_empty(), "sessions are resumed by the new process");
        for key in &handover.tickets.keys {
            assert!(!format!("{handover:?}").contains(key), "keys are not printed");
        }
        handover.set_by_hand(&new);
        let pools = new.of(&config());
        handover.set_checked(&pools);
        let states: Vec<_> = pools.pools[0].members().iter().map(|server| server.state()).collect();
        assert_eq!(states, [ServerState::Up, ServerState::Drain, ServerState::Maint]);
        assert_eq!(pools.pools[0].members()[1].weight(), 3);
    }

    #[test]
    fn other_versions_may_know_more_or_less() {
        let line = r#"{"generation":3,"more":[1],"by_hand":[{"pool":"p","server":"s","state":"gone"}]}"#;
        let handover = Handover::from_line(line).unwrap();
        assert_eq!((handover.generation, handover.by_hand.len(), handover.checked.len()), (3, 1, 0));
        assert!(Handover::from_line("{").is_err());
    }
}
