//! System calls of a request, counted by strace. Each one is a notable part of the cost of a small request, so an
//! unneeded one is a bug, and one that no response shows.

use crate::alone;
use crate::support::{Call, Client, Origin, Traced, balanced, can_trace, counts, on_any_port, until, waits};

const REQUESTS: usize = 100;

fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nDate: Sat, 21 Nov 2026 14:31:51 GMT\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// rsp in front of an origin that answers with these bytes, and a client with open connections on both sides.
fn warm(answer: &str) -> (Origin, Traced, Client) {
    let origin = Origin::answering(answer);
    let traced = Traced::start(&balanced(&[&origin.address]));
    let mut client = Client::connect(traced.rsp.address());
    for _ in 0..10 {
        client.get("/warm");
    }
    (origin, traced, client)
}

/// Sends many requests; returns the worker's calls for `REQUESTS` of them.
fn calls_of_requests(traced: &Traced, client: &mut Client, ask: impl Fn(&mut Client, &str)) -> Vec<Call> {
    ask(client, "/first");
    for _ in 1..REQUESTS {
        ask(client, "/next");
    }
    ask(client, "/last");
    traced.worker(" /first ", " /last ")
}

#[test]
fn a_request_on_kept_connections_is_one_read_and_one_write_on_each_side() {
    if !can_trace() {
        return;
    }
    let _alone = alone();
    let (_origin, traced, mut client) = warm(&ok("hello"));
    let calls = calls_of_requests(&traced, &mut client, |client, path| _ = client.get(path));
    assert_eq!(counts(&calls), [("read", 2 * REQUESTS), ("write", 2 * REQUESTS)].into());
    assert!(calls.iter().all(|call| !call.was_futile()));
    // One for each side, and a timer now and then.
    assert!(waits(&calls) <= 2 * REQUESTS + REQUESTS / 2, "{} waits", waits(&calls));
}

#[test]
fn ready_connections_share_one_wait() {
    if !can_trace() {
        return;
    }
    let _alone = alone();
    let (_origin, traced, mut first) = warm(&ok("hello"));
    let mut clients: Vec<Client> = (0..20).map(|_| Client::connect(traced.rsp.address())).collect();
    clients.iter_mut().for_each(|client| _ = client.get("/warm"));
    first.get("/begin");
    traced.pause();
    clients.iter_mut().for_each(|client| _ = client.ask("/all"));
    traced.go_on();
    clients.iter_mut().for_each(|client| _ = client.response());
    first.get("/end");
    let calls = traced.worker(" /all ", " /end ");
    let reads: Vec<bool> = calls
        .iter()
        .take_while(|call| !call.is_wait())
        .filter(|call| call.is_read())
        .map(|call| call.line.contains(" /all "))
        .collect();
    assert_eq!(reads, [true; 20], "all were read before the next wait");
}

#[test]
fn a_body_read_with_its_head_leaves_with_it_in_one_write() {
    if !can_trace() {
        return;
    }
    let _alone = alone();
    let big = "x".repeat(16_000);
    let (_origin, traced, mut client) = warm(&ok(&big));
    let upload = |client: &mut Client, path: &str| {
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: example.com\r\nContent-Length: {}\r\n\r\n", big.len());
        client.send(head + &big).response();
    };
    let calls = calls_of_requests(&traced, &mut client, upload);
    assert_eq!(counts(&calls), [("read", 2 * REQUESTS), ("write", 2 * REQUESTS)].into());
}

#[test]
fn a_chunked_response_read_whole_leaves_in_one_write() {
    if !can_trace() {
        return;
    }
    let _alone = alone();
    let piece = "x".repeat(5000);
    let chunk = format!("1388\r\n{piece}\r\n");
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (_origin, traced, mut client) = warm(&format!("{head}{chunk}{chunk}{chunk}0\r\n\r\n"));
    let calls = calls_of_requests(&traced, &mut client, |client, path| {
        assert_eq!(client.get(path).body.len(), 15_000);
    });
    assert_eq!(counts(&calls), [("read", 2 * REQUESTS), ("write", 2 * REQUESTS)].into());
}

#[test]
fn a_connection_for_one_request_is_accepted_registered_and_closed_once() {
    if !can_trace() {
        return;
    }
    let _alone = alone();
    let (_origin, traced, _warm) = warm(&ok("hello"));
    let ask = |_: &mut Client, path: &str| {
        let mut client = Client::connect(traced.rsp.address());
        client.send(format!("GET {path} HTTP/1.0\r\n\r\n")).response();
        client.expect_end();
    };
    let calls = calls_of_requests(&traced, &mut Client::connect(traced.rsp.address()), ask);
    assert!(calls.iter().all(|call| !call.was_futile()));
    // `getsockopt` returns the length of the accept queue: a futile accept costs seven times as much.
    let each = [("getsockopt", 1), ("accept4", 1), ("close", 1), ("epoll_ctl", 1), ("read", 2), ("write", 2)];
    assert_eq!(counts(&calls), each.map(|(name, count)| (name, count * REQUESTS)).into());
}

#[test]
fn connections_that_came_together_are_accepted_together() {
    if !can_trace() {
        return;
    }
    let _alone = alone();
    let (_origin, traced, mut first) = warm(&ok("hello"));
    first.get("/begin");
    traced.pause();
    let mut clients: Vec<Client> = (0..20).map(|_| Client::connect(traced.rsp.address())).collect();
    traced.go_on();
    clients.iter_mut().for_each(|client| _ = client.get("/one"));
    first.get("/end");
    let calls = traced.worker(" /begin ", " /end ");
    let accepted = |call: &Call| call.name == "accept4" && !call.was_futile();
    let begin = calls.iter().position(accepted).expect("an accept");
    let end = begin + calls[begin..].iter().position(Call::is_wait).expect("a wait");
    assert_eq!(calls[begin..end].iter().filter(|call| accepted(call)).count(), 20);
    assert!(calls.iter().all(|call| !call.was_futile()), "no call was futile");
}

#[test]
fn a_deferred_connection_is_read_as_soon_as_it_is_accepted() {
    if !can_trace() {
        return;
    }
    let _alone = alone();
    let traced = Traced::start(
        "rsp.listen { '127.0.0.1:0', defer_accept = true } rsp.pool { servers = { '127.0.0.1:1' } }
         rsp.on_request(function() return rsp.respond { body = 'here' } end)",
    );
    let mut first = Client::connect(traced.rsp.address());
    first.get("/begin");
    Client::connect(traced.rsp.address()).get("/deferred");
    first.get("/end");
    let calls = traced.worker(" /begin ", " /end ");
    let accept = calls.iter().position(|call| call.name == "accept4").expect("an accept");
    let read = calls.iter().position(|call| call.line.contains(" /deferred ")).expect("a read");
    assert_eq!(waits(&calls[accept..read]), 0);
}

/// If a splice ends exactly with the body, one more read is needed: bytes after the body would spoil the next
/// response.
#[test]
fn splice_moves_all_of_a_body_with_at_most_one_futile_read() {
    if !can_trace() {
        return;
    }
    let _alone = alone();
    let (_origin, traced, mut client) = warm(&ok(&"x".repeat(1 << 20)));
    assert_eq!(client.get("/first").body.len(), 1 << 20);
    client.get("/last");
    let calls = traced.worker(" /first ", " /last ");
    let got = |call: &&Call| call.is_read() && !call.was_futile();
    let (reads, writes) =
        (calls.iter().filter(got).count(), calls.iter().filter(|call| call.is_write()).count());
    assert_eq!(reads, writes, "what one read got, one write took");
    assert!(calls.iter().filter(|call| call.name == "splice").count() >= 8);
    let futile_reads = calls.iter().filter(|call| call.is_read() && call.was_futile()).count();
    assert!(futile_reads <= 1, "{futile_reads} futile reads");
}

#[test]
fn lines_of_the_access_log_are_written_together() {
    if !can_trace() {
        return;
    }
    let _alone = alone();
    let traced = Traced::start(&on_any_port(
        "rsp.pool { servers = { '127.0.0.1:1' } } rsp.settings { access_log = 'access.log' }
         rsp.on_request(function() return rsp.respond { body = 'here' } end)",
    ));
    let mut clients: Vec<Client> = (0..40).map(|_| Client::connect(traced.rsp.address())).collect();
    clients.iter_mut().for_each(|client| _ = client.get("/warm"));
    let lines = |path: &str| traced.rsp.directory.read("access.log").matches(path).count();
    until("the log has the first lines", || lines("GET /warm ") == 40);
    traced.pause();
    clients.iter_mut().for_each(|client| _ = client.ask("/together"));
    traced.go_on();
    clients.iter_mut().for_each(|client| _ = client.response());
    until("the log has them all", || lines("GET /together ") == 40);
    let writes = || traced.with("] \\\"GET /together").iter().filter(|call| call.is_write()).count();
    until("the write was traced", || writes() > 0);
    assert!(writes() <= 2, "{} writes of 40 lines", writes());
}
