//! The scenarios, by name; `NAME:NUMBER` changes the one thing that a curve is drawn over.

use rsp::balance::algorithm::Random;

use crate::keys::Popularity;
use crate::origin::{Fault, Spec};
use crate::world::{Episode, Load, SECOND, Setup};

/// The mean service time of a server of speed 1, in microseconds.
const SERVICE: f64 = 10_000.0;

/// Returns the scenario of this name; `number` is 70 (percent of load), or what the scenario says.
pub fn scenario(name: &str, number: Option<f64>) -> Option<Setup> {
    let load = number.unwrap_or(70.0) / 100.0;
    let count = |default: usize| number.map_or(default, |number| number as usize);
    Some(match name {
        "equal" => open(equal(10), load),
        "speeds" => open(speeds([1, 1, 1]), load),
        "weights" => open(speeds([1, 2, 4]), load),
        "limits" => {
            let limited = |spec| Spec { max_connections: Some(2), ..spec };
            open(speeds([1, 1, 1]).into_iter().map(limited).collect(), load)
        }
        // As many requests, however many servers.
        "servers" => {
            let seconds = (6000 / count(100) as u64).clamp(10, 60);
            Setup { seconds, ..open(equal(count(100)), 0.7) }
        }
        "workers" => Setup { workers: count(2), ..open(equal(10), 0.7) },
        "zipf" => Setup { keys: (10_000, Popularity::Zipf), ..open(equal(20), load) },
        "hot" => Setup {
            keys: (10_000, Popularity::OneHot(0.5)),
            load: Load::Closed(100),
            ..open(equal(count(10)), 0.0)
        },
        "slow" => {
            let episode = Episode { server: 3, fault: Fault::Slow(10.0), from: 20, until: 40 };
            Setup { episodes: vec![episode], timeout: 60, ..open(equal(10), 0.5) }
        }
        "failures" => {
            let killed = Episode { server: 3, fault: Fault::Refuses, from: 10, until: 20 };
            let stopped = Episode { server: 7, fault: Fault::Freezes, from: 30, until: 40 };
            Setup { episodes: vec![killed, stopped], ..open(equal(10), 0.5) }
        }
        "outage" => outage(),
        "thousands" => thousands(count(10_000)),
        _ => return None,
    })
}

/// At this share of the servers' capacity.
fn open(servers: Vec<Spec>, load: f64) -> Setup {
    let rate = load * capacity(&servers) * SECOND as f64 / SERVICE;
    Setup {
        workers: 2,
        servers,
        load: Load::Open(rate),
        keys: (10_000, Popularity::Even),
        service: SERVICE,
        seconds: 60,
        episodes: Vec::new(),
        timeout: 1,
    }
}

fn capacity(servers: &[Spec]) -> f64 {
    servers.iter().map(|spec| spec.speed * spec.lanes as f64).sum()
}

fn equal(count: usize) -> Vec<Spec> {
    vec![Spec::default(); count]
}

fn speeds(weights: [u32; 3]) -> Vec<Spec> {
    let server = |(speed, weight)| Spec { speed, weight, ..Spec::default() };
    [1.0, 2.0, 4.0].into_iter().zip(weights).map(server).collect()
}

/// All servers refuse for ten seconds under 2,000 requests a second.
fn outage() -> Setup {
    let servers = vec![Spec { lanes: 100, ..Spec::default() }; 4];
    let refuses = |server| Episode { server, fault: Fault::Refuses, from: 10, until: 20 };
    let episodes = (0..4).map(refuses).collect();
    Setup { load: Load::Open(2000.0), seconds: 30, episodes, ..open(servers, 0.0) }
}

/// Servers of three speeds; slow ones, so that the requests are not too many to simulate.
fn thousands(count: usize) -> Setup {
    let mut random = Random::new(1);
    let server = |_| Spec { speed: [1.0, 2.0, 4.0][random.below(3)], ..Spec::default() };
    let servers: Vec<Spec> = (0..count).map(server).collect();
    let service = 50.0 * SERVICE;
    let rate = 0.7 * capacity(&servers) * SECOND as f64 / service;
    let keys = (1_000_000, Popularity::Even);
    Setup { workers: 4, load: Load::Open(rate), service, seconds: 20, keys, ..open(servers, 0.0) }
}
