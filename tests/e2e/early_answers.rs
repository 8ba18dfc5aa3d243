//! Servers that answer before they have read the whole request: the body is still forwarded to them (RFC 9112 section
//! 9.3), and the client's connection can be reused; the server's is closed after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::*;

/// Large enough for splice(2), and too large for the kernel's buffers.
const SIZE: usize = 20_000_000;

const ACCEPTED: &str = "HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok";

/// Answers at once, reads to the end of the body, and counts its bytes.
fn accepting(answer: &'static str, got: Arc<AtomicUsize>) -> Origin {
    Origin::run(move |visit| {
        while visit.head().is_some_and(|head| head.method() == "POST") && visit.send(answer) {
            let _ = visit.wire.body(Framing::Exact(SIZE as u64), &mut |bytes| {
                got.fetch_add(bytes.len(), Ordering::SeqCst);
            });
        }
        visit.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nafter");
    })
}

fn begin_upload(rsp: &Rsp, fields: &str) -> Client {
    let mut client = Client::connect(rsp.address());
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n{fields}\r\n"));
    client
}

#[test]
fn the_server_gets_the_whole_body_and_the_client_connection_is_reused() {
    let got = Arc::<AtomicUsize>::default();
    let origin = accepting(ACCEPTED, got.clone());
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = begin_upload(&rsp, "");
    let answer = client.send(vec![b'b'; 1000]).response();
    assert_eq!((answer.status(), answer.head.says("connection", "close")), (202, false));
    client.send(vec![b'b'; SIZE - 1000]);
    until("the server has all of it", || got.load(Ordering::SeqCst) == SIZE);
    assert_eq!(client.get("/").text(), "after");
    assert_eq!(origin.connection_count(), 2, "the next request does not wait behind the body");
}

#[test]
fn a_request_does_not_wait_behind_a_body_that_its_server_has_answered_but_not_read() {
    const PART: usize = 100_000;
    // The others wait with the response while the body goes on.
    const WAITS: &str = "rsp.log('info', 'judged') rsp.sleep('100ms')";
    for (wait, body) in [("", ""), (WAITS, ""), (WAITS, "taken")] {
        let accepted = format!("HTTP/1.1 202 Accepted\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let (gate, whole) = (Gate::new(), Arc::<AtomicUsize>::default());
        let (reads, ended) = (gate.clone(), whole.clone());
        let origin = Origin::run(move |visit| {
            if visit.head().is_some_and(|head| head.method() == "GET") {
                visit.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nafter");
                return visit.wait_for_end();
            }
            visit.send(&accepted);
            reads.wait();
            let came = visit.wire.body(Framing::Exact(PART as u64), &mut |_| ()).is_ok();
            let at_end = matches!(visit.wire.read_some(&mut [0; 1]), Ok(0));
            ended.store(1 + usize::from(came && at_end), Ordering::SeqCst);
        });
        let script = format!("rsp.on_response(function(req, res) {wait} end)");
        let rsp = Rsp::start(&format!("{}{script}", balanced(&[&origin.address])));
        let mut client = Client::connect(rsp.address());
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {PART}\r\n\r\n"));
        match wait {
            "" => assert_eq!(client.response().status(), 202),
            _ => rsp.wait_for_log("judged"),
        }
        client.send(vec![b'b'; PART]);
        if !wait.is_empty() {
            assert_eq!(client.response().status(), 202);
        }
        assert_eq!(client.get("/").text(), "after");
        gate.open();
        until("the server came to an end", || whole.load(Ordering::SeqCst) > 0);
        assert_eq!(whole.load(Ordering::SeqCst), 2, "the whole body, then the end of the connection");
    }
}

#[test]
fn a_body_in_small_pieces_is_forwarded_too() {
    let got = Arc::<AtomicUsize>::default();
    let counted = got.clone();
    let origin = Origin::run(move |visit| {
        visit.head();
        visit.send(ACCEPTED);
        let _ = visit.wire.body(Framing::Chunked, &mut |bytes| {
            counted.fetch_add(bytes.len(), Ordering::SeqCst);
        });
    });
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(client.response().status(), 202);
    for piece in 1..=200 {
        client.send("5\r\nsmall\r\n");
        until("the piece is there", || got.load(Ordering::SeqCst) == 5 * piece);
    }
    client.send("0\r\n\r\n");
}

#[test]
fn a_response_with_connection_close_ends_the_request() {
    let origin = accepting(
        "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        Arc::default(),
    );
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = begin_upload(&rsp, "");
    let answer = client.send("the beginning").response();
    assert_eq!((answer.status(), answer.head.says("connection", "close")), (413, true));
    client.expect_end();
}

#[test]
fn a_client_that_got_no_100_need_not_send_its_body() {
    let origin = accepting("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", Arc::default());
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = begin_upload(&rsp, "Expect: 100-continue\r\n");
    let answer = client.response();
    assert_eq!((answer.status(), answer.head.says("connection", "close")), (401, true));
    client.expect_end();
}

#[test]
fn a_server_that_closes_after_its_answer_ends_the_clients_connection() {
    let origin = Origin::run(|visit| {
        visit.head();
        visit.send(ACCEPTED);
        visit.wire.finish_sending();
        visit.wait_for_end();
    });
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = begin_upload(&rsp, "");
    assert_eq!(client.response().text(), "ok");
    client.expect_end();
}

#[test]
fn a_server_that_stops_reading_after_its_response_gets_the_body_timeout() {
    let origin = Origin::run(|visit| {
        visit.head();
        visit.send(ACCEPTED);
        // Waits for rsp's close without reading: unread bytes make its own close a reset.
        until("rsp has gone", || !matches!(visit.wire.socket.take_error(), Ok(None)));
    });
    let settings = "rsp.settings { timeouts = { body = '400ms' }, access_log = { path = 'access.log', format = 'rsp' } }";
    let mut rsp = Rsp::start(&format!("{}{settings}", balanced(&[&origin.address])));
    let mut client = begin_upload(&rsp, "");
    assert_eq!(client.response().text(), "ok");
    // Fails once rsp has closed: nobody reads it all.
    let _ = client.wire.send(vec![b'b'; SIZE]);
    until("rsp closed", || {
        client.wire.read_some(&mut [0; 1]).is_ok_and(|n| n == 0) || client.wire.send("x").is_err()
    });
    rsp.signal(libc::SIGTERM);
    rsp.wait_for_exit();
    let log = rsp.directory.read("access.log");
    assert!(log.contains("status=202") && log.contains("end=server-body-timeout"), "{log}");
}

/// Answers a request that expects a 100 at once, in two halves; the second one after `second` returns.
fn in_halves(second: impl Fn() + Send + Sync + 'static) -> Origin {
    Origin::run(move |visit| {
        visit.head();
        visit.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 10\r\n\r\nfirst");
        second();
        visit.send("after");
    })
}

fn hold_body_back(rsp: &Rsp) -> Client {
    let mut client = begin_upload(rsp, "Expect: 100-continue\r\n");
    let head = client.head();
    assert_eq!((head.status(), head.says("connection", "close")), (403, true));
    client
}

#[test]
fn a_body_that_is_not_forwarded_any_more_has_no_timeout() {
    let origin = in_halves(|| std::thread::sleep(std::time::Duration::from_millis(900)));
    let config =
        format!("{}rsp.settings {{ timeouts = {{ body = '300ms' }} }}", balanced(&[&origin.address]));
    let rsp = Rsp::start(&config);
    assert_eq!(hold_body_back(&rsp).wire.read_exactly(10).unwrap(), b"firstafter");
}

#[test]
fn a_client_that_half_closes_after_an_early_answer_gets_all_of_it() {
    let gate = Arc::new(Gate::new());
    let waits = gate.clone();
    let origin = in_halves(move || waits.wait());
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = hold_body_back(&rsp);
    assert_eq!(client.wire.read_exactly(5).unwrap(), b"first");
    client.wire.finish_sending();
    // A later client's answer shows that rsp has seen the half-close.
    assert_eq!(hold_body_back(&rsp).wire.read_exactly(5).unwrap(), b"first");
    gate.open();
    assert_eq!(client.wire.read_exactly(5).unwrap(), b"after");
    client.expect_end();
}
