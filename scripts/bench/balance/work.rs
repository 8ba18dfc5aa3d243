//! Picks to be counted by callgrind, which writes what each call of [`picks`] cost: one for every algorithm and
//! number of servers, in this order.

use std::collections::VecDeque;
use std::hint::black_box;

use rsp::balance::{Picked, Pool, Tried, Want};

use crate::origin::Spec;
use crate::pools::{ALGORITHMS, config, pool, views};
use crate::world::BEGIN;

/// Requests in flight.
const AT_ONCE: usize = 64;

pub fn count(sizes: &[usize], number: usize) {
    // Not inlined: callgrind finds it by its name.
    let picks: fn(&Pool, &mut VecDeque<Picked>, usize) = black_box(picks);
    for size in sizes {
        let servers = vec![Spec::default(); *size];
        let (pools, views) = views(&config(ALGORITHMS[0].1, &servers), 1);
        for (name, balance) in ALGORITHMS {
            let pool = pool(&config(balance, &servers), &pools, &views[0].servers);
            // Made before: with many servers, the allocator would clear up at this moment.
            let mut running = VecDeque::with_capacity(AT_ONCE + 1);
            picks(&pool, &mut running, number);
            println!("picks\t{name}\t{size}\t{number}");
        }
    }
}

/// Picks, and the beginning and end of each request.
fn picks(pool: &Pool, running: &mut VecDeque<Picked>, number: usize) {
    for n in 0..number {
        let now = BEGIN + n as u64;
        let want = Want { now, key: Some(n as u64 * 0x9E37_79B9_7F4A_7C15), may_probe: true, in_turn: false };
        let Ok(picked) = pool.pick(&want, &Tried::default()) else { return };
        picked.server.request_begins();
        pool.requests.begins();
        picked.server.latency.observe(1000, now);
        running.push_back(picked);
        if running.len() > AT_ONCE
            && let Some(oldest) = running.pop_front()
        {
            oldest.server.request_ends();
            pool.requests.ends();
        }
    }
    for picked in running.drain(..) {
        picked.server.request_ends();
        pool.requests.ends();
    }
}
