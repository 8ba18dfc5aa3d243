//! Two hundred clients at once, each with its own bodies: nobody gets another's bytes.

use std::time::Duration;

use crate::alone;
use crate::support::*;

const CLIENTS: u64 = 200;

fn all_at_once(address: &str, act: impl Fn(&str, u64) + Send + Sync) {
    std::thread::scope(|scope| {
        let act = &act;
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let small = std::thread::Builder::new().stack_size(256 << 10);
                small.spawn_scoped(scope, move || act(address, number)).expect("a thread")
            })
            .collect();
        let failed = clients.into_iter().filter_map(|client| client.join().err()).count();
        assert_eq!(failed, 0, "{failed} of {CLIENTS} clients failed");
    });
}

#[test]
fn two_hundred_concurrent_downloads_are_not_mixed_up() {
    let _alone = alone();
    let origins = [bodies(Uploads::default()), bodies(Uploads::default())];
    let rsp = Rsp::over(&[&origins[0].address, &origins[1].address]);
    all_at_once(rsp.address(), |address, number| {
        let mut client = match number % 4 {
            0 => Client::connect_with_small_buffer(address),
            _ => Client::connect(address),
        };
        for round in 0..5 {
            let (seed, size) = (number * 100 + round, 100_000 + number * 1_000 + round);
            let framing = ["length", "chunked"][(number % 2) as usize];
            let answer = client.get(&format!("/{framing}/{size}/{seed}"));
            assert_eq!(hash_of(&answer.body), content_hash(seed, size), "client {number}, round {round}");
            if number % 8 == 0 {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    });
}

#[test]
fn two_hundred_concurrent_uploads_are_not_mixed_up() {
    let _alone = alone();
    let origins = [bodies(Uploads::default()), bodies(Uploads::default())];
    let rsp = Rsp::over(&[&origins[0].address, &origins[1].address]);
    all_at_once(rsp.address(), |address, number| {
        let mut client = Client::connect(address);
        for round in 0..3 {
            let (seed, size) = (number * 100 + round, 100_000 + number * 1_000 + round);
            let answer = client.post("/", content_bytes(seed, size));
            assert_eq!(answer.text(), format!("{size} {}", content_hash(seed, size)), "client {number}");
        }
    });
}

#[test]
fn two_hundred_concurrent_echoes_are_not_mixed_up() {
    let _alone = alone();
    let origin = Origin::echo();
    let rsp = Rsp::over(&[&origin.address]);
    all_at_once(rsp.address(), |address, number| {
        let mut client = Client::connect(address);
        for round in 0..10 {
            let text = format!("client {number} round {round} {}", "x".repeat(number as usize * 7));
            assert_eq!(client.post("/", &text).text(), text);
        }
    });
}

#[test]
fn descriptors_are_closed_after_many_clients() {
    let _alone = alone();
    let origin = bodies(Uploads::default());
    let config =
        format!("rsp.pool {{ servers = {{ {:?} }}, timeouts = {{ idle = \"500ms\" }} }}", origin.address);
    let rsp = Rsp::start(&on_any_port(&config));
    get(rsp.address(), "/length/10/1");
    until("the connections of the first request are gone", || origin.open_count() == 0);
    let before = descriptors(rsp.pid());
    for _ in 0..3 {
        all_at_once(rsp.address(), |address, number| {
            get(address, &format!("/length/50000/{number}"));
        });
    }
    until("the descriptors are back", || descriptors(rsp.pid()) <= before);
}

#[test]
fn at_the_limit_of_connections_others_wait_and_are_then_served() {
    let _alone = alone();
    let origin = Origin::named("ok");
    let config = format!("{}rsp.settings {{ max_connections = 10 }}", balanced(&[&origin.address]));
    let rsp = Rsp::start(&config);
    let mut holding: Vec<Client> = (0..10).map(|_| Client::connect(rsp.address())).collect();
    for client in &mut holding {
        assert_eq!(client.get("/").text(), "ok");
    }
    let mut waiting = Client::connect(rsp.address());
    assert!(waiting.ask("/").stays_open(Duration::from_millis(300)), "an eleventh connection was taken");
    holding.pop();
    assert_eq!(waiting.response().text(), "ok");
    assert_eq!(holding[0].get("/").text(), "ok");
}
