//! Names that are watched: what the owner is told, and that a dead name server stops no other name.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use simple_dns::{RCODE, TYPE};

use super::server::Server;
use super::{PATIENT, Scratch, addresses, host, silent};
use crate::control::resolve::{Change, Resolver, ResolverConfig, Update};

const OFTEN: Option<Duration> = Some(Duration::from_millis(100));
/// Far longer than a test takes.
const NEVER: Option<Duration> = Some(Duration::from_secs(3600));

fn start(config: ResolverConfig) -> (Resolver, Receiver<Update>) {
    let (told, updates) = mpsc::channel();
    // The test may be over first.
    let deliver = move |update| drop(told.send(update));
    (Resolver::start(config, deliver).expect("threads"), updates)
}

fn next(updates: &Receiver<Update>) -> Update {
    updates.recv_timeout(PATIENT).expect("an update")
}

/// `app` is 10.0.0.N for N above 0; SERVFAIL for 0. Names that begin with `dead` have no answer. Questions for `app`
/// are counted.
fn server(state: &Arc<AtomicU8>, asked_for: &Arc<AtomicUsize>) -> Server {
    let (state, asked_for) = (state.clone(), asked_for.clone());
    Server::start(move |asked| {
        if asked.name.starts_with("dead") {
            return Vec::new();
        }
        asked_for.fetch_add(1, Ordering::AcqRel);
        match state.load(Ordering::Acquire) {
            0 => asked.fails(RCODE::ServerFailure),
            last if asked.kind == TYPE::A => asked.reply().a("app", 60, [10, 0, 0, last]).sent(),
            _ => asked.reply().sent(),
        }
    })
}

fn wait_for(count: &AtomicUsize, more: usize) {
    let until = count.load(Ordering::Acquire) + more;
    while count.load(Ordering::Acquire) < until {
        std::thread::yield_now();
    }
}

#[test]
fn changes_an_outage_and_its_end_are_told_once_each() {
    let (state, asked) = (Arc::new(AtomicU8::new(1)), Arc::new(AtomicUsize::new(0)));
    let (server, scratch) = (server(&state, &asked), Scratch::new());
    scratch.write("resolv.conf", "options attempts:1\n");
    let (resolver, updates) = start(scratch.config(&[server.address], PATIENT));
    resolver.watch(7, host("app"), OFTEN);
    for (now, change, answer) in [
        (1, Change::Answered, Some("10.0.0.1:80")),
        (0, Change::Failed, None),
        (1, Change::Recovered, Some("10.0.0.1:80")),
        (2, Change::Answered, Some("10.0.0.2:80")),
    ] {
        state.store(now, Ordering::Release);
        let update = next(&updates);
        assert_eq!((update.id, update.change), (7, change));
        assert_eq!(update.result.ok().map(|answer| addresses(&answer)[0].clone()).as_deref(), answer);
        // Two further lookups that tell nothing.
        wait_for(&asked, 4);
        assert!(updates.try_recv().is_err());
    }
}

#[test]
fn a_name_that_is_not_watched_any_more_is_not_told_of() {
    let (state, asked) = (Arc::new(AtomicU8::new(1)), Arc::new(AtomicUsize::new(0)));
    let (server, scratch) = (server(&state, &asked), Scratch::new());
    let (resolver, updates) = start(scratch.config(&[server.address], PATIENT));
    resolver.watch(1, host("app"), OFTEN);
    assert_eq!(next(&updates).id, 1);
    resolver.unwatch(1);
    resolver.watch(2, host("app"), OFTEN);
    assert_eq!(next(&updates).id, 2);
    state.store(2, Ordering::Release);
    assert_eq!(next(&updates).id, 2);
    drop(resolver);
    assert!(updates.iter().next().is_none(), "the resolver is gone, and its end of the channel with it");
}

#[test]
fn a_watch_of_the_same_id_is_replaced() {
    let scratch = Scratch::new();
    scratch.write("hosts", "10.0.0.1 one\n10.0.0.2 two\n");
    let (resolver, updates) = start(scratch.config(&[], PATIENT));
    for (name, address) in [("one", "10.0.0.1:80"), ("two", "10.0.0.2:80")] {
        resolver.watch(1, host(name), NEVER);
        assert_eq!(addresses(&next(&updates).result.unwrap()), [address]);
    }
}

#[test]
fn the_hosts_file_is_read_again_when_it_has_changed() {
    let scratch = Scratch::new();
    scratch.write("hosts", "10.0.0.1 app\n");
    let (resolver, updates) = start(scratch.config(&[], PATIENT));
    resolver.watch(1, host("app"), OFTEN);
    assert_eq!(addresses(&next(&updates).result.unwrap()), ["10.0.0.1:80"]);
    scratch.write("hosts", "10.0.0.2 app\n");
    assert_eq!(addresses(&next(&updates).result.unwrap()), ["10.0.0.2:80"]);
}

#[test]
fn a_thousand_names_without_an_answer_stop_neither_files_nor_a_name_that_works() {
    let (state, asked) = (Arc::new(AtomicU8::new(1)), Arc::new(AtomicUsize::new(0)));
    let (server, scratch) = (server(&state, &asked), Scratch::new());
    scratch.write("hosts", "10.0.0.7 local\n");
    // In turn, the names would take more than an hour.
    let (resolver, updates) = start(scratch.config(&[server.address], PATIENT));
    resolver.watch(1, host("app"), OFTEN);
    assert_eq!(next(&updates).change, Change::Answered);
    for number in 0..1000 {
        resolver.watch(100 + number, host(&format!("dead{number}")), None);
    }
    resolver.watch(2, host("local"), None);
    assert_eq!(addresses(&next(&updates).result.unwrap()), ["10.0.0.7:80"]);
    wait_for(&asked, 4);
    state.store(2, Ordering::Release);
    assert_eq!(addresses(&next(&updates).result.unwrap()), ["10.0.0.2:80"]);
}

#[test]
fn all_names_of_a_dead_name_server_fail_once_each() {
    let ((_socket, dead), scratch) = (silent(), Scratch::new());
    scratch.write("resolv.conf", "options attempts:1\n");
    let (resolver, updates) = start(scratch.config(&[dead], Duration::from_millis(1)));
    for id in 0..100 {
        resolver.watch(id, host(&format!("name{id}")), NEVER);
    }
    let mut failed: Vec<u64> = (0..100).map(|_| next(&updates)).map(|update| update.id).collect();
    failed.sort_unstable();
    assert!(failed.into_iter().eq(0..100));
}

#[test]
fn a_thousand_names_are_answered_by_the_second_name_server_when_the_first_is_dead() {
    let (state, asked) = (Arc::new(AtomicU8::new(1)), Arc::new(AtomicUsize::new(0)));
    let ((_socket, dead), server, scratch) = (silent(), server(&state, &asked), Scratch::new());
    let (resolver, updates) = start(scratch.config(&[dead, server.address], super::SHORT));
    for id in 0..1000 {
        resolver.watch(id, host("app"), NEVER);
    }
    // The dead one, asked first every time, would cost 150 ms for each of them.
    assert!((0..1000).map(|_| next(&updates)).all(|update| update.result.is_ok()));
}
