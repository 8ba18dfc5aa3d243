//! The work of a pick: at how many servers an algorithm looks, counted instead of timed.

use std::cell::Cell;
use std::rc::Rc;

use super::super::{Algorithm, Balancer, Pick};
use super::Bench;
use super::every::benches;

const REQUESTS: usize = 2000;

/// How often servers are looked at per request that begins and ends, including the questions whether they are usable.
fn looks(bench: &mut Bench<Balancer>) -> f64 {
    let looks = Rc::new(Cell::new(0));
    for server in &mut bench.servers {
        let server = Rc::get_mut(server).expect("not shared");
        server.looks = looks.clone();
        server.latency.set(Some(1000));
    }
    for _ in 0..REQUESTS {
        let (keyed, bits) = (bench.key.is_some(), bench.random.bits());
        let key = keyed.then_some(bits);
        let mut pick = Pick { now: 0, key, in_flight: 0, random: &mut bench.random };
        let usable = |_| {
            looks.set(looks.get() + 1);
            true
        };
        let at = bench.algorithm.pick(&bench.servers, &mut pick, usable).expect("a server");
        bench.load(at, 1);
        bench.load(at, -1);
    }
    looks.get() as f64 / REQUESTS as f64
}

#[test]
fn a_pick_of_ten_thousand_servers_looks_at_as_many_as_one_of_two() {
    for ((name, mut few), (_, mut many)) in benches(&[256; 2]).zip(benches(&[256; 10_000])) {
        let (few, many) = (looks(&mut few), looks(&mut many));
        assert!(many <= 1.5 * few, "{name}: {few} looks with two servers, {many} with ten thousand");
    }
}

#[test]
fn different_weights_take_no_more_looks() {
    let weights: Vec<u32> = (0..10_000).map(|n| 1 + n % 256).collect();
    for ((name, mut few), (_, mut many)) in benches(&[256, 100]).zip(benches(&weights)) {
        let (few, many) = (looks(&mut few), looks(&mut many));
        assert!(many <= 1.5 * few, "{name}: {few} looks with two servers, {many} with ten thousand");
    }
}
