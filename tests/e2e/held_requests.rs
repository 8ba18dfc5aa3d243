//! Requests of pools with `buffer_request`: servers do not wait for slow uploads, and a body that is held whole can be
//! sent again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::*;

/// A pool that prefers its first server, without a handler.
fn holding(servers: &[&str], pool: &str, more: &str) -> Rsp {
    let list: Vec<String> = servers.iter().map(|server| format!("{server:?}")).collect();
    Rsp::start(&on_any_port(&format!(
        "rsp.pool {{ servers = {{ {} }}, balance = function(req, servers) return servers[1] end,
           buffer_request = '64k', timeouts = {{ idle = '1m' }}, {pool} }}
         rsp.settings {{ access_log = {{ path = 'access.log', format = 'rsp' }}, {more} }}",
        list.join(", ")
    )))
}

fn put(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("PUT {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Reads a whole request on every connection and closes without a word.
fn closing() -> Origin {
    Origin::run(|visit| drop(visit.request()))
}

#[test]
fn a_server_is_not_asked_while_a_body_arrives_slowly_and_takes_others_meanwhile() {
    let echo = Origin::echo();
    let rsp = holding(&[&echo.address], "", "");
    let body = content_bytes(4, 50_000);
    let mut slow = Client::connect(rsp.address());
    slow.send(&put("/slow", &body)[..30_000]);
    assert!(slow.stays_open(Duration::from_millis(30)));
    assert_eq!(get(rsp.address(), "/").status(), 200);
    assert_eq!(echo.head_count(), 1, "only the other one");
    slow.send(&put("/slow", &body)[30_000..]);
    assert!(slow.response().body == body);
}

#[test]
fn a_held_put_goes_to_another_server_with_its_whole_body_when_a_new_connection_closes() {
    let (first, second, echo) = (closing(), closing(), Origin::echo());
    let rsp = holding(&[&first.address, &second.address, &echo.address], "", "");
    let body = content_bytes(4, 60_000);
    let mut client = Client::connect(rsp.address());
    let answer = client.send(put("/x", &body)).response();
    assert_eq!((answer.status(), hash_of(&answer.body)), (200, hash_of(&body)));
    for origin in [&first, &second] {
        assert!(origin.last().body == body, "each got all of it");
    }
    let left = [&first, &second].map(|origin| format!("{}:server-closed", origin.address)).join(",");
    let line = logged(&rsp, "/x");
    assert_eq!((value(&line, "left"), value(&line, "received")), (left, "60000".to_owned()));
    assert_eq!(client.get("/").status(), 200, "the client's connection goes on");
}

#[test]
fn a_chunked_body_is_sent_again_with_its_trailers() {
    let (first, echo) = (closing(), Origin::echo());
    let rsp = holding(&[&first.address, &echo.address], "trailers = true", "");
    let mut client = Client::connect(rsp.address());
    client.send(
        "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n",
    );
    assert_eq!(client.response().text(), "abc");
    for origin in [&first, &echo] {
        let request = origin.last();
        assert_eq!((request.body, request.trailers), (b"abc".to_vec(), vec![("X-Sum".into(), "7".into())]));
    }
}

#[test]
fn a_held_post_that_was_written_is_never_sent_again() {
    let (first, echo) = (closing(), Origin::echo());
    let rsp = holding(&[&first.address, &echo.address], "", "");
    let mut client = Client::connect(rsp.address());
    assert_eq!(client.post("/", "once").status(), 502);
    assert_eq!((first.request_count(), echo.head_count()), (1, 0));
    assert_eq!(client.get("/").status(), 200, "all of the body was read, so the connection goes on");
}

#[test]
fn a_body_that_is_larger_than_what_is_held_is_not_sent_again() {
    let (first, echo) = (closing(), Origin::echo());
    let rsp = holding(&[&first.address, &echo.address], "", "");
    let mut client = Client::connect(rsp.address());
    assert_eq!(client.send(put("/", &content_bytes(1, 70_000))).response().status(), 502);
    assert_eq!((first.request_count(), echo.head_count()), (1, 0));
}

/// Answers the first request of its first connection, and closes that one when it has the second.
fn tired() -> (Origin, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let served = count.clone();
    let origin = Origin::run(move |visit| {
        while let Some(request) = visit.request() {
            if served.fetch_add(1, Ordering::SeqCst) == 1 {
                return;
            }
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.len());
            visit.send([head.as_bytes(), &request.body].concat());
        }
    });
    (origin, count)
}

#[test]
fn a_held_put_is_sent_once_more_when_a_kept_connection_dies() {
    let (origin, count) = tired();
    let rsp = holding(&[&origin.address], "", "");
    let body = content_bytes(6, 40_000);
    let mut client = Client::connect(rsp.address());
    assert_eq!(client.get("/").status(), 200);
    assert!(client.send(put("/again", &body)).response().body == body);
    assert_eq!(count.load(Ordering::SeqCst), 3);
    assert!(origin.requests()[1..].iter().all(|request| request.body == body));
    assert!(value(&logged(&rsp, "/again"), "left").ends_with(":reused-stale"));
}

#[test]
fn a_response_that_has_begun_ends_all_retries() {
    let first = Origin::run(|visit| {
        visit.request();
        visit.send("HTTP/1.1 2");
    });
    let echo = Origin::echo();
    let rsp = holding(&[&first.address, &echo.address], "", "");
    let mut client = Client::connect(rsp.address());
    assert_eq!(client.send(put("/", b"abc")).response().status(), 502);
    assert_eq!(echo.head_count(), 0);
}

#[test]
fn a_switch_to_a_tunnel_after_a_held_body_passes_bytes_both_ways() {
    let origin = Origin::run(|visit| {
        let body = visit.request().map(|request| request.body).unwrap_or_default();
        visit.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n");
        visit.send(&body);
        while let Ok(bytes) = visit.wire.read_exactly(1) {
            visit.send(bytes);
        }
    });
    let rsp = holding(&[&origin.address], "", "upgrades = { 'tcp' }");
    let mut client = Client::connect(rsp.address());
    client.send(
        "POST /attach HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: tcp\r\nContent-Length: 4\r\n\r\nbody",
    );
    assert_eq!(client.head().status(), 101);
    assert_eq!(client.wire.read_exactly(4).unwrap(), b"body");
    for byte in *b"xyz" {
        client.send([byte]);
        assert_eq!(client.wire.read_exactly(1).unwrap(), [byte]);
    }
}

#[test]
fn beyond_the_memory_of_the_process_a_body_streams() {
    let origin = bodies(Uploads::default());
    let rsp = Rsp::start(&on_any_port(&format!(
        "rsp.pool {{ servers = {{ {:?} }}, buffer_request = '16m' }} rsp.settings {{ buffer_memory = '1m' }}",
        origin.address
    )));
    let body = content_bytes(2, 5_000_000);
    let mut client = Client::connect(rsp.address());
    client.send(&put("/", &body)[..2_000_000]);
    until("the server is asked before the body is whole", || origin.head_count() == 1);
    client.send(&put("/", &body)[2_000_000..]);
    assert_eq!(client.response().text(), format!("5000000 {}", content_hash(2, 5_000_000)));
}
