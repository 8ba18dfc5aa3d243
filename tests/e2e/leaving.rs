//! The meaning of a client's half-close while it waits: it has left, or it only sends no more.

use std::time::Duration;

use crate::support::*;

/// Answers `/` at once, and signals when the connection of any other request ends.
fn origin(gone: &Gate) -> Origin {
    let gone = gone.clone();
    Origin::run(move |visit| {
        while let Some(request) = visit.request() {
            if request.head.target() == "/" {
                visit.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                continue;
            }
            visit.wait_for_end();
            return gone.open();
        }
    })
}

fn aborting(origin: &Origin) -> Rsp {
    Rsp::start(&on_any_port(&format!(
        "rsp.pool {{ servers = {{ {:?} }}, abort_on_close = true }}
         rsp.settings {{ access_log = {{ path = \"-\", format = \"rsp\" }} }}",
        origin.address
    )))
}

#[test]
fn with_abort_on_close_a_half_close_aborts_the_request_at_the_server() {
    let gone = Gate::new();
    let origin = origin(&gone);
    let rsp = aborting(&origin);
    let mut client = Client::connect(rsp.address());
    client.ask("/slow");
    origin.wait_for_requests(1);
    client.wire.finish_sending();
    gone.wait();
    client.expect_end();
    rsp.wait_for_output("end=client-cut-response");
    assert_eq!(get(rsp.address(), "/").text(), "ok");
}

#[test]
fn with_abort_on_close_a_response_that_has_begun_is_still_delivered() {
    let more = Gate::new();
    let origin = Origin::run({
        let more = more.clone();
        move |visit| {
            visit.request();
            visit.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
            more.wait();
            visit.send("again");
        }
    });
    let rsp = aborting(&origin);
    let mut client = Client::connect(rsp.address());
    client.ask("/");
    assert_eq!(client.head().status(), 200);
    client.wire.finish_sending();
    more.open();
    let mut body = Vec::new();
    while body.len() < 10 {
        let mut piece = [0; 10];
        let n = client.wire.read_some(&mut piece).expect("the body");
        assert!(n > 0, "cut after {} bytes", body.len());
        body.extend_from_slice(&piece[..n]);
    }
    assert_eq!(body, b"firstagain");
    rsp.wait_for_output("end=complete");
}

#[test]
fn without_abort_on_close_a_half_closed_client_gets_its_response() {
    let rest = Gate::new();
    let origin = Origin::run({
        let rest = rest.clone();
        move |visit| {
            visit.request();
            rest.wait();
            visit.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    client.ask("/");
    origin.wait_for_requests(1);
    client.wire.finish_sending();
    assert!(client.stays_open(Duration::from_millis(100)));
    rest.open();
    assert_eq!(client.response().text(), "ok");
}

#[test]
fn a_request_that_waits_for_a_busy_server_ends_with_its_client() {
    let directory = Directory::new();
    let full = FullSocket::at(&directory.join("full"));
    let rsp = Rsp::start(&on_any_port(&format!(
        "rsp.pool {{ servers = {{ {:?} }}, timeouts = {{ connect = \"100s\" }} }}
         rsp.settings {{ access_log = {{ path = \"-\", format = \"rsp\" }} }}",
        full.address
    )));
    let mut client = Client::connect(rsp.address());
    client.ask("/left");
    assert!(client.stays_open(Duration::from_millis(100)), "it waits");
    client.wire.finish_sending();
    client.expect_end();
    // One that half-closes with its request is not queued either.
    let mut client = Client::connect(rsp.address());
    client.ask("/left").wire.finish_sending();
    client.expect_end();
    until("both are logged", || rsp.output().matches("phase=connect end=client-cut-response").count() == 2);
    let origin = full.serve("room");
    assert_eq!(get(rsp.address(), "/").text(), "room");
    assert!(origin.requests().iter().all(|request| request.head.target() == "/"));
}
