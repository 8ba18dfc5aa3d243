//! Responses that the server does not complete: the client gets all that was received, and sees that it is cut: by a
//! FIN if the framing shows it, otherwise by a reset.

use std::io::ErrorKind;

use crate::support::*;

const SENT: usize = 3_000_000;

/// How a connection ended.
#[derive(PartialEq, Eq, Debug)]
enum End {
    Plain,
    Reset,
}

/// All bytes that still come on this connection, and how it ends.
fn rest(client: &mut Client) -> (Vec<u8>, End) {
    let mut bytes = Vec::new();
    let end = client.wire.body(Framing::UntilClose, &mut |piece| bytes.extend_from_slice(piece));
    match end {
        Ok(_) => (bytes, End::Plain),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => (bytes, End::Reset),
        Err(error) => panic!("after {} bytes: {error}", bytes.len()),
    }
}

/// An origin that sends this head and `SENT` bytes, and then ends as given.
fn cutting(head: &'static str, end: impl Fn(&mut Visit) + Send + Sync + 'static) -> Origin {
    Origin::run(move |visit| {
        visit.request();
        if visit.send(head) && visit.send(vec![b'x'; SENT]) {
            end(visit);
        }
    })
}

fn over_with_log(origin: &Origin, pool: &str) -> Rsp {
    Rsp::start(&on_any_port(&format!(
        "rsp.pool {{ servers = {{ {:?} }}, {pool} }}
         rsp.settings {{ access_log = {{ path = 'access.log', format = 'rsp' }} }}",
        origin.address
    )))
}

#[test]
fn a_slow_client_gets_everything_that_a_server_sent_before_it_closed() {
    let origin = cutting("HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n", |_| {});
    let mut rsp = over_with_log(&origin, "");
    let mut client = Client::connect_with_small_buffer(rsp.address());
    client.ask("/");
    assert_eq!(client.head().status(), 200);
    until("the origin sent all and closed", || origin.open_count() == 0 || origin.request_count() == 1);
    client.widen();
    let (bytes, end) = rest(&mut client);
    assert_eq!((bytes.len(), end), (SENT, End::Plain));
    rsp.signal(libc::SIGTERM);
    rsp.wait_for_exit();
    let log = rsp.directory.read("access.log");
    assert!(log.contains("end=server-cut-response") && log.contains(&format!(" sent={SENT} ")), "{log}");
}

#[test]
fn a_head_chunks_and_the_servers_fin_in_one_packet_are_delivered() {
    let chunk = format!("bb8\r\n{}\r\n", "x".repeat(3000));
    let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}{chunk}{chunk}");
    let origin = Origin::run(move |visit| {
        visit.request();
        visit.send(&answer);
    });
    let rsp = Rsp::over(&[&origin.address]);
    for _ in 0..10 {
        let mut client = Client::connect(rsp.address());
        client.ask("/");
        assert_eq!(client.head().status(), 200);
        let (bytes, end) = rest(&mut client);
        let body = bytes.iter().filter(|byte| **byte == b'x').count();
        assert_eq!((body, end), (9000, End::Plain));
        assert!(!bytes.ends_with(b"0\r\n\r\n"), "the last chunk would say that it is whole");
    }
}

#[test]
fn bytes_before_a_servers_reset_are_delivered() {
    let origin = Origin::run(|visit| {
        visit.request();
        visit.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this");
        visit.reset();
    });
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    client.ask("/");
    // A reset discards what rsp's kernel has not delivered yet, the head included.
    if let Some(head) = client.wire.head().expect("an answer") {
        assert!(matches!(head.status(), 200 | 502), "{}", head.status());
        assert!(head.status() == 502 || rest(&mut client) == (b"only this".to_vec(), End::Plain));
    }
}

#[test]
fn bytes_before_a_malformed_chunk_are_delivered() {
    let origin = Origin::run(|visit| {
        visit.request();
        visit.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\nnot a size\r\n");
        visit.wait_for_end();
    });
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    client.ask("/");
    assert_eq!(client.head().status(), 200);
    assert_eq!(rest(&mut client), (b"9\r\nonly this\r\n".to_vec(), End::Plain));
}

#[test]
fn bytes_before_a_gap_timeout_are_delivered() {
    let origin = cutting("HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n", |visit| visit.wait_for_end());
    let rsp = over_with_log(&origin, "timeouts = { gap = '300ms' }");
    let mut client = Client::connect(rsp.address());
    client.ask("/");
    assert_eq!(client.head().status(), 200);
    let (bytes, end) = rest(&mut client);
    assert_eq!((bytes.len(), end), (SENT, End::Plain));
}

#[test]
fn a_body_delimited_by_close_is_delivered_before_the_reset() {
    let read = Gate::new();
    let gate = read.clone();
    let origin = cutting("HTTP/1.1 200 OK\r\n\r\n", move |visit| {
        // A reset would discard what rsp has not read yet.
        gate.wait();
        visit.reset();
    });
    let rsp = over_with_log(&origin, "");
    let mut client = Client::connect(rsp.address());
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.head().status(), 200);
    let mut bytes = client.wire.read_exactly(SENT - 1).expect("nearly all of it");
    read.open();
    let (last, end) = rest(&mut client);
    bytes.extend(last);
    assert_eq!((bytes.len(), end), (SENT, End::Reset));
}

#[test]
fn a_tunnel_delivers_everything_although_its_server_closed_with_unread_bytes() {
    let origin = Origin::run(|visit| {
        visit.head();
        visit.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
        visit.wire.read_exactly(1).expect("the client's first byte");
        visit.send("the last words");
    });
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.head().status(), 101);
    client.send("1 and more that nobody reads");
    assert_eq!(rest(&mut client).0, b"the last words");
}

/// A download in progress when the drain timeout expires.
fn cut_by_a_stop(request: &str, head: &'static str) -> (Vec<u8>, End) {
    let origin = cutting(head, |visit| visit.wait_for_end());
    let drain = "rsp.settings { drain_timeout = '200ms' }";
    let mut rsp = Rsp::start(&format!("{}{drain}", balanced(&[&origin.address])));
    let mut client = Client::connect(rsp.address());
    client.send(request);
    assert_eq!(client.head().status(), 200);
    let mut bytes = client.wire.read_exactly(SENT).expect("what was sent");
    rsp.signal(libc::SIGTERM);
    let (last, end) = rest(&mut client);
    bytes.extend(last);
    assert_eq!(rsp.wait_for_exit().code(), Some(0));
    (bytes, end)
}

#[test]
fn the_drain_timeout_closes_with_a_fin_if_the_framing_shows_the_cut() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n";
    let (bytes, end) = cut_by_a_stop("GET / HTTP/1.1\r\nHost: a\r\n\r\n", head);
    assert_eq!((bytes.len(), end), (SENT, End::Plain));
}

#[test]
fn the_drain_timeout_resets_if_nothing_else_shows_the_cut() {
    let (bytes, end) = cut_by_a_stop("GET / HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n");
    assert_eq!((bytes.len(), end), (SENT, End::Reset));
}

#[test]
fn the_drain_timeout_answers_clients_that_wait_for_a_response() {
    let origin = Origin::run(|visit| {
        visit.request();
        visit.wait_for_end();
    });
    let drain = "rsp.settings { drain_timeout = '200ms' }";
    let mut rsp = Rsp::start(&format!("{}{drain}", balanced(&[&origin.address])));
    let mut client = Client::connect(rsp.address());
    client.ask("/");
    origin.wait_for_requests(1);
    rsp.signal(libc::SIGTERM);
    let answer = client.response();
    assert_eq!((answer.status(), answer.head.says("connection", "close")), (503, true));
    assert_eq!(rsp.wait_for_exit().code(), Some(0));
}
