//! Upgraded connections: after the 101 rsp is a tunnel, in which each direction ends by itself.

use std::io::Read;

use crate::support::*;

const HANDSHAKE: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// An origin that accepts every upgrade and then runs the script.
fn upgrading(script: impl Fn(&mut Visit) + Send + Sync + 'static) -> Origin {
    Origin::run(move |visit| {
        if visit.head().is_some() && visit.send(ACCEPTED) {
            script(visit);
        }
    })
}

fn echo(visit: &mut Visit) {
    let mut piece = [0; 4096];
    while let Ok(size) = visit.wire.read_some(&mut piece) {
        if size == 0 || !visit.send(&piece[..size]) {
            return;
        }
    }
}

fn upgraded(rsp: &Rsp) -> Client {
    let mut client = Client::connect(rsp.address());
    assert_eq!(client.send(HANDSHAKE).head().status(), 101);
    client
}

fn read_to_end(wire: &mut Wire) -> Vec<u8> {
    let mut all = Vec::new();
    wire.body(Framing::UntilClose, &mut |bytes| all.extend_from_slice(bytes)).expect("an orderly end");
    all
}

#[test]
fn an_upgraded_connection_carries_bytes_both_ways() {
    let origin = upgrading(echo);
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = upgraded(&rsp);
    for size in [1, 10, 1000, 40_000] {
        let bytes = content_bytes(size, size);
        client.send(&bytes);
        assert_eq!(client.wire.read_exactly(bytes.len()).unwrap(), bytes);
    }
}

#[test]
fn the_handshake_reaches_the_server_and_its_answer_the_client() {
    let origin = Origin::run(|visit| {
        let head = visit.head().unwrap();
        assert!(head.says("connection", "upgrade") && head.says("upgrade", "websocket"), "{head:?}");
        assert_eq!(head.get("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
        visit.send(ACCEPTED);
        echo(visit);
    });
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    let head = client.send(HANDSHAKE).head();
    assert_eq!(head.line, "HTTP/1.1 101 Switching Protocols");
    assert!(head.says("connection", "upgrade") && head.says("upgrade", "websocket"), "{head:?}");
    assert_eq!(head.get("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
}

#[test]
fn bytes_that_come_with_the_handshake_are_not_lost() {
    let origin = upgrading(echo);
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    client.send(format!("{HANDSHAKE}first bytes"));
    assert_eq!(client.head().status(), 101);
    assert_eq!(client.wire.read_exactly(11).unwrap(), b"first bytes");
}

#[test]
fn bytes_that_come_with_the_101_are_not_lost() {
    let origin = Origin::run(|visit| {
        visit.head();
        visit.send(format!("{ACCEPTED}welcome"));
        echo(visit);
    });
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = upgraded(&rsp);
    assert_eq!(client.wire.read_exactly(7).unwrap(), b"welcome");
    client.send("thanks");
    assert_eq!(client.wire.read_exactly(6).unwrap(), b"thanks");
}

#[test]
fn a_half_closed_client_still_receives() {
    let origin = upgrading(|visit| {
        let all = read_to_end(&mut visit.wire);
        visit.send(format!("{} bytes and then the end", all.len()));
    });
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = upgraded(&rsp);
    client.send(vec![7; 100_000]).wire.finish_sending();
    assert_eq!(read_to_end(&mut client.wire), b"100000 bytes and then the end");
}

#[test]
fn a_half_closed_server_still_receives() {
    let received = Gate::new();
    let gate = received.clone();
    let origin = upgrading(move |visit| {
        visit.send("all I have to say");
        visit.wire.finish_sending();
        if read_to_end(&mut visit.wire) == b"and yet more" {
            gate.open();
        }
    });
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = upgraded(&rsp);
    assert_eq!(read_to_end(&mut client.wire), b"all I have to say");
    client.send("and yet ").send("more").wire.finish_sending();
    received.wait();
}

#[test]
fn a_server_that_goes_away_ends_the_clients_connection() {
    let origin = upgrading(|visit| visit.reset());
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    client.send(HANDSHAKE);
    if client.wire.head().is_ok_and(|head| head.is_some()) {
        client.expect_end();
    }
}

#[test]
fn a_client_that_goes_away_ends_the_servers_connection() {
    let origin = upgrading(echo);
    let rsp = Rsp::over(&[&origin.address]);
    let client = upgraded(&rsp);
    assert_eq!(origin.open_count(), 1);
    drop(client);
    until("the origin's connection ended", || origin.open_count() == 0);
}

#[test]
fn a_refused_upgrade_is_an_ordinary_response_and_the_connection_stays_open() {
    let origin = Origin::answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    for _ in 0..3 {
        let answer = client.send(HANDSHAKE).response();
        assert_eq!((answer.status(), answer.text().as_str()), (403, "no"));
    }
    assert_eq!(client.get("/").status(), 403);
}

#[test]
fn only_websocket_is_passed_on_as_an_upgrade() {
    let origin = Origin::named("plain");
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM\r\n\r\n");
    assert_eq!(client.response().text(), "plain");
    let head = origin.last().head;
    assert_eq!((head.get("upgrade"), head.get("http2-settings")), (None, None));
    assert!(!head.says("connection", "upgrade"));
}

/// rsp that allows docker's `tcp`, with this origin.
fn passing_tcp(origin: &Origin) -> Rsp {
    let settings = "rsp.settings { upgrades = { 'websocket', 'tcp' } }";
    Rsp::start(&format!("{}{settings}", balanced(&[&origin.address])))
}

const ATTACH: &str =
    "POST /containers/x/attach HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n";
const ATTACHED: &str = "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n\
                        Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n";

#[test]
fn a_post_switches_to_a_configured_protocol_after_its_body() {
    for body in [
        "Content-Length: 13\r\n\r\n{\"Tty\": true}",
        "Transfer-Encoding: chunked\r\n\r\nd\r\n{\"Tty\": true}\r\n0\r\n\r\n",
    ] {
        let origin = Origin::run(|visit| {
            let Some(request) = visit.request() else { return };
            assert!(request.head.says("connection", "upgrade") && request.head.says("upgrade", "tcp"));
            assert_eq!(request.text(), "{\"Tty\": true}");
            visit.send(format!("{ATTACHED}$ "));
            echo(visit);
        });
        let rsp = passing_tcp(&origin);
        let mut client = Client::connect(rsp.address());
        client.send(format!("{ATTACH}{body}early"));
        let head = client.head();
        assert_eq!(head.line, "HTTP/1.1 101 UPGRADED");
        assert!(head.says("connection", "upgrade") && head.says("upgrade", "tcp"), "{head:?}");
        assert_eq!(client.wire.read_exactly(7).unwrap(), b"$ early");
        let bytes = content_bytes(5, 100_000);
        client.send(&bytes);
        assert_eq!(client.wire.read_exactly(bytes.len()).unwrap(), bytes);
    }
}

#[test]
fn an_upgrade_to_another_protocol_is_not_forwarded() {
    let origin = Origin::named("plain");
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    assert_eq!(client.send(format!("{ATTACH}Content-Length: 0\r\n\r\n")).response().text(), "plain");
    assert_eq!(origin.last().head.get("upgrade"), None);
}

#[test]
fn a_101_before_the_requests_body_or_to_another_protocol_is_refused() {
    let early = Origin::run(|visit| {
        visit.head();
        visit.send(ATTACHED);
        read_to_end(&mut visit.wire);
    });
    let rsp = passing_tcp(&early);
    let mut client = Client::connect(rsp.address());
    client.send(format!("{ATTACH}Content-Length: 5\r\n\r\nhe"));
    assert_eq!(client.head().status(), 502);
    let other = upgrading(echo);
    let rsp = passing_tcp(&other);
    let mut client = Client::connect(rsp.address());
    client.send(format!("{ATTACH}Content-Length: 0\r\n\r\n"));
    assert_eq!(client.head().status(), 502);
}

#[test]
fn eight_mebibytes_pass_in_both_directions_at_once() {
    const SIZE: u64 = 8 << 20;
    let origin = upgrading(|visit| {
        let mut sending = Wire::new(visit.wire.socket.try_clone().unwrap());
        let sender = std::thread::spawn(move || {
            pour(&mut sending, 21);
            sending.finish_sending();
        });
        let received = read_to_end(&mut visit.wire);
        sender.join().unwrap();
        assert_eq!(hash_of(&received), content_hash(22, SIZE));
    });
    fn pour(wire: &mut Wire, seed: u64) {
        let (mut content, mut piece) = (Content::new(seed, SIZE), vec![0; 30_000]);
        loop {
            match content.read(&mut piece).unwrap() {
                0 => return,
                size => wire.send(&piece[..size]).unwrap(),
            }
        }
    }
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = upgraded(&rsp);
    let mut sending = Wire::new(client.wire.socket.try_clone().unwrap());
    let sender = std::thread::spawn(move || {
        pour(&mut sending, 22);
        sending.finish_sending();
    });
    let received = read_to_end(&mut client.wire);
    sender.join().unwrap();
    assert_eq!(hash_of(&received), content_hash(21, SIZE));
    until("the origin is done", || origin.open_count() == 0);
}

#[test]
fn an_idle_tunnel_is_closed_by_its_timeout() {
    let origin = upgrading(echo);
    let config =
        format!("{}rsp.settings {{ timeouts = {{ tunnel = \"300ms\" }} }}", balanced(&[&origin.address]));
    let rsp = Rsp::start(&config);
    let mut client = upgraded(&rsp);
    client.expect_end();
    until("the origin's connection ended", || origin.open_count() == 0);
}

#[test]
fn a_tunnel_outlives_the_timeouts_of_requests() {
    let origin = upgrading(echo);
    let config = format!(
        "rsp.pool {{ servers = {{ {:?} }}, timeouts = {{ response = \"2s\", gap = \"2s\", idle = \"2s\" }} }}
         rsp.settings {{ timeouts = {{ head = \"2s\", body = \"2s\", idle = \"2s\" }} }}",
        origin.address
    );
    let rsp = Rsp::start(&on_any_port(&config));
    let mut client = upgraded(&rsp);
    assert!(client.stays_open(std::time::Duration::from_millis(3500)));
    client.send("still here");
    assert_eq!(client.wire.read_exactly(10).unwrap(), b"still here");
}

#[test]
fn a_tunnel_to_a_dead_server_ends_with_the_next_bytes_for_it() {
    let origin = upgrading(|_| {});
    let mut rsp = Rsp::start(&format!(
        "{}rsp.settings {{ access_log = {{ path = 'access.log', format = 'rsp' }} }}",
        balanced(&[&origin.address])
    ));
    let mut client = upgraded(&rsp);
    assert_eq!(read_to_end(&mut client.wire), b"");
    until("rsp has closed", || client.wire.send("x").is_err());
    rsp.signal(libc::SIGTERM);
    rsp.wait_for_exit();
    let log = rsp.directory.read("access.log");
    assert!(log.contains("end=server-cut-response") && log.contains("phase=tunnel"), "{log}");
}
