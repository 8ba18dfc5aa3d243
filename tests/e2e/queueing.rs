//! `max_connections` and the queue: never more requests at a server than its limit, those that wait are served in
//! their order, and who waits in vain learns it.

use std::time::{Duration, Instant};

use crate::support::*;

/// Asks for `path` and waits until rsp has it in its queue: the script counts the requests of its worker.
fn queued(rsp: &Rsp, path: &str) -> Client {
    let before = seen(rsp);
    let mut client = Client::connect(rsp.address());
    client.ask(path);
    until("rsp has the request", || seen(rsp) > before);
    client
}

fn seen(rsp: &Rsp) -> u32 {
    get(rsp.address(), "/seen").text().parse().expect("a number")
}

const COUNTS: &str = "local seen = 0
    rsp.on_request(function(req)
      if req.path == '/seen' then return rsp.respond { body = tostring(seen) } end
      seen = seen + 1
      return web
    end)";

/// One worker, and one server that takes one request at a time.
fn narrow(slow: &Slow, options: &str) -> Rsp {
    web_with(1, &[(slow.address(), "max_connections = 1")], options, COUNTS)
}

#[test]
fn no_server_has_more_requests_than_its_limit_with_two_workers_and_60_clients() {
    let slow = [Slow::named("a"), Slow::named("b")];
    let servers = [(slow[0].address(), "max_connections = 3"), (slow[1].address(), "max_connections = 2")];
    let rsp = web_of(2, &servers, "queue = { timeout = '60s' }");
    std::thread::scope(|scope| {
        for number in 0..60 {
            let address = rsp.address();
            scope.spawn(move || {
                for round in 0..20 {
                    // Some on new connections, which other workers take.
                    let mut client = Client::connect(address);
                    let path = format!("/{number}/{round}");
                    assert_eq!(client.get(&path).status(), 200);
                    assert_eq!(client.post(&path, "body").status(), 200);
                }
            });
        }
    });
    assert_eq!((slow[0].most(), slow[1].most()), (3, 2));
    let all = slow[0].origin.request_count() + slow[1].origin.request_count();
    assert_eq!(all, 60 * 20 * 2, "each request once");
}

#[test]
fn a_limit_is_of_the_process_and_requests_of_all_workers_are_served() {
    let slow = Slow::named("a");
    let rsp = web_of(2, &[(slow.address(), "max_connections = 3")], "queue = { timeout = '60s' }");
    let mut clients: Vec<Client> = (0..60).map(|_| Client::connect(rsp.address())).collect();
    clients.iter_mut().enumerate().for_each(|(number, client)| _ = client.ask(&format!("/slow/{number}")));
    until("three are in flight", || slow.origin.request_count() == 3);
    assert!(clients[59].stays_open(Duration::from_millis(100)));
    slow.gate.open();
    for client in &mut clients {
        assert_eq!(client.response().status(), 200);
    }
    assert_eq!((slow.most(), slow.origin.request_count()), (3, 60));
}

#[test]
fn requests_that_wait_are_served_in_the_order_of_their_arrival() {
    let slow = Slow::named("a");
    let rsp = narrow(&slow, "queue = { timeout = '60s' }");
    let paths: Vec<String> = (0..12).map(|number| format!("/slow/{number}")).collect();
    let mut clients: Vec<Client> = paths.iter().map(|path| queued(&rsp, path)).collect();
    until("the first one is at the server", || slow.origin.request_count() == 1);
    slow.gate.open();
    for client in &mut clients {
        assert_eq!(client.response().text(), "a");
    }
    assert_eq!(slow.targets(), paths);
}

#[test]
fn requests_that_wait_in_two_workers_are_served_in_the_order_of_their_arrival() {
    let slow = Slow::named("a");
    let script = "local me, seen = tostring({}), 0
        rsp.on_request(function(req)
          if req.path == '/who' then return rsp.respond { body = me } end
          if req.path == '/seen' then return rsp.respond { body = tostring(seen) } end
          seen = seen + 1
          return web
        end)";
    let rsp = web_with(2, &[(slow.address(), "max_connections = 1")], "queue = { timeout = '60s' }", script);
    // Two clients of each worker for every request: one that waits, and one that sees that it does.
    let (mut one, mut other) = (Vec::new(), Vec::new());
    let mut first = None;
    while one.len() < 6 || other.len() < 6 {
        let mut client = Client::connect(rsp.address());
        let worker = client.get("/who").text();
        let of_first = *first.get_or_insert_with(|| worker.clone()) == worker;
        if of_first { one.push(client) } else { other.push(client) }
    }
    let mut watches = [one.pop().expect("a client"), other.pop().expect("a client")];
    let mut waiting = Vec::new();
    for (number, mut client) in (0..10).zip(one.into_iter().zip(other).flat_map(|(a, b)| [a, b])) {
        let watch = &mut watches[number % 2];
        let before = watch.get("/seen").text();
        client.ask(&format!("/slow/{number}"));
        until("rsp has the request", || watch.get("/seen").text() != before);
        waiting.push(client);
    }
    slow.gate.open();
    waiting.iter_mut().for_each(|client| assert_eq!(client.response().text(), "a"));
    let expected: Vec<String> = (0..10).map(|number| format!("/slow/{number}")).collect();
    assert_eq!(slow.targets(), expected);
}

#[test]
fn a_new_request_does_not_pass_those_that_wait() {
    let slow = Slow::named("a");
    let rsp = narrow(&slow, "queue = { timeout = '60s' }");
    let mut first = Client::connect(rsp.address());
    first.ask("/slow/0");
    slow.origin.wait_for_requests(1);
    let mut waiting: Vec<Client> = (1..4).map(|number| queued(&rsp, &format!("/{number}"))).collect();
    // The same client asks again as soon as it has its answer, when others wait.
    first.ask("/again");
    slow.gate.open();
    first.response();
    waiting.iter_mut().for_each(|client| _ = client.response());
    assert_eq!(first.response().status(), 200);
    assert_eq!(slow.targets(), ["/slow/0", "/1", "/2", "/3", "/again"]);
}

#[test]
fn a_full_queue_is_503_at_once_with_retry_after() {
    let slow = Slow::named("a");
    let rsp = narrow(&slow, "queue = { most = 2, timeout = '60s' }");
    let mut waiting: Vec<Client> = (0..3).map(|number| queued(&rsp, &format!("/slow/{number}"))).collect();
    let mut client = Client::connect(rsp.address());
    let answer = client.get("/full");
    assert_eq!((answer.status(), answer.get("retry-after").is_some()), (503, true), "{answer:?}");
    let line = logged(&rsp, "/full");
    assert!(line.contains("status=503") && line.ends_with("end=queue-full"), "{line}");
    rsp.wait_for_log("1 request answered with 503, queue-full");
    slow.gate.open();
    waiting.iter_mut().for_each(|client| assert_eq!(client.response().status(), 200));
    assert_eq!(client.get("/later").status(), 200, "its connection is still of use");
    assert!(!slow.targets().contains(&"/full".to_owned()));
}

#[test]
fn a_queue_of_none_answers_503_while_the_server_is_busy() {
    let slow = Slow::named("a");
    let rsp = narrow(&slow, "queue = { most = 0 }");
    let mut busy = queued(&rsp, "/slow");
    assert_eq!(get(rsp.address(), "/").status(), 503);
    slow.gate.open();
    assert_eq!(busy.response().status(), 200);
    assert_eq!(get(rsp.address(), "/").status(), 200);
}

#[test]
fn a_request_that_waits_too_long_is_503_with_retry_after_and_its_time_in_the_log() {
    let slow = Slow::named("a");
    let rsp = narrow(&slow, "queue = { timeout = '300ms' }");
    let mut busy = queued(&rsp, "/slow");
    let since = Instant::now();
    let answer = Client::connect(rsp.address()).post("/late", "body");
    assert!(since.elapsed() >= Duration::from_millis(300));
    assert_eq!((answer.status(), answer.get("retry-after").is_some()), (503, true), "{answer:?}");
    let line = logged(&rsp, "/late");
    assert!(line.ends_with("end=queue-timeout"), "{line}");
    let waited: f64 = value(&line, "queue").parse().expect("milliseconds");
    assert!((300.0..60_000.0).contains(&waited), "{line}");
    rsp.wait_for_log("1 request answered with 503, queue-timeout");
    slow.gate.open();
    assert_eq!(busy.response().status(), 200);
    assert_eq!(value(&logged(&rsp, "/slow"), "queue"), "-", "this one did not wait");
    assert_eq!(slow.targets(), ["/slow"]);
}

#[test]
fn the_time_in_the_queue_of_a_request_that_is_served_is_in_the_log() {
    let slow = Slow::named("a");
    let rsp = narrow(&slow, "queue = { timeout = '60s' }");
    let mut clients = [queued(&rsp, "/slow"), queued(&rsp, "/waits")];
    assert!(clients[1].stays_open(Duration::from_millis(150)));
    slow.gate.open();
    clients.iter_mut().for_each(|client| _ = client.response());
    let line = logged(&rsp, "/waits");
    let [waited, connected, total] =
        ["queue", "connect", "total"].map(|key| value(&line, key).parse::<f64>().expect("milliseconds"));
    assert!(waited >= 150.0 && connected < waited && total >= waited + connected, "{line}");
}

#[test]
fn a_queued_client_that_closes_leaves_the_queue_and_never_reaches_the_server() {
    for reset in [false, true] {
        let slow = Slow::named("a");
        let rsp = narrow(&slow, "queue = { most = 1, timeout = '60s' }");
        let mut busy = queued(&rsp, "/slow");
        let leaving = queued(&rsp, "/leaves");
        assert_eq!(get(rsp.address(), "/").status(), 503, "the queue is full");
        if reset {
            leaving.wire.reset_on_close();
        }
        drop(leaving);
        let line = logged(&rsp, "/leaves");
        assert!(line.contains("status=499"), "reset {reset}: {line}");
        let mut next = queued(&rsp, "/next");
        slow.gate.open();
        assert_eq!((busy.response().status(), next.response().status()), (200, 200));
        assert_eq!(slow.targets(), ["/slow", "/next"], "reset {reset}");
    }
}

#[test]
fn a_queued_client_that_shuts_down_its_sending_side_leaves_the_queue() {
    let slow = Slow::named("a");
    let rsp = narrow(&slow, "queue = { timeout = '60s' }");
    let mut busy = queued(&rsp, "/slow");
    let mut leaving = queued(&rsp, "/leaves");
    leaving.wire.finish_sending();
    leaving.expect_end();
    let mut early = Client::connect(rsp.address());
    early.ask("/early");
    early.wire.finish_sending();
    early.expect_end();
    slow.gate.open();
    assert_eq!(busy.response().status(), 200);
    assert_eq!(get(rsp.address(), "/last").status(), 200);
    assert_eq!(slow.targets(), ["/slow", "/last"]);
}

#[test]
fn clients_that_leave_the_queue_all_the_time_cost_nobody_a_place() {
    let slow = Slow::named("a");
    let rsp = web_of(2, &[(slow.address(), "max_connections = 2")], "queue = { timeout = '60s' }");
    std::thread::scope(|scope| {
        for number in 0..8 {
            let address = rsp.address();
            scope.spawn(move || {
                for round in 0..50 {
                    let mut client = Client::connect(address);
                    client.ask("/");
                    match (number + round) % 3 {
                        0 => client.wire.reset_on_close(),
                        1 => client.wire.finish_sending(),
                        _ => assert_eq!(client.response().status(), 200),
                    }
                }
            });
        }
    });
    // What the server does after rsp gave up a request counts no more. Slots that leaked would leave none for these, and
    // slots that were freed twice too many.
    let mut last: Vec<Client> = (0..6).map(|_| Client::connect(rsp.address())).collect();
    last.iter_mut().for_each(|client| _ = client.ask("/slow"));
    let in_flight = || slow.targets().iter().filter(|path| *path == "/slow").count();
    until("both slots are in use", || in_flight() >= 2);
    assert!(last.iter_mut().all(|client| client.stays_open(Duration::from_millis(30))));
    assert_eq!(in_flight(), 2);
    slow.gate.open();
    last.iter_mut().for_each(|client| assert_eq!(client.response().status(), 200));
}

#[test]
fn an_upload_waits_and_then_arrives_whole() {
    let slow = Slow::named("a");
    let rsp = narrow(&slow, "queue = { timeout = '60s' }");
    let mut busy = queued(&rsp, "/slow");
    let body = content_bytes(7, 500_000);
    let mut upload = Client::connect(rsp.address());
    let address = upload.address();
    let sent = body.clone();
    let sending = std::thread::spawn(move || upload.post("/upload", &sent).status());
    assert!(address.port() > 0);
    until("it waits", || seen(&rsp) == 2);
    slow.gate.open();
    assert_eq!((busy.response().status(), sending.join().expect("a status")), (200, 200));
    assert_eq!(hash_of(&slow.origin.last().body), hash_of(&body));
}
