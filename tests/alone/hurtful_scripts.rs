//! Scripts that would hurt, again and again: each call costs its own request the fallback pool, others are served as
//! before, and no memory is left behind. A few times in a plain test run; `scripts/soak --scripts` does each a thousand
//! times, in release, and judges the times too.

use std::time::Duration;

use crate::alone;
use crate::load_with_faults::{healthy_by, say};
use crate::support::*;

const ROUNDS: usize = 3;
/// Until the VM and the tables have their final size.
const FIRST: usize = 25;
/// The 99th percentile of the others, where times are judged.
const MOST: Duration = Duration::from_millis(50);
/// What the process may keep: allocator pages that hold something small, and garbage of the last calls.
const MEMORY_SLACK_KIB: u64 = 8 * 1024;

/// How often each is done, where it is a soak.
fn soak() -> Option<usize> {
    std::env::var("RSP_SOAK_ROUNDS").ok()?.parse().ok()
}

/// Asks for each thing in turn; the fallback pool answers.
fn hurt(rsp: &Rsp, rounds: usize) {
    let mut client = Client::connect(rsp.address());
    for round in 0..rounds {
        for (index, body) in HURTFUL.iter().enumerate() {
            let answer = client.get(&format!("/{}", index + 1));
            assert_eq!((answer.status(), answer.text().as_str()), (200, "fine"), "{body}, round {round}");
        }
    }
}

/// Clients whose handlers wait. In a soak half of them stay until the handlers have waited for too long.
fn wait(rsp: &Rsp, count: usize, meanwhile: impl FnOnce()) {
    let mut clients: Vec<Client> = (0..count).map(|_| Client::connect(rsp.address())).collect();
    clients.iter_mut().for_each(|client| _ = client.ask(WAITING));
    meanwhile();
    let stay = if soak().is_some() { count / 2 } else { 0 };
    for mut client in clients.drain(..stay) {
        assert_eq!(client.response().text(), "fine", "the fallback pool takes it");
    }
}

#[test]
fn scripts_that_hurt_cost_their_own_requests_only_and_leave_no_memory_behind() {
    let _alone = alone();
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine");
    let rsp = Rsp::start(&hurtful_config(&origin, "rsp.settings { fallback = 'pool1' }"));
    let rounds = soak().unwrap_or(ROUNDS);
    let connect = || Client::connect(rsp.address());
    let quiet = healthy_by(&connect, || std::thread::sleep(Duration::from_secs(1)));
    wait(&rsp, rounds, || hurt(&rsp, FIRST));
    let memory = settled_memory_kib(rsp.pid());
    let mut others = Default::default();
    wait(&rsp, rounds, || others = healthy_by(&connect, || hurt(&rsp, rounds)));
    let kept = settled_memory_kib(rsp.pid());
    say("quiet", &quiet.times);
    let p99 = say("others", &others.times);
    println!("{} things {rounds} times each: {memory} KiB before, {kept} KiB after", HURTFUL.len());
    let errors = [quiet.errors, others.errors].concat();
    assert!(errors.is_empty(), "{} errors, the first: {}", errors.len(), errors[0]);
    assert!(kept <= memory + MEMORY_SLACK_KIB, "{memory} KiB before, {kept} KiB after");
    assert!(soak().is_none() || p99 <= MOST, "the others waited {p99:?}");
    assert!(!rsp.log().contains("it went through"), "{}", rsp.log());
}
