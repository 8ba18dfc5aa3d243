//! Health checks: what decides about a server, and what becomes of requests meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::*;

const NONE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const BAD: &str = "HTTP/1.1 503 Bad\r\nContent-Length: 0\r\n\r\n";

/// An origin whose `/up` answers what the test says now; everything else is answered with its name.
struct Checked {
    origin: Origin,
    good: Arc<AtomicUsize>,
    checks: Arc<AtomicUsize>,
}

impl Checked {
    fn named(name: &str) -> Checked {
        let (good, checks) = (Arc::new(AtomicUsize::new(1)), Arc::<AtomicUsize>::default());
        let (is_good, count) = (good.clone(), checks.clone());
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
        let origin = Origin::run(move |visit| {
            while let Some(head) = visit.head() {
                let up = head.target() == "/up";
                count.fetch_add(usize::from(up), Ordering::SeqCst);
                visit.send(match (up, is_good.load(Ordering::SeqCst)) {
                    (true, 0) => BAD,
                    (true, _) => NONE,
                    (false, _) => &answer,
                });
            }
        });
        Checked { origin, good, checks }
    }

    fn set(&self, good: bool) {
        self.good.store(usize::from(good), Ordering::SeqCst);
    }

    fn checks(&self) -> usize {
        self.checks.load(Ordering::SeqCst)
    }

    /// Until this many more checks have ended.
    fn wait_for_checks(&self, count: usize) {
        let before = self.checks();
        // One may be on its way.
        until("there were more checks", || self.checks() > before + count);
    }
}

fn over(checked: &[Checked], health: &str) -> Rsp {
    let servers: Vec<(&str, &str)> =
        checked.iter().map(|checked| (checked.origin.address.as_str(), "")).collect();
    web(&servers, &format!("health = {{ path = '/up', {health} }}"))
}

#[test]
fn the_first_check_alone_decides() {
    let checked = ["a", "b"].map(Checked::named);
    checked[1].set(false);
    let rsp = over(&checked, "interval = '1h', rise = 5, fall = 5");
    rsp.wait_for_log("server web/s1 is up: the first check passed: status 200");
    rsp.wait_for_log("server web/s2 is down: the first check failed: status 503, expected 200-399");
    for _ in 0..5 {
        assert_eq!(get(rsp.address(), "/").text(), "a");
    }
    assert_eq!(checked.each_ref().map(Checked::checks), [1, 1]);
}

#[test]
fn a_server_rises_and_falls_after_so_many_checks() {
    let checked = [Checked::named("a")];
    let rsp = over(&checked, "interval = '40ms', rise = 3, fall = 4");
    rsp.wait_for_log("web/s1 is up");
    let before = checked[0].checks();
    checked[0].set(false);
    rsp.wait_for_log("web/s1 is down");
    let failed = checked[0].checks() - before;
    assert!((4..=6).contains(&failed), "{failed}");
    let before = checked[0].checks();
    checked[0].set(true);
    rsp.wait_for_log("web/s1 is up again: check passed: status 200");
    let passed = checked[0].checks() - before;
    assert!((3..=5).contains(&passed), "{passed}");
    assert_eq!(rsp.log().matches("web/s1 is").count(), 3, "{}", rsp.log());
}

#[test]
fn requests_wait_until_one_server_is_checked_and_one_not_checked_gets_nothing() {
    for workers in [1, 2] {
        let gates = [Gate::new(), Gate::new()];
        let origins = gates.clone().map(|gate| {
            Origin::run(move |visit| {
                while let Some(request) = visit.request() {
                    if request.head.target() == "/up" {
                        gate.wait();
                    }
                    visit.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                }
            })
        });
        let servers = origins.each_ref().map(|origin| (origin.address.as_str(), ""));
        let options = "health = { path = '/up', timeout = '1m' }, queue = { timeout = '1m' }";
        let rsp = web_of(workers, &servers, options);
        let mut clients: Vec<Client> = (0..10).map(|_| Client::connect(rsp.address())).collect();
        for client in &mut clients {
            client.ask("/waits");
            assert!(client.stays_open(Duration::from_millis(30)));
        }
        gates[1].open();
        for client in &mut clients {
            assert_eq!(client.response().text(), "ok");
        }
        assert!(targets(&origins[0].requests()).iter().all(|target| target == "/up"), "{workers} workers");
        assert_eq!(targets(&origins[1].requests()).iter().filter(|target| *target == "/waits").count(), 10);
        gates[0].open();
    }
}

#[test]
fn all_down_is_503_at_once_with_a_line_in_the_log() {
    let refusing = [(); 2].map(|()| RefusingAddress::new());
    let servers = refusing.each_ref().map(|one| (one.address.as_str(), ""));
    let rsp = web(&servers, "health = { path = '/up' }, queue = { timeout = '1h' }");
    // It may come before the first check: then it waits, but no longer than that.
    assert_eq!(get(rsp.address(), "/early").status(), 503);
    rsp.wait_for_log("web/s1 is down: the first check failed:");
    rsp.wait_for_log("web/s2 is down: the first check failed:");
    assert_eq!(get(rsp.address(), "/").status(), 503);
    rsp.wait_for_log("1 request answered with 503, no-server");
    assert!(logged(&rsp, "/").ends_with("end=no-server"));
}

#[test]
fn a_request_that_waits_for_a_named_server_is_503_when_its_check_fails() {
    let gate = Gate::new();
    let opens = gate.clone();
    let origin = Origin::run(move |visit| {
        while visit.request().is_some() {
            opens.wait();
            visit.send(BAD);
        }
    });
    let rsp = web_with(
        1,
        &[(&origin.address, ""), ("127.0.0.1:1", "")],
        "health = { timeout = '1m' }, queue = { timeout = '1h' }",
        "rsp.on_request(function(req) return web, 's1' end)",
    );
    let mut client = Client::connect(rsp.address());
    client.ask("/");
    assert!(client.stays_open(Duration::from_millis(50)));
    gate.open();
    assert_eq!(client.response().status(), 503);
}

#[test]
fn flapping_is_logged_once_a_change() {
    let checked = [Checked::named("a"), Checked::named("b")];
    let rsp = over(&checked, "interval = '30ms', rise = 1, fall = 1");
    rsp.wait_for_log("web/s1 is up");
    for round in 1..=4 {
        checked[0].set(false);
        until("it is down", || rsp.log().matches("web/s1 is down").count() == round);
        checked[0].wait_for_checks(3);
        checked[0].set(true);
        until("it is up", || rsp.log().matches("web/s1 is up again").count() == round);
        checked[0].wait_for_checks(3);
    }
    let log = rsp.log();
    assert_eq!((log.matches("web/s1 is").count(), log.matches("web/s2 is").count()), (9, 1), "{log}");
}

#[test]
fn the_first_request_after_an_outage_succeeds_within_a_second() {
    let refusing = RefusingAddress::new();
    let rsp = web(&[(&refusing.address, "")], "health = { path = '/up', interval = '1h', rise = 1 }");
    rsp.wait_for_log("web/s1 is down");
    assert_eq!(get(rsp.address(), "/").status(), 503);
    let _origin = Origin::named_at(&refusing.address, "back");
    let since = Instant::now();
    until("it answers", || get(rsp.address(), "/").text() == "back");
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
}

#[test]
fn the_first_request_after_an_outage_succeeds_within_a_second_with_the_default_rise() {
    let refusing = RefusingAddress::new();
    let rsp = web(&[(&refusing.address, "")], "health = { path = '/up' }");
    rsp.wait_for_log("web/s1 is down");
    let _origin = Origin::named_at(&refusing.address, "back");
    let since = Instant::now();
    until("it answers", || get(rsp.address(), "/").text() == "back");
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
}

#[test]
fn each_server_is_checked_once_an_interval_with_several_workers() {
    let checked = ["a", "b", "c", "d"].map(Checked::named);
    let servers = checked.each_ref().map(|checked| (checked.origin.address.as_str(), ""));
    let rsp = web_of(4, &servers, "health = { path = '/up', interval = '100ms' }");
    for server in ["s1", "s2", "s3", "s4"] {
        rsp.wait_for_log(&format!("web/{server} is up"));
    }
    let before = checked.each_ref().map(Checked::checks);
    let since = Instant::now();
    std::thread::sleep(Duration::from_secs(2));
    let most = since.elapsed().as_millis() as usize / 100 + 2;
    for (checked, before) in checked.iter().zip(before) {
        let count = checked.checks() - before;
        assert!(count <= most && count >= 5, "{count}, at most {most}");
    }
}

#[test]
fn checks_skip_the_limit_and_the_queue_of_their_server() {
    let slow = Slow::named("a");
    let options = "health = { path = '/up', interval = '50ms', timeout = '10s' }, queue = { timeout = '1m' }";
    let rsp = web(&[(slow.address(), "max_connections = 1")], options);
    let mut clients = [(); 2].map(|()| Client::connect(rsp.address()));
    clients.iter_mut().for_each(|client| _ = client.ask("/slow"));
    let checks = || slow.targets().iter().filter(|target| *target == "/up").count();
    until("one is in flight", || slow.targets().contains(&"/slow".into()));
    let before = checks();
    until("checks go on", || checks() >= before + 5);
    assert_eq!(slow.targets().iter().filter(|target| *target == "/slow").count(), 1);
    slow.gate.open();
    clients.iter_mut().for_each(|client| assert_eq!(client.response().status(), 200));
    assert!(!rsp.log().contains("is down"), "{}", rsp.log());
}

#[test]
fn checks_are_in_no_access_log_and_no_count_of_ends() {
    let checked = [Checked::named("a")];
    let mut rsp = over(&checked, "interval = '20ms'");
    checked[0].wait_for_checks(10);
    assert_eq!(get(rsp.address(), "/one").status(), 200);
    rsp.signal(libc::SIGTERM);
    assert_eq!(rsp.wait_for_exit().code(), Some(0));
    assert_eq!(rsp.directory.read("access.log").lines().count(), 1);
    assert!(!rsp.log().contains(" 10 ") && !rsp.log().contains(" 11 "), "{}", rsp.log());
}

#[test]
fn a_server_that_is_down_gets_no_request_and_its_requests_in_flight_go_on() {
    let slow = [Slow::named("a"), Slow::named("b")];
    let up = Checked::named("up");
    let port = up.origin.address.rsplit(':').next().expect("a port");
    let servers = [(slow[0].address(), ""), (slow[1].address(), "")];
    let rsp =
        web(&servers, &format!("health = {{ path = '/up', port = {port}, interval = '50ms', fall = 1 }}"));
    let mut busy = Client::connect(rsp.address());
    busy.ask("/slow");
    until("it is in flight", || slow.iter().any(|slow| slow.origin.request_count() > 0));
    up.set(false);
    rsp.wait_for_log("web/s1 is down");
    rsp.wait_for_log("web/s2 is down");
    assert_eq!(get(rsp.address(), "/").status(), 503);
    slow.iter().for_each(|slow| slow.gate.open());
    assert_eq!(busy.response().status(), 200);
}
