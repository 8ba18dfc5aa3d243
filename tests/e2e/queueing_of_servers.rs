//! The queue where the servers of a pool differ: some failed already for a request, some are bound to by it, some are
//! down, and some have a full accept queue.

use std::time::{Duration, Instant};

use crate::support::*;

#[test]
fn a_request_that_failed_on_one_server_waits_for_the_other_one() {
    let (refusing, slow) = (RefusingAddress::new(), Slow::named("b"));
    let rsp = web(
        &[(&refusing.address, ""), (slow.address(), "max_connections = 1")],
        "balance = 'first', eject = false, queue = { timeout = '60s' }",
    );
    let mut busy = Client::connect(rsp.address());
    busy.ask("/slow");
    slow.origin.wait_for_requests(1);
    let mut waiting: Vec<Client> = (0..3).map(|_| Client::connect(rsp.address())).collect();
    for client in &mut waiting {
        client.ask("/waits");
        assert!(client.stays_open(Duration::from_millis(50)));
    }
    slow.gate.open();
    assert_eq!(busy.response().text(), "b");
    for client in &mut waiting {
        assert_eq!(client.response().text(), "b");
    }
    let line = logged(&rsp, "/waits");
    assert_eq!(value(&line, "left"), "s1:server-refused", "{line}");
}

#[test]
fn a_request_passes_one_that_waits_for_a_server_that_it_need_not_have() {
    // The first request failed on s1 and waits for s2; the second one may go to s1, which works again.
    let first = Origin::run(|visit| {
        while let Some(request) = visit.request() {
            if request.head.target() == "/fails" || !visit.send("HTTP/1.1 204 No Content\r\n\r\n") {
                return;
            }
        }
    });
    let slow = Slow::named("b");
    let rsp = web(
        &[(&first.address, ""), (slow.address(), "max_connections = 1")],
        "balance = 'first', queue = { timeout = '60s' }",
    );
    let mut busy = Client::connect(rsp.address());
    // It failed on s1 as well.
    busy.send("GET /slow HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\n");
    assert_eq!(busy.response().status(), 204);
    let mut clients = [(); 2].map(|()| Client::connect(rsp.address()));
    clients[0].ask("/fails");
    assert_eq!(clients[0].response().text(), "b");
    drop(busy);
    slow.gate.open();
}

#[test]
fn requests_to_a_full_accept_queue_do_not_wait_for_ever_for_the_first_of_them() {
    let directory = Directory::new();
    let full = FullSocket::at(&directory.join("full"));
    let rsp = web_in(directory, 1, &[(&full.address, "")], "queue = { timeout = '60s' }", "");
    let mut first = Client::connect(rsp.address());
    first.ask("/first");
    assert!(first.stays_open(Duration::from_millis(50)));
    let mut second = Client::connect(rsp.address());
    second.ask("/second");
    assert!(second.stays_open(Duration::from_millis(50)));
    drop(first);
    logged(&rsp, "/first");
    let _origin = full.serve("room");
    let since = Instant::now();
    assert_eq!(second.response().text(), "room");
    assert_eq!(get(rsp.address(), "/third").text(), "room");
    assert!(since.elapsed() < Duration::from_secs(20), "{:?}", since.elapsed());
}

/// Two servers with one place each, of which a cookie names one.
fn sticky(slow: &[Slow; 2], options: &str) -> Rsp {
    let servers = [(slow[0].address(), "max_connections = 1"), (slow[1].address(), "max_connections = 1")];
    web(&servers, &format!("sticky = {{ cookie = 'srv', secret = 's' }}, {options}"))
}

fn session(rsp: &Rsp, server: &str) -> String {
    let mut cookie = String::new();
    until("a session with the server", || {
        let answer = get(rsp.address(), "/");
        cookie = answer.get("set-cookie").and_then(|all| all.split(';').next()).unwrap_or("").to_owned();
        answer.text() == server
    });
    cookie
}

fn ask_with(rsp: &Rsp, path: &str, cookie: &str) -> Client {
    let mut client = Client::connect(rsp.address());
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n"));
    client
}

#[test]
fn a_session_waits_for_its_server_and_holds_up_nobody_else() {
    let slow = ["a", "b"].map(Slow::named);
    let rsp = sticky(&slow, "queue = { timeout = '60s' }");
    let cookie = session(&rsp, "a");
    let mut busy = ask_with(&rsp, "/slow", &cookie);
    until("the server is busy", || slow[0].targets().contains(&"/slow".into()));
    let mut waiting = ask_with(&rsp, "/waits", &cookie);
    assert!(waiting.stays_open(Duration::from_millis(100)));
    for _ in 0..5 {
        assert_eq!(get(rsp.address(), "/").text(), "b");
    }
    slow[0].gate.open();
    assert_eq!((busy.response().text(), waiting.response().text()), ("a".into(), "a".into()));
}

#[test]
fn a_session_that_waits_for_its_server_is_503_at_once_when_all_go_down() {
    let slow = ["a", "b"].map(Slow::named);
    let outage = Gate::new();
    let down = outage.clone();
    let check = Origin::run(move |visit| {
        while visit.request().is_some() {
            let status = if down.is_open() { "503 Down" } else { "200 OK" };
            visit.send(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"));
        }
    });
    // Both are checked at the same port, so both go down.
    let port = check.address.rsplit(':').next().expect("a port").to_owned();
    let rsp = sticky(
        &slow,
        &format!("queue = {{ timeout = '60s' }}, health = {{ port = {port}, interval = '100ms', fall = 1 }}"),
    );
    let cookie = session(&rsp, "a");
    let mut busy = ask_with(&rsp, "/slow", &cookie);
    until("the server is busy", || slow[0].targets().contains(&"/slow".into()));
    let mut waiting = ask_with(&rsp, "/waits", &cookie);
    assert!(waiting.stays_open(Duration::from_millis(100)));
    outage.open();
    rsp.wait_for_log("web/s1 is down");
    rsp.wait_for_log("web/s2 is down");
    assert_eq!(waiting.response().status(), 503, "at once: nobody is left");
    slow[0].gate.open();
    assert_eq!(busy.response().text(), "a", "what runs goes on");
}

#[test]
fn a_balance_function_never_sees_a_server_at_its_limit() {
    let slow = ["a", "b"].map(Slow::named);
    let servers = slow.each_ref().map(|slow| (slow.address(), "max_connections = 1"));
    let rsp =
        web(&servers, "balance = function(req, servers) return servers[1] end, queue = { timeout = '60s' }");
    let mut clients = [(); 3].map(|()| Client::connect(rsp.address()));
    for (number, client) in clients.iter_mut().enumerate() {
        client.ask("/slow");
        let total = || slow.iter().map(|slow| slow.origin.request_count()).sum::<usize>();
        until("it is in flight", || total() == (number + 1).min(2));
    }
    assert!(clients[2].stays_open(Duration::from_millis(50)));
    slow.iter().for_each(|slow| slow.gate.open());
    clients.iter_mut().for_each(|client| assert_eq!(client.response().status(), 200));
}

#[test]
fn a_tunnel_counts_until_it_ends() {
    let origin = Origin::run(|visit| {
        while let Some(request) = visit.request() {
            if request.head.says("connection", "upgrade") {
                visit.send(
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
                );
                return visit.wait_for_end();
            }
            visit.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let rsp = web(&[(&origin.address, "max_connections = 1")], "queue = { timeout = '60s' }");
    let mut tunnel = Client::connect(rsp.address());
    tunnel.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(tunnel.head().status(), 101);
    let mut waiting = Client::connect(rsp.address());
    waiting.ask("/");
    assert!(waiting.stays_open(Duration::from_millis(100)));
    drop(tunnel);
    assert_eq!(waiting.response().text(), "ok");
}

#[test]
fn requests_that_wait_when_rsp_stops_are_served() {
    let slow = Slow::named("a");
    let mut rsp = web_of(2, &[(slow.address(), "max_connections = 1")], "queue = { timeout = '60s' }");
    let mut clients: Vec<Client> = (0..6).map(|_| Client::connect(rsp.address())).collect();
    clients.iter_mut().for_each(|client| _ = client.ask("/slow"));
    slow.origin.wait_for_requests(1);
    assert!(clients.iter_mut().all(|client| client.stays_open(Duration::from_millis(30))));
    rsp.signal(libc::SIGTERM);
    rsp.wait_for_log("Stopping");
    slow.gate.open();
    clients.iter_mut().for_each(|client| assert_eq!(client.response().text(), "a"));
    assert_eq!(rsp.wait_for_exit().code(), Some(0));
}

#[test]
fn pipelined_requests_wait_each_in_its_turn() {
    let slow = Slow::named("a");
    let rsp = web(&[(slow.address(), "max_connections = 1")], "queue = { timeout = '60s' }");
    let mut busy = Client::connect(rsp.address());
    busy.ask("/slow");
    slow.origin.wait_for_requests(1);
    let mut client = Client::connect(rsp.address());
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.stays_open(Duration::from_millis(50)));
    slow.gate.open();
    busy.response();
    assert_eq!((client.response().text(), client.response().text()), ("a".into(), "a".into()));
    assert_eq!(slow.targets(), ["/slow", "/1", "/2"]);
}

#[test]
fn a_server_that_the_script_named_is_tried_while_it_is_ejected_and_is_503_while_it_is_disabled() {
    let (refusing, good) = (RefusingAddress::new(), Origin::named("good"));
    let servers = [(refusing.address.as_str(), ""), (&good.address, ""), (&good.address, "disabled = true")];
    let rsp = web_with(
        1,
        &servers,
        "eject = { pause = '1h' }",
        "rsp.on_request(function(req)
           if req.path == '/only' then return web, 's1' end
           if req.path == '/disabled' then return web, 's3' end
           if req.path == '/rather' then return web, 's1', true end
           return web
         end)",
    );
    for _ in 0..4 {
        assert_eq!(get(rsp.address(), "/only").status(), 502);
        assert_eq!(get(rsp.address(), "/rather").text(), "good");
    }
    rsp.wait_for_log("web/s1 is ejected");
    assert_eq!(get(rsp.address(), "/disabled").status(), 503);
    let _back = Origin::named_at(&refusing.address, "back");
    assert_eq!(get(rsp.address(), "/only").text(), "back");
    assert_eq!(get(rsp.address(), "/rather").text(), "good", "it is still ejected");
}
