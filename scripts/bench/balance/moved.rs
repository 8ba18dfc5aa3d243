//! How many keys go to another server when one of a hundred is taken out.

use rsp::balance::algorithm::Random;
use rsp::balance::{Pool, Servers, Tried, Want};
use rsp::config::Balance;

use crate::keys::hash;
use crate::origin::Spec;
use crate::pools::{config, views};
use crate::world::BEGIN;

const SERVERS: usize = 100;
const KEYS: usize = 100_000;

/// The share of the keys that have another server than before.
pub fn share(balance: Balance, seed: u64) -> f64 {
    let mut config = config(balance, &[Spec::default(); SERVERS]);
    let (pools, views) = views(&config, 1);
    let before = homes(&views[0].pool);
    let pool = std::sync::Arc::make_mut(&mut config.pools[0]);
    pool.servers.remove(Random::new(seed).below(SERVERS));
    Servers::adopt(&config, &pools, &|_, _| None);
    let now = homes(&views[0].pool);
    let moved = before.iter().zip(&now).filter(|(before, now)| before != now).count();
    moved as f64 / KEYS as f64
}

/// The server of each key in an idle pool.
fn homes(pool: &Pool) -> Vec<u64> {
    let home = |number| {
        let want = Want { now: BEGIN, key: Some(hash(number)), may_probe: false, in_turn: false };
        pool.pick(&want, &Tried::default()).map_or(0, |picked| picked.server.identity())
    };
    (0..KEYS).map(home).collect()
}
