//! What holds for every algorithm: nothing is picked from nothing, the unusable never, and no input panics.

use super::super::{
    Balancer, First, Hash, LeastConnections, LeastLatency, RoundRobin, SourceHash, TwoChoices,
};
use super::{Bench, server};

pub fn every() -> [(&'static str, Balancer); 7] {
    [
        ("round_robin", Balancer::RoundRobin(RoundRobin::default())),
        ("least_connections", Balancer::LeastConnections(LeastConnections::default())),
        ("least_latency", Balancer::LeastLatency(LeastLatency::default())),
        ("random", Balancer::Random(TwoChoices::default())),
        ("first", Balancer::First(First)),
        ("source_hash", Balancer::SourceHash(SourceHash::default())),
        ("hash", Balancer::Hash(Hash::default())),
    ]
}

/// Benches of every algorithm, with and without a key.
pub fn benches(weights: &[u32]) -> impl Iterator<Item = (&'static str, Bench<Balancer>)> {
    let keys = [None, Some(5)];
    keys.into_iter().flat_map(|key| every().map(|(name, balancer)| (name, balancer, key))).map(
        |(name, balancer, key)| {
            let mut bench = Bench::new(balancer, weights);
            bench.key = key;
            (name, bench)
        },
    )
}

#[test]
fn an_empty_pool_and_a_pool_of_one_are_pools() {
    for (name, mut bench) in benches(&[]) {
        assert_eq!(bench.pick_if(|_| true), None, "{name}");
    }
    for (name, mut bench) in benches(&[256]) {
        assert_eq!(bench.picks(3), [0; 3], "{name}");
        assert_eq!(bench.pick_if(|_| false), None, "{name}");
        assert_eq!(bench.picks(1), [0], "{name}");
    }
}

#[test]
fn only_usable_servers_are_picked_and_any_of_them_is_found() {
    for size in [2, 3, 5, 20, 300] {
        for (name, mut bench) in benches(&vec![256; size]) {
            assert_eq!(bench.pick_if(|_| false), None, "{name}");
            for _ in 0..100 {
                let only = bench.random.below(size);
                assert_eq!(bench.pick_if(|at| at == only), Some(only), "{name}, {size} servers");
                let picked = bench.pick_if(|at| at != only);
                assert!(picked.is_some() && picked != Some(only), "{name}, {size} servers");
            }
        }
    }
}

#[test]
fn picks_are_the_same_for_the_same_history() {
    let weights: Vec<u32> = (0..40).map(|n| 1 + n * 7).collect();
    for ((name, mut one), (_, mut other)) in benches(&weights).zip(benches(&weights)) {
        (0..300).for_each(|_| one.begin());
        (0..300).for_each(|_| other.begin());
        assert_eq!(one.loads(), other.loads(), "{name}");
    }
}

#[test]
fn a_list_that_changed_without_a_rebuild_does_no_harm() {
    for (name, mut bench) in benches(&[256; 20]) {
        bench.picks(3);
        bench.servers.truncate(5);
        bench.load(2, 1);
        assert!(bench.picks(20).iter().all(|at| *at < 5), "{name}");
        bench.servers.extend((10..30).map(|number| server(number, 256)));
        assert!(bench.picks(20).iter().all(|at| *at < 25), "{name}");
        bench.servers.clear();
        assert_eq!(bench.pick_if(|_| true), None, "{name}");
    }
}

#[test]
fn no_value_of_a_server_and_no_change_of_the_list_panics() {
    const EXTREMES: [u32; 8] = [0, 1, 2, 255, 256, 65_536, 65_537, u32::MAX];
    for (name, mut bench) in benches(&[256; 3]) {
        for step in 0..2000 {
            let (length, at) = (bench.servers.len(), bench.random.below(bench.servers.len()));
            let extreme = EXTREMES[bench.random.below(8)];
            match bench.random.below(8) {
                0 if length < 40 => bench.servers.insert(at, server(bench.random.below(60), extreme)),
                1 if length > 1 => drop(bench.servers.remove(at)),
                2 => bench.servers[at].weight.set(extreme),
                3 => bench.servers[at].in_flight.set(extreme),
                4 => bench.servers[at].latency.set(Some(u64::from(extreme) << bench.random.below(33))),
                5 => bench.load(at, if extreme > 255 { -1 } else { 1 }),
                6 => bench.key = bench.key.map(|_| bench.random.bits()),
                _ => bench.rebuild(),
            }
            let excluded = bench.random.below(5);
            let picked = bench.pick_if(|at| at % 5 != excluded);
            let some = (0..bench.servers.len()).any(|at| at % 5 != excluded);
            assert!(picked.is_some() == some && picked.is_none_or(|at| at % 5 != excluded), "{name}, {step}");
        }
    }
}
