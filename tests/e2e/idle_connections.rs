//! Idle connections to servers: how many are kept and opened ahead, and how long a server's own limit lets them live.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::*;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// So many requests at once, each of which has a connection of its own.
fn burst(rsp: &Rsp, slow: &Slow, count: usize) {
    let mut clients: Vec<Client> = (0..count).map(|_| Client::connect(rsp.address())).collect();
    clients.iter_mut().for_each(|client| _ = client.ask("/slow"));
    slow.origin.wait_for_requests(count);
    slow.gate.open();
    clients.iter_mut().for_each(|client| assert_eq!(client.response().status(), 200));
}

#[test]
fn no_more_than_max_idle_connections_are_kept() {
    for max_idle in [0, 2] {
        let slow = Slow::named("a");
        let rsp = web(&[(slow.address(), "")], &format!("max_idle = {max_idle}"));
        burst(&rsp, &slow, 6);
        until("the others are closed", || slow.origin.open_count() == max_idle);
        for _ in 0..5 {
            assert_eq!(get(rsp.address(), "/").text(), "a");
        }
        let opened = if max_idle == 0 { 11 } else { 6 };
        assert_eq!(slow.origin.connection_count(), opened);
    }
}

#[test]
fn min_idle_connections_are_open_before_there_are_requests() {
    let origin = Origin::named("a");
    let rsp = web(&[(&origin.address, "")], "min_idle = 3");
    until("three are open", || origin.open_count() == 3);
    assert_eq!(origin.request_count(), 0);
    for _ in 0..5 {
        assert_eq!(get(rsp.address(), "/").text(), "a");
    }
    assert_eq!((origin.connection_count(), origin.open_count()), (3, 3));
}

#[test]
fn min_idle_connections_are_opened_again_when_they_are_closed_or_in_use() {
    let slow = Slow::named("a");
    let rsp = web(&[(slow.address(), "")], "min_idle = 2, timeouts = { idle = '300ms' }");
    until("two are open", || slow.origin.open_count() == 2);
    until("they were replaced", || slow.origin.connection_count() >= 4);
    let mut client = Client::connect(rsp.address());
    client.ask("/slow");
    until("two more are open", || slow.origin.open_count() == 3);
    slow.gate.open();
    assert_eq!(client.response().text(), "a");
}

#[test]
fn min_idle_to_a_server_that_closes_at_once_or_refuses_keeps_nobody_busy() {
    let (closing, refusing) = (Origin::run(|_| ()), RefusingAddress::new());
    let rsp = web(&[(&closing.address, ""), (&refusing.address, "")], "min_idle = 4");
    until("it was tried", || closing.connection_count() >= 4);
    let before = cpu_time(rsp.pid());
    std::thread::sleep(Duration::from_secs(3));
    assert!(closing.connection_count() <= 4 * 5, "{}", closing.connection_count());
    let used = cpu_time(rsp.pid()) - before;
    assert!(used < Duration::from_millis(200), "{used:?}");
    assert_eq!(rsp.log().matches("web/s").count(), 0, "{}", rsp.log());
}

#[test]
fn no_idle_connection_is_kept_to_a_server_that_is_down() {
    let up = Arc::new(AtomicUsize::new(1));
    let is_up = up.clone();
    let origin = Origin::run(move |visit| {
        while let Some(request) = visit.request() {
            let bad = request.head.target() == "/up" && is_up.load(Ordering::SeqCst) == 0;
            visit.send(if bad { "HTTP/1.1 500 Bad\r\nContent-Length: 0\r\n\r\n" } else { OK });
        }
    });
    let rsp = web(&[(&origin.address, "")], "health = { path = '/up', interval = '50ms', fall = 1 }");
    assert_eq!(get(rsp.address(), "/").text(), "ok");
    until("its connection is idle", || origin.open_count() >= 1);
    up.store(0, Ordering::SeqCst);
    rsp.wait_for_log("web/s1 is down");
    // Those of checks come and go.
    until("it is closed", || origin.open_count() == 0);
}

#[test]
fn the_limit_that_a_server_names_is_kept() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\nKeep-Alive: timeout=1, max=100\r\n\r\nok",
    );
    let rsp = web(&[(&origin.address, "")], "");
    let mut client = Client::connect(rsp.address());
    let answer = client.get("/");
    assert_eq!((answer.text().as_str(), answer.get("keep-alive")), ("ok", None));
    let since = Instant::now();
    until("rsp closes it first", || origin.open_count() == 0);
    let age = since.elapsed();
    assert!((Duration::from_millis(600)..Duration::from_millis(1000)).contains(&age), "{age:?}");
    assert_eq!(client.get("/").text(), "ok");
    assert_eq!(origin.connection_count(), 2);
}

#[test]
fn a_named_limit_of_nothing_or_nonsense_breaks_nothing() {
    for value in [
        "timeout=0",
        "timeout=-1",
        "timeout=99999999999999999999",
        "timeout",
        "max=5",
        "timeout=\"1\"",
        ",,=",
    ] {
        let origin = Origin::answering(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: {value}\r\n\r\nok"
        ));
        let rsp = web(&[(&origin.address, "")], "");
        let mut client = Client::connect(rsp.address());
        for method in ["GET", "POST", "GET"] {
            client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"));
            assert_eq!(client.response().text(), "ok", "{value}");
        }
    }
}

/// Closes a connection that was idle for so long, and counts the requests that had come by then.
fn impatient(limit: Duration) -> Origin {
    Origin::run(move |visit| {
        loop {
            visit.wire.socket.set_read_timeout(Some(limit)).expect("a timeout");
            if visit.request().is_none() || !visit.send(OK) {
                return;
            }
        }
    })
}

#[test]
fn a_servers_own_limit_is_learnt_from_when_it_closes_connections() {
    let origin = impatient(Duration::from_millis(300));
    let rsp = web(&[(&origin.address, "")], "");
    let mut client = Client::connect(rsp.address());
    // It closes some, and rsp learns from that.
    for _ in 0..3 {
        assert_eq!(client.get("/").text(), "ok");
        until("it closed the connection", || origin.open_count() == 0);
    }
    assert_eq!(client.get("/").text(), "ok");
    let since = Instant::now();
    until("rsp closes it first", || origin.open_count() == 0);
    let age = since.elapsed();
    assert!((Duration::from_millis(150)..Duration::from_millis(295)).contains(&age), "{age:?}");
}

#[test]
fn requests_around_the_moment_when_a_server_closes_its_connections_are_answered() {
    const LIMIT: u64 = 300;
    let origin = impatient(Duration::from_millis(LIMIT));
    let mut rsp = web_of(2, &[(&origin.address, "")], "");
    let address = rsp.address().to_owned();
    let refused = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..12)
            .map(|number: u64| {
                let address = &address;
                scope.spawn(move || {
                    let (mut client, mut refused) = (Client::connect(address), 0);
                    for round in 0..16 {
                        // From 12 ms before to 12 ms after.
                        let pause = LIMIT - 12 + (number * 7 + round * 5) % 25;
                        std::thread::sleep(Duration::from_millis(pause));
                        match number % 3 {
                            0 => {
                                let path = format!("/post/{number}/{round}");
                                refused += usize::from(client.post(&path, "order").status() != 200);
                            }
                            _ => assert_eq!(client.get("/get").status(), 200),
                        }
                    }
                    refused
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().expect("no panic")).sum::<usize>()
    });
    let mut posts = targets(&origin.requests());
    posts.retain(|target| target.starts_with("/post"));
    posts.sort_unstable();
    let all = posts.len();
    posts.dedup();
    assert_eq!(all, posts.len(), "a POST came twice");
    assert_eq!(refused, 0, "POSTs that failed");
    rsp.signal(libc::SIGTERM);
    rsp.wait_for_exit();
}

#[test]
fn what_a_server_said_unasked_on_an_idle_connection_is_no_answer() {
    let origin = Origin::run(|visit| {
        if visit.request().is_some() {
            visit.send(OK);
            std::thread::sleep(Duration::from_millis(20));
            visit.send("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    let rsp = web(&[(&origin.address, "")], "");
    let mut client = Client::connect(rsp.address());
    for _ in 0..10 {
        assert_eq!(client.get("/").text(), "ok");
        until("it said so", || origin.open_count() == 0);
    }
}
