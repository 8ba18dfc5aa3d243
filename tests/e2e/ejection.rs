//! Ejection by real traffic: a server that fails in a row is left alone for a while, and one request that can be sent
//! again finds out whether it is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::*;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A bad server and a good one, which takes over what the bad one fails.
fn beside(bad: &str, options: &str) -> (Origin, Rsp) {
    let good = Origin::named("good");
    let rsp = web(&[(bad, ""), (&good.address, "")], options);
    (good, rsp)
}

fn ejected(rsp: &Rsp) -> usize {
    rsp.log().matches("is ejected").count()
}

/// The log is written by a thread of its own.
fn expect_ejected(rsp: &Rsp, count: usize) {
    until("the log names the servers that are ejected", || ejected(rsp) >= count);
    assert_eq!(ejected(rsp), count, "{}", rsp.log());
}

fn statuses(rsp: &Rsp, count: usize) -> Vec<u16> {
    (0..count).map(|_| get(rsp.address(), "/").status()).collect()
}

#[test]
fn a_server_that_refuses_is_ejected_after_three_failures_and_comes_back_with_a_probe() {
    let refusing = RefusingAddress::new();
    let (_good, rsp) = beside(&refusing.address, "eject = { pause = '300ms' }");
    // Each goes there first: its second try was the other one's turn.
    assert_eq!((statuses(&rsp, 2), ejected(&rsp)), (vec![200; 2], 0));
    assert_eq!(statuses(&rsp, 1), [200]);
    rsp.wait_for_log(
        "server web/s1 is ejected for 300ms: 3 failures in a row, the last one: Connection refused",
    );
    let origin = Origin::named_at(&refusing.address, "back");
    until("it gets requests again", || get(rsp.address(), "/").text() == "back");
    rsp.wait_for_log("server web/s1 is up again: it answered a request");
    let before = origin.request_count();
    assert_eq!(statuses(&rsp, 10), [200; 10]);
    assert_eq!(origin.request_count() - before, 5, "its whole share");
    assert_eq!((ejected(&rsp), rsp.log().matches("is up again").count()), (1, 1), "{}", rsp.log());
}

#[test]
fn an_ejected_server_gets_no_request_before_its_pause_is_over() {
    let bad = Origin::run(|visit| _ = visit.head());
    let (_good, rsp) = beside(&bad.address, "eject = { pause = '1h' }");
    assert_eq!(statuses(&rsp, 6), [200; 6]);
    rsp.wait_for_log("web/s1 is ejected for 3600s");
    let before = bad.connection_count();
    assert_eq!(statuses(&rsp, 20), [200; 20]);
    assert_eq!((before, bad.connection_count()), (3, 3));
}

#[test]
fn a_server_that_closes_at_once_costs_no_get_an_error_and_is_ejected() {
    for reset in [false, true] {
        let bad = Origin::run(move |visit| {
            if reset {
                visit.reset();
            }
        });
        let (_good, rsp) = beside(&bad.address, "eject = { pause = '1h' }");
        assert_eq!(statuses(&rsp, 20), [200; 20], "reset {reset}");
        expect_ejected(&rsp, 1);
        assert!(bad.connection_count() <= 3, "{}", bad.connection_count());
    }
}

#[test]
fn a_server_that_never_answers_fails_three_requests_and_no_more() {
    let bad = Origin::run(Visit::wait_for_end);
    let (_good, rsp) = beside(&bad.address, "eject = { pause = '200ms' }, timeouts = { response = '300ms' }");
    let statuses: Vec<u16> = statuses(&rsp, 60);
    let failed = statuses.iter().filter(|status| **status == 504).count();
    assert_eq!((failed, statuses.iter().filter(|status| **status == 200).count()), (3, 57));
    rsp.wait_for_log("web/s1 is ejected for 200ms: 3 failures in a row, the last one: the server did not begin to respond in time");
    let tried = bad.connection_count();
    until("a probe of it failed, and another request answered in its place", || {
        assert_eq!(get(rsp.address(), "/").status(), 200);
        bad.connection_count() > tried
    });
    rsp.wait_for_log("web/s1 stays ejected for 400ms");
}

#[test]
fn a_probe_fails_that_gets_an_interim_response_and_no_other() {
    let hints = Arc::new(AtomicBool::new(false));
    let sends = hints.clone();
    let bad = Origin::run(move |visit| {
        if visit.head().is_some() && sends.load(Ordering::SeqCst) {
            visit.send("HTTP/1.1 103 Early Hints\r\n\r\n");
            visit.wait_for_end();
        }
    });
    let (_good, rsp) = beside(&bad.address, "eject = { pause = '200ms' }, timeouts = { response = '300ms' }");
    assert_eq!(statuses(&rsp, 6), [200; 6]);
    expect_ejected(&rsp, 1);
    hints.store(true, Ordering::SeqCst);
    until("one probes it", || {
        let mut client = Client::connect(rsp.address());
        client.ask("/");
        let status = client.head().status();
        status == 103 && client.response().status() == 504
    });
    rsp.wait_for_log(
        "web/s1 stays ejected for 400ms: the probe failed: the server did not begin to respond in time",
    );
}

#[test]
fn a_server_that_answers_500_is_ejected_only_where_the_config_says_so() {
    let bad = Origin::answering("HTTP/1.1 500 Bad\r\nContent-Length: 0\r\n\r\n");
    let (_good, rsp) = beside(&bad.address, "");
    let failed = statuses(&rsp, 20).iter().filter(|status| **status == 500).count();
    assert_eq!((failed, ejected(&rsp)), (10, 0));
    let (_good, rsp) = beside(&bad.address, "eject = { status = '500-599', pause = '1h' }");
    let failed = statuses(&rsp, 20).iter().filter(|status| **status == 500).count();
    expect_ejected(&rsp, 1);
    assert_eq!(failed, 3);
    rsp.wait_for_log("the last one: it answered with 500");
}

#[test]
fn a_4xx_ejects_nobody() {
    let bad = Origin::answering("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
    let (_good, rsp) = beside(&bad.address, "eject = { failures = 1, status = '500-599', error_rate = 0.1 }");
    statuses(&rsp, 60);
    assert_eq!(ejected(&rsp), 0, "{}", rsp.log());
}

#[test]
fn an_error_rate_ejects_a_server_whose_failures_are_not_in_a_row() {
    let bad = Origin::run(|visit| {
        while let Some(request) = visit.request() {
            let failed = request.head.target().ends_with('1');
            visit.send(if failed { "HTTP/1.1 503 Bad\r\nContent-Length: 0\r\n\r\n" } else { OK });
        }
    });
    let (_good, rsp) = beside(
        &bad.address,
        "balance = 'first', eject = { status = '500-599', error_rate = 0.4, failures = 1000, pause = '1h' }",
    );
    let mut client = Client::connect(rsp.address());
    for number in 0..19 {
        client.get(&format!("/{}", number % 2));
    }
    assert_eq!(ejected(&rsp), 0, "fewer than twenty are too few");
    for number in 0..4 {
        client.get(&format!("/{}", number % 2));
    }
    rsp.wait_for_log("web/s1 is ejected for 3600s: 48 % of its requests in the last 10 s failed");
    let before = bad.request_count();
    client.get("/1");
    assert_eq!(bad.request_count(), before);
}

#[test]
fn the_only_server_is_never_ejected() {
    let refusing = RefusingAddress::new();
    let rsp = web(&[(&refusing.address, "")], "");
    assert_eq!(statuses(&rsp, 10), [502; 10]);
    assert_eq!(ejected(&rsp), 0, "{}", rsp.log());
    let _origin = Origin::named_at(&refusing.address, "back");
    assert_eq!(get(rsp.address(), "/").text(), "back", "the very next request");
}

#[test]
fn at_most_half_of_a_pool_is_ejected_and_the_log_says_so_once() {
    let refusing = [(); 3].map(|()| RefusingAddress::new());
    let good = Origin::named("good");
    let mut servers: Vec<(&str, &str)> = refusing.iter().map(|one| (one.address.as_str(), "")).collect();
    servers.push((&good.address, ""));
    let rsp = web(&servers, "retries = 3, retry_budget = 10, eject = { pause = '1h' }");
    for _ in 0..30 {
        assert_eq!(get(rsp.address(), "/").text(), "good");
    }
    expect_ejected(&rsp, 2);
    let line = "stays in use: 3 failures in a row, the last one: Connection refused; 2 of 4 servers of pool web are ejected, no more may be";
    rsp.wait_for_log(line);
    assert_eq!(rsp.log().matches(line).count(), 1, "{}", rsp.log());
}

#[test]
fn eject_false_ejects_nobody() {
    let refusing = RefusingAddress::new();
    let (_good, rsp) = beside(&refusing.address, "eject = false, retry_budget = 10");
    assert_eq!(statuses(&rsp, 20), [200; 20]);
    assert_eq!(ejected(&rsp), 0);
    let _origin = Origin::named_at(&refusing.address, "back");
    let texts: Vec<String> = (0..4).map(|_| get(rsp.address(), "/").text()).collect();
    assert_eq!(texts.iter().filter(|text| *text == "back").count(), 2);
}

#[test]
fn a_pool_whose_servers_are_all_ejected_tries_them_all_the_same() {
    let refusing = [(); 2].map(|()| RefusingAddress::new());
    let rsp =
        web(&refusing.each_ref().map(|one| (one.address.as_str(), "")), "eject = { most = 1, pause = '1h' }");
    assert_eq!(statuses(&rsp, 8), [502; 8]);
    expect_ejected(&rsp, 2);
    let _back = Origin::named_at(&refusing[1].address, "back");
    assert_eq!(get(rsp.address(), "/").text(), "back");
}

#[test]
fn requests_that_wait_for_ejected_servers_get_them_where_there_are_no_others() {
    let slow = ["a", "b"].map(Slow::named);
    let servers = slow.each_ref().map(|slow| (slow.address(), "max_connections = 1"));
    let rsp = web(
        &servers,
        "eject = { most = 1, failures = 1, pause = '1h' }, timeouts = { response = '300ms' },
         queue = { timeout = '60s' }",
    );
    for _ in 0..2 {
        assert_eq!(get(rsp.address(), "/slow").status(), 504);
    }
    expect_ejected(&rsp, 2);
    slow.iter().for_each(|slow| slow.gate.open());
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                for _ in 0..10 {
                    assert_eq!(get(rsp.address(), "/").status(), 200);
                }
            });
        }
    });
}

#[test]
fn a_probe_is_one_request_at_a_time() {
    let gate = Gate::new();
    let opens = gate.clone();
    let bad = Origin::run(move |visit| {
        while visit.request().is_some() && opens.is_open() {
            visit.send(OK);
        }
        // Without an answer until it works again.
        if !opens.is_open() && visit.number > 3 {
            visit.wait_for_end();
        }
    });
    let (_good, rsp) = beside(&bad.address, "eject = { pause = '100ms' }, timeouts = { response = '30s' }");
    assert_eq!(statuses(&rsp, 6), [200; 6]);
    rsp.wait_for_log("web/s1 is ejected");
    let mut probe = Client::connect(rsp.address());
    until("a request probes it", || {
        probe = Client::connect(rsp.address());
        probe.ask("/");
        within(Duration::from_millis(50), || bad.connection_count() == 4)
    });
    assert_eq!(statuses(&rsp, 20), [200; 20], "while it is probed, the other one takes all");
    assert_eq!(bad.connection_count(), 4);
    assert_eq!(probe.response().text(), "good", "and the probe itself");
    gate.open();
    rsp.wait_for_log("stays ejected");
    until("it is back", || get(rsp.address(), "/").text() == "ok");
}

#[test]
fn a_post_is_no_probe() {
    let bad = Origin::run(|visit| _ = visit.head());
    let (_good, rsp) = beside(&bad.address, "eject = { pause = '10ms' }");
    assert_eq!(statuses(&rsp, 6), [200; 6]);
    rsp.wait_for_log("web/s1 is ejected");
    std::thread::sleep(Duration::from_millis(50));
    for _ in 0..10 {
        assert_eq!(Client::connect(rsp.address()).post("/", "x").status(), 200);
    }
    assert_eq!(bad.connection_count(), 3);
}

#[test]
fn a_frozen_server_fails_requests_only_until_it_is_ejected_and_comes_back_when_it_goes_on() {
    let answers = "rsp.on_request(function(req) return rsp.respond { body = 'frozen' } end)";
    let pool = "rsp.pool { servers = { '127.0.0.1:1' } }";
    let frozen = Rsp::start(&on_any_port(&format!("{pool} {answers}")));
    let good = Origin::named("good");
    let servers = [(frozen.address(), ""), (good.address.as_str(), "")];
    let rsp =
        web_of(2, &servers, "eject = { pause = '200ms' }, timeouts = { response = '300ms', idle = '1m' }");
    let (stop, failed, after) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let is_ejected = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = Client::connect(rsp.address());
                while !stop.load(Ordering::SeqCst) {
                    let late = is_ejected.load(Ordering::SeqCst);
                    if client.get("/").status() != 200 {
                        (if late { &after } else { &failed }).fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
        until("both are used", || good.request_count() > 100);
        frozen.signal(libc::SIGSTOP);
        rsp.wait_for_log("web/s1 is ejected");
        is_ejected.store(true, Ordering::SeqCst);
        until("it was probed in vain", || rsp.log().matches("web/s1 stays ejected").count() >= 2);
        frozen.signal(libc::SIGCONT);
        rsp.wait_for_log("web/s1 is up again");
        stop.store(true, Ordering::SeqCst);
    });
    let (failed, after) = (failed.load(Ordering::SeqCst), after.load(Ordering::SeqCst));
    assert!(failed <= 16, "each client once or twice: {failed}");
    assert_eq!(after, 0, "after it was ejected: {}", rsp.log());
}

#[test]
fn several_workers_eject_a_server_once() {
    let refusing = RefusingAddress::new();
    let good = Origin::named("good");
    let servers = [(refusing.address.as_str(), ""), (good.address.as_str(), "")];
    let rsp = Arc::new(web_of(4, &servers, "eject = { pause = '1h' }"));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let rsp = rsp.clone();
            std::thread::spawn(move || statuses(&rsp, 30).iter().all(|status| *status == 200))
        })
        .collect();
    assert!(clients.into_iter().all(|client| client.join().expect("no panic")));
    expect_ejected(&rsp, 1);
}

#[test]
fn the_pause_of_an_ejection_doubles() {
    let bad = Origin::run(|visit| _ = visit.head());
    let (_good, rsp) = beside(&bad.address, "eject = { pause = '50ms' }");
    let since = Instant::now();
    until("four probes failed", || {
        assert_eq!(get(rsp.address(), "/").status(), 200);
        rsp.log().matches("stays ejected").count() >= 4
    });
    assert!(since.elapsed() >= Duration::from_millis(50 + 100 + 200 + 400), "{:?}", since.elapsed());
    for pause in ["100ms", "200ms", "400ms", "800ms"] {
        assert_eq!(
            rsp.log().matches(&format!("web/s1 stays ejected for {pause}:")).count(),
            1,
            "{}",
            rsp.log()
        );
    }
}

#[test]
fn a_server_that_is_always_slow_comes_back_after_a_longer_pause() {
    let address = format!("127.0.0.1:{}", free_port());
    let (_good, rsp) = beside(&address, "eject = { pause = '1s' }, timeouts = { response = '5s' }");
    assert_eq!(statuses(&rsp, 6), [200; 6]);
    rsp.wait_for_log("web/s1 is ejected");
    // Longer than the first probe waits.
    let _slow = Origin::run_at(&address, |visit| {
        while visit.request().is_some() {
            std::thread::sleep(Duration::from_millis(1300));
            visit.send(OK);
        }
    });
    until("it is back", || {
        assert_eq!(get(rsp.address(), "/").status(), 200);
        rsp.log().contains("web/s1 is up again")
    });
}

#[test]
fn servers_that_are_killed_and_restarted_under_load_cost_no_get_an_error() {
    let addresses: Vec<String> = (0..3).map(|_| format!("127.0.0.1:{}", free_port())).collect();
    let mut origins: Vec<Option<Origin>> =
        addresses.iter().map(|address| Some(Origin::named_at(address, "ok"))).collect();
    let servers: Vec<(&str, &str)> = addresses.iter().map(|address| (address.as_str(), "")).collect();
    let rsp = web_of(2, &servers, "eject = { pause = '50ms' }");
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                let mut client = Client::connect(rsp.address());
                while !stop.load(Ordering::SeqCst) {
                    assert_eq!(client.get("/").status(), 200, "{}", rsp.log());
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for round in 0..12 {
            let more = |count| {
                let before = answered.load(Ordering::SeqCst);
                until("the load goes on", || answered.load(Ordering::SeqCst) > before + count);
            };
            more(200);
            origins[round % 3] = None;
            more(200);
            origins[round % 3] = Some(Origin::named_at(&addresses[round % 3], "ok"));
            // It has its share again before the next one is killed.
            let back = origins[round % 3].as_ref().expect("it runs");
            until("it gets requests", || back.request_count() > 20);
        }
        stop.store(true, Ordering::SeqCst);
    });
}
