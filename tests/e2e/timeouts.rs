//! Every wait has a timeout, with the status (or the silence) of the contract, and none of them affects what is
//! merely slow. A timeout that is to expire is short; one that is not is several seconds, so that a slow machine does
//! not matter.

use std::io::Read;
use std::net::Shutdown;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use crate::support::*;

fn with_settings(origin: &Origin, timeouts: &str) -> Rsp {
    let config = format!("{}rsp.settings {{ timeouts = {{ {timeouts} }} }}", balanced(&[&origin.address]));
    Rsp::start(&config)
}

fn with_pool(origin: &str, timeouts: &str) -> Rsp {
    Rsp::start(&on_any_port(&format!(
        "rsp.pool {{ servers = {{ {origin:?} }}, timeouts = {{ {timeouts} }} }}"
    )))
}

#[test]
fn a_head_that_stays_incomplete_is_answered_408() {
    let origin = Origin::named("never");
    let rsp = with_settings(&origin, "head = \"2s\"");
    let mut client = Client::connect(rsp.address());
    let answer = client.send("GET / HTTP/1.1\r\nHost: a\r\n").response();
    assert_eq!(answer.status(), 408);
    client.expect_end();
    assert_eq!(origin.connection_count(), 0);
}

#[test]
fn a_dripping_head_is_answered_408_at_the_deadline_of_the_whole_head() {
    let origin = Origin::named("never");
    let rsp = with_settings(&origin, "head = \"2s\"");
    let mut client = Client::connect(rsp.address());
    client.send("GET / HTTP/1.1\r\nX-Long: ");
    let start = Instant::now();
    while client.wire.send("y").is_ok() && start.elapsed() < DEADLINE {
        if client.stays_open(Duration::from_millis(50)) {
            continue;
        }
        return;
    }
    panic!("the deadline moved with every byte");
}

#[test]
fn a_client_that_sends_nothing_is_closed_without_an_answer() {
    let origin = Origin::named("never");
    let rsp = with_settings(&origin, "head = \"300ms\", idle = \"300ms\"");
    Client::connect(rsp.address()).expect_end();
}

#[test]
fn a_request_body_that_stops_is_answered_408_and_the_connection_closed() {
    let origin = Origin::named("never");
    let rsp = with_settings(&origin, "body = \"300ms\"");
    let mut client = Client::connect(rsp.address());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nonly the beginning");
    assert_eq!(client.response().status(), 408);
    client.expect_end();
    until("the origin's connection ended", || origin.open_count() == 0);
    assert_eq!(origin.request_count(), 0);
}

#[test]
fn a_request_body_that_is_merely_slow_arrives() {
    let origin = Origin::echo();
    let rsp = with_settings(&origin, "body = \"5s\", head = \"5s\"");
    let mut client = Client::connect(rsp.address());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\n");
    for _ in 0..30 {
        std::thread::sleep(Duration::from_millis(200));
        client.send("x");
    }
    assert_eq!(client.response().text(), "x".repeat(30));
}

#[test]
fn a_server_that_does_not_answer_is_504() {
    let origin = Origin::run(|visit| {
        visit.request();
        visit.wait_for_end();
    });
    let rsp = with_pool(&origin.address, "response = \"1s\"");
    let mut client = Client::connect(rsp.address());
    let answer = client.get("/");
    assert_eq!(answer.status(), 504);
    origin.wait_for_requests(1);
    until("the origin's connection ended", || origin.open_count() == 0);
    assert_eq!(origin.connection_count(), 1, "a request that a server has is not tried again");
}

#[test]
fn the_wait_for_an_answer_starts_after_the_upload() {
    let origin = Origin::echo();
    let rsp = with_pool(&origin.address, "response = \"5s\"");
    let mut client = Client::connect(rsp.address());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 15\r\n\r\n");
    for _ in 0..15 {
        std::thread::sleep(Duration::from_millis(400));
        client.send("x");
    }
    assert_eq!(client.response().text(), "x".repeat(15));
}

#[test]
fn a_response_that_stops_is_cut_visibly() {
    let origin = Origin::run(|visit| {
        visit.request();
        visit.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly the beginning");
        visit.wait_for_end();
    });
    let rsp = with_pool(&origin.address, "gap = \"300ms\"");
    let mut client = Client::connect(rsp.address());
    let error = client.ask("/").try_response().expect_err("a cut");
    assert!(error.kind() != std::io::ErrorKind::WouldBlock, "it hangs: {error}");
    until("the origin's connection ended", || origin.open_count() == 0);
}

#[test]
fn a_response_that_is_merely_slow_arrives() {
    let origin = Origin::run(|visit| {
        visit.request();
        visit.send("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n");
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(300));
            visit.send("x");
        }
    });
    let rsp = with_pool(&origin.address, "gap = \"5s\", response = \"5s\"");
    assert_eq!(get(rsp.address(), "/").text(), "x".repeat(20));
}

#[test]
fn the_gap_timeout_does_not_run_while_the_client_is_slow() {
    let origin = bodies(Uploads::default());
    let rsp = with_pool(&origin.address, "gap = \"4s\", response = \"10s\"");
    let mut client = Client::connect_with_small_buffer(rsp.address());
    client.ask("/length/8000000/9");
    let head = client.head();
    assert_eq!(head.status(), 200);
    std::thread::sleep(Duration::from_secs(6));
    let mut body = Vec::new();
    client
        .wire
        .body(Framing::Exact(8_000_000), &mut |bytes| body.extend_from_slice(bytes))
        .expect("a whole body");
    assert_eq!(hash_of(&body), content_hash(9, 8_000_000));
}

#[test]
fn a_client_that_reads_nothing_is_cut() {
    let origin = bodies(Uploads::default());
    let rsp = with_settings(&origin, "write = \"400ms\"");
    let mut client = Client::connect_with_small_buffer(rsp.address());
    client.ask("/length/50000000/9");
    until("the request reached the origin", || origin.head_count() == 1);
    until("the origin's connection ended", || origin.open_count() == 0);
    let mut rest = Vec::new();
    let cut = client.wire.socket.read_to_end(&mut rest);
    assert!(cut.is_err() || rest.len() < 50_000_000, "the body cannot be whole");
}

#[test]
fn a_client_that_reads_a_little_now_and_then_is_not_cut() {
    let origin = bodies(Uploads::default());
    let rsp = with_settings(&origin, "write = \"5s\"");
    let mut client = Client::connect_with_small_buffer(rsp.address());
    client.ask("/length/6000000/4");
    client.head();
    let mut body = Vec::new();
    for _ in 0..25 {
        std::thread::sleep(Duration::from_millis(240));
        body.extend(client.wire.read_exactly(20_000).expect("the next piece"));
    }
    let left = 6_000_000 - body.len() as u64;
    client.wire.body(Framing::Exact(left), &mut |bytes| body.extend_from_slice(bytes)).expect("the rest");
    assert_eq!(hash_of(&body), content_hash(4, 6_000_000));
}

#[test]
fn one_timeout_does_not_touch_other_requests() {
    let origin = Origin::run(|visit| {
        while let Some(request) = visit.request() {
            if request.head.target() == "/stuck" {
                return visit.wait_for_end();
            }
            visit.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let rsp = with_pool(&origin.address, "response = \"4s\"");
    let mut stuck: Vec<Client> = (0..10).map(|_| Client::connect(rsp.address())).collect();
    for client in &mut stuck {
        client.ask("/stuck");
    }
    for _ in 0..50 {
        assert_eq!(get(rsp.address(), "/").text(), "ok");
    }
    for client in &mut stuck {
        assert_eq!(client.response().status(), 504);
    }
}

#[test]
fn a_server_that_stops_reading_gets_the_response_timeout() {
    let directory = Directory::new();
    let path = directory.join("server");
    let listener = UnixListener::bind(&path).unwrap();
    let rsp = with_pool(&format!("unix:{}", path.display()), "response = \"300ms\"");
    let mut client = Client::connect(rsp.address());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n");
    let (mut server, _) = listener.accept().unwrap();
    assert!(server.read(&mut [0; 1000]).unwrap() > 0);
    server.shutdown(Shutdown::Read).unwrap();
    client.send("the next write to the server fails");
    assert_eq!(client.response().status(), 504);
}

#[test]
fn a_silent_server_is_504_even_with_a_short_write_timeout() {
    let origin = Origin::run(|visit| {
        visit.request();
        visit.wait_for_end();
    });
    let config = format!(
        "rsp.pool {{ servers = {{ {:?} }}, timeouts = {{ response = \"300ms\" }} }}
         rsp.settings {{ timeouts = {{ write = \"300ms\" }} }}",
        origin.address
    );
    let rsp = Rsp::start(&on_any_port(&config));
    let mut client = Client::connect(rsp.address());
    assert_eq!(client.get("/").status(), 504);
    assert_eq!(client.get("/").status(), 504, "and the connection goes on");
}

const EXPECTING: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";

/// A server that sends `100 Continue` once the gate is open, behind rsp with a body timeout.
fn continuing(gate: &Gate, body: &str) -> (Origin, Rsp) {
    let gate = gate.clone();
    let origin = Origin::run(move |visit| {
        visit.head();
        gate.wait();
        visit.send("HTTP/1.1 100 Continue\r\n\r\n");
        if let Ok(body) = visit.wire.read_exactly(4) {
            visit.send([b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", &body[..]].concat());
        }
    });
    let rsp = with_settings(&origin, &format!("body = {body:?}"));
    (origin, rsp)
}

#[test]
fn a_body_held_back_until_the_server_asks_for_it_is_not_late() {
    let gate = Gate::new();
    let (_origin, rsp) = continuing(&gate, "5s");
    let mut client = Client::connect(rsp.address());
    client.send(EXPECTING);
    assert!(client.stays_open(Duration::from_millis(5500)), "the client was charged for the server's delay");
    gate.open();
    assert_eq!(client.head().status(), 100);
    // The body timeout begins now.
    assert!(client.stays_open(Duration::from_millis(300)));
    assert_eq!(client.send("body").response().text(), "body");
}

#[test]
fn a_server_that_never_asks_for_the_body_is_504() {
    let origin = Origin::run(|visit| {
        visit.head();
        visit.wait_for_end();
    });
    let rsp = with_pool(&origin.address, "response = \"300ms\"");
    let mut client = Client::connect(rsp.address());
    let answer = client.send(EXPECTING).response();
    assert_eq!((answer.status(), answer.head.says("connection", "close")), (504, true));
    client.expect_end();
}

#[test]
fn a_requested_body_that_does_not_arrive_is_answered_408() {
    let gate = Gate::new();
    let (_origin, rsp) = continuing(&gate, "300ms");
    let mut client = Client::connect(rsp.address());
    gate.open();
    client.send(EXPECTING);
    assert_eq!(client.head().status(), 100);
    assert_eq!(client.response().status(), 408);
    client.expect_end();
}
