//! TLS with servers: who is believed, what is sent, and what a failure is to clients and to the log.

use std::time::Duration;

use crate::support::*;

/// Answers each request over TLS with how many requests the connection has had, and `resumed` where it was.
fn answering(pair: &Pair) -> Origin {
    let side = server_side(pair);
    Origin::run(move |visit| {
        if visit.wire.begin_tls(side()).is_err() {
            return;
        }
        let resumed = visit.wire.tls().handshake_kind() == Some(rustls::HandshakeKind::Resumed);
        let body = if resumed { "resumed" } else { "full" };
        while visit.request().is_some() {
            visit.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        }
    })
}

/// One pool of this server with these keys, and the rest.
fn over(directory: Directory, server: &str, keys: &str, rest: &str) -> Rsp {
    let servers = format!("servers = {{ {{ 'https://{server}', {keys} }} }}, retries = 0");
    Rsp::start_in(directory, &format!("rsp.listen '127.0.0.1:0'\nrsp.pool {{ {servers}, {rest} }}"))
}

#[test]
fn a_verified_server_is_used_again_and_resumed() {
    let (directory, authority) = secured();
    let origin = answering(&authority.issue(&["127.0.0.1"]));
    let rsp = over(directory, &origin.address, "ca = 'ca.pem'", "timeouts = { idle = '200ms' }");
    let mut client = Client::connect(rsp.address());
    assert_eq!(client.get("/").text(), "full");
    assert_eq!(client.get("/").text(), "full");
    assert_eq!(origin.connection_count(), 1, "tickets that arrive do not end it");
    assert_eq!(origin.last().get("Host"), Some("example.com"));
    until("the idle connection is closed", || origin.open_count() == 0);
    assert_eq!(client.get("/").text(), "resumed");
}

#[test]
fn a_server_that_is_not_the_one_meant_is_a_502_with_its_reason_in_the_log() {
    let (_, authority) = secured();
    let pair = authority.issue(&["app.internal"]);
    let origin = answering(&pair);
    let asks = |keys: &str, log: &str| {
        let directory = Directory::new();
        directory.write("ca.pem", &authority.pem);
        directory.write("other.pem", Authority::new().pem);
        let rsp = over(directory, &origin.address, keys, "");
        let answer = get(rsp.address(), "/");
        if !log.is_empty() {
            rsp.wait_for_log(&format!("server https://{}: TLS failed: {log}", origin.address));
        }
        answer.status()
    };
    assert_eq!(asks("ca = 'ca.pem', sni = 'app.internal'", ""), 200);
    assert_eq!(asks("ca = 'ca.pem'", "invalid peer certificate: certificate not valid for name"), 502);
    assert_eq!(asks("ca = 'other.pem', sni = 'app.internal'", "invalid peer certificate: "), 502);
    assert_eq!(asks("sni = 'app.internal'", "invalid peer certificate: "), 502);
    assert_eq!(asks("verify = false", ""), 200);
    assert_eq!(origin.request_count(), 2, "nothing is sent to a stranger");
}

#[test]
fn a_failed_handshake_goes_to_another_server_and_a_silent_one_is_a_504() {
    let (directory, authority) = secured();
    let (good, plain) = (answering(&authority.issue(&["127.0.0.1"])), Origin::named("plain"));
    let servers = format!(
        "servers = {{ {{ 'https://{}', ca = 'ca.pem' }}, {{ 'https://{}', ca = 'ca.pem' }} }}",
        plain.address, good.address
    );
    let config = format!("rsp.listen '127.0.0.1:0'\nrsp.pool {{ {servers} }}");
    let rsp = Rsp::start_in(directory, &config);
    for _ in 0..4 {
        assert_eq!(get(rsp.address(), "/").status(), 200);
    }
    assert_eq!(plain.request_count(), 0);
    let (directory, _) = secured();
    let silent = Origin::run(|visit| visit.wait_for_end());
    let rsp = over(directory, &silent.address, "ca = 'ca.pem'", "timeouts = { connect = '300ms' }");
    assert_eq!(get(rsp.address(), "/").status(), 504, "connect and handshake have one timeout");
}

#[test]
fn checks_go_over_tls_too() {
    let (directory, authority) = secured();
    let origin = answering(&authority.issue(&["127.0.0.1"]));
    let rsp =
        over(directory, &origin.address, "ca = 'ca.pem'", "health = { interval = '100ms', timeout = '5s' }");
    rsp.wait_for_log("check passed: status 200");
    let (directory, _) = secured();
    directory.write("other.pem", Authority::new().pem);
    let rsp = over(directory, &origin.address, "ca = 'other.pem'", "health = 'tcp'");
    rsp.wait_for_log("is down");
    assert_eq!(get(rsp.address(), "/").status(), 503);
}

#[test]
fn the_proxy_header_goes_before_the_handshake() {
    let (directory, authority) = secured();
    let side = server_side(&authority.issue(&["127.0.0.1"]));
    let origin = Origin::run(move |visit| {
        let header = visit.wire.read_exactly(28).unwrap();
        assert!(header.starts_with(b"\r\n\r\n\0\r\nQUIT\n"));
        visit.wire.begin_tls(side()).unwrap();
        while visit.request().is_some() {
            visit.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let rsp = over(directory, &origin.address, "ca = 'ca.pem'", "send_proxy = 'v2'");
    let mut client = Client::connect(rsp.address());
    assert_eq!((client.get("/").text(), client.get("/").text()), ("ok".into(), "ok".into()));
    assert_eq!(origin.connection_count(), 1);
}

#[test]
fn rsp_shows_its_certificate_to_a_server_that_asks_for_it() {
    let (inner, authority) = secured();
    inner.write("clients.pem", &authority.pem);
    let outer = Directory::new();
    outer.write("ca.pem", &authority.pem);
    authority.issue_to("the outer rsp").write(&outer, "own");
    let says = "rsp.on_request(function(req) return rsp.respond { status = 200, body = req.tls.client_subject } end)";
    let tls = "tls = { cert = 'site.crt', key = 'site.key', client_ca = 'clients.pem' }";
    let server = Rsp::start_in(inner, &format!("rsp.listen {{ '127.0.0.1:0', {tls} }}\n{says}"));
    let rsp = over(outer, server.address(), "ca = 'ca.pem', cert = 'own.crt', key = 'own.key'", "");
    assert_eq!(get(rsp.address(), "/").text(), "CN=the outer rsp");
    let without = Directory::new();
    without.write("ca.pem", &authority.pem);
    let rsp = over(without, server.address(), "ca = 'ca.pem'", "");
    assert_eq!(get(rsp.address(), "/").status(), 502);
    rsp.wait_for_log(&format!(
        "server https://{}: TLS failed: received fatal alert: CertificateRequired",
        server.address()
    ));
}

#[test]
fn a_body_that_ends_with_the_connection_ends_only_where_tls_says_so() {
    let (directory, authority) = secured();
    let side = server_side(&authority.issue(&["127.0.0.1"]));
    let origin = Origin::run(move |visit| {
        visit.wire.begin_tls(side()).unwrap();
        let Some(request) = visit.request() else { return };
        visit.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it");
        match request.head.target() {
            "/cut" => visit.wire.finish_sending(),
            "/waits" => visit.wire.announce_end(),
            _ => visit.wire.finish_tls(),
        }
        visit.wait_for_end();
    });
    let rsp = over(directory, &origin.address, "ca = 'ca.pem'", "");
    assert_eq!(get(rsp.address(), "/").text(), "all of it");
    assert_eq!(get(rsp.address(), "/waits").text(), "all of it", "the server waits for our end");
    let mut client = Client::connect(rsp.address());
    // An HTTP/1.0 client has no other framing than the end.
    client.send("GET /cut HTTP/1.0\r\n\r\n");
    assert!(client.try_response().is_err(), "somebody in between may have cut it");
}

#[test]
fn connections_are_opened_before_they_are_needed() {
    let (directory, authority) = secured();
    let origin = answering(&authority.issue(&["127.0.0.1"]));
    let rsp = over(directory, &origin.address, "ca = 'ca.pem'", "min_idle = 2, timeouts = { idle = '1m' }");
    until("two are open", || origin.open_count() == 2);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(get(rsp.address(), "/").status(), 200);
    assert_eq!(origin.connection_count(), 2, "one of them was used");
}
