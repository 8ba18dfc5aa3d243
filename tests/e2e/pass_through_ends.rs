//! TLS that does not pass through: who is refused, what the client and the log are told, and what a config may not say.

use std::time::{Duration, Instant};

use crate::support::*;

/// A listener whose function is this body, one pool of this server, and the rest of the settings.
fn asking(server: &str, body: &str, settings: &str) -> String {
    format!(
        "local web = rsp.pool {{ name = 'web', servers = {{ '{server}' }} }}
        rsp.listen {{ '127.0.0.1:0', sni = function(name) {body} end }}
        rsp.settings {{ access_log = {{ '-', format = 'rsp' }}, {settings} }}\n"
    )
}

/// The alert that this client gets, and the connection's end.
fn alert(client: &mut Client) -> u8 {
    let record = client.wire.read_exactly(7).expect("an alert");
    assert_eq!(record[..6], [21, 3, 3, 0, 2, 2]);
    client.expect_end();
    record[6]
}

fn alert_to(rsp: &Rsp, bytes: impl AsRef<[u8]>) -> u8 {
    alert(Client::connect(rsp.address()).send(bytes))
}

fn hello() -> Vec<u8> {
    TlsClient::new(&Authority::new()).hello()
}

const DECODE_ERROR: u8 = 50;
const INTERNAL_ERROR: u8 = 80;
const UNRECOGNIZED_NAME: u8 = 112;

#[test]
fn a_name_that_the_script_does_not_know_gets_the_alert_for_that() {
    let authority = Authority::new();
    let origin = tls_origin(&authority.issue(&["localhost", "127.0.0.1"]), "web");
    let rsp = Rsp::start(&asking(&origin.address, "return name == nil and web or nil", ""));
    let tls = TlsClient::new(&authority);
    let refused = tls.try_on(Client::connect(rsp.address())).err().expect("no handshake");
    assert!(refused.to_string().contains("UnrecognisedName"), "{refused}");
    rsp.wait_for_output(
        "request=\"-\" host=localhost status=421 sent=0 received=0 pool=- server=- queue=- connect=- first=-",
    );
    rsp.wait_for_output("by=client phase=request end=client-unknown-name");
    // A client that names an address names no host.
    assert_eq!(tls.named("127.0.0.1").connect(rsp.address()).get("/").text(), "web");
    assert_eq!(origin.connection_count(), 1);
}

#[test]
fn a_function_that_fails_refuses_that_connection_alone_whatever_the_fallback() {
    let authority = Authority::new();
    let origin = tls_origin(&authority.issue(&["localhost"]), "web");
    for (body, log) in [
        ("error('no')", "sni: "),
        ("while true do end", "sni: "),
        (
            "return rsp.respond { status = 200 }",
            "sni returned an answer, expected a pool or its name, or nil",
        ),
        ("return 'wbe'", "sni: no pool is named \"wbe\""),
        ("return web, 'nobody'", "sni: "),
        ("return web, nil, 7", ""),
        ("return 7", "sni returned a number, expected"),
    ] {
        let body = format!("if name == 'bad.example' then {body} end return web");
        let rsp = Rsp::start(&asking(&origin.address, &body, "fallback = 'web'"));
        let tls = TlsClient::new(&authority);
        if !log.is_empty() {
            assert_eq!(alert_to(&rsp, tls.named("bad.example").hello()), UNRECOGNIZED_NAME, "{body}");
            rsp.wait_for_log(log);
            rsp.wait_for_log("rsp.lua:2");
            rsp.wait_for_output("status=500 sent=0 received=0 pool=- server=-");
            rsp.wait_for_output("end=script-failed");
        }
        assert_eq!(tls.connect(rsp.address()).get("/").text(), "web");
    }
}

#[test]
fn without_a_server_the_client_gets_an_alert_and_the_log_a_reason() {
    let refusing = RefusingAddress::new();
    let rsp = Rsp::start(&asking(&refusing.address, "return web", ""));
    assert_eq!(alert_to(&rsp, hello()), INTERNAL_ERROR);
    rsp.wait_for_log("pool web: ");
    rsp.wait_for_output(&format!("status=502 sent=0 received=0 pool=web server={}", refusing.address));
    rsp.wait_for_output("phase=connect end=server-refused");
    let full = FullListener::new();
    let config = asking(&full.address, "return web", "");
    let rsp = Rsp::start(
        &config.replace("} }\n        rsp.listen", "}, timeouts = { connect = '200ms' } }\n rsp.listen"),
    );
    assert_eq!(alert_to(&rsp, hello()), INTERNAL_ERROR);
    rsp.wait_for_output("status=504");
    rsp.wait_for_output("end=server-connect-timeout");
}

#[test]
fn what_is_no_hello_ends_at_once_with_its_reason_in_the_log() {
    let origin = Origin::named("web");
    let rsp = Rsp::start(&asking(&origin.address, "return web", ""));
    let answer = get(rsp.address(), "/path");
    assert_eq!(
        (answer.status(), answer.text().as_str()),
        (400, "400 Bad Request\nplain HTTP on a TLS port\n")
    );
    let before = Instant::now();
    Client::connect(rsp.address()).send(b"\x80\x2e\x01\x00\x02").expect_end();
    rsp.wait_for_log("tls: 1 handshake with clients failed: no TLS; the last was with 127.0.0.1");
    assert_eq!(alert_to(&rsp, b"\x16\x03\x01\x00\x05\x02zzzz"), DECODE_ERROR);
    assert_eq!(alert_to(&rsp, b"\x16\x03\x01\x00\x04\x01\x00\x40\x00"), DECODE_ERROR);
    let large = [&b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc"[..], &[0; 16_500]].concat();
    assert_eq!(alert_to(&rsp, large), DECODE_ERROR);
    assert!(before.elapsed() < Duration::from_secs(9), "none waits for a timeout");
    let first = rsp.log().matches("tls: ").count();
    assert_eq!(first, 1, "{}", rsp.log());
    assert_eq!(origin.connection_count(), 0);
    for why in ["\x16\x03\x01\x00\x05\x02zzzz", "\x16\x03\x01\x00\x04\x01\x00\x40\x00"] {
        let rsp = Rsp::start(&asking(&origin.address, "return web", ""));
        assert_eq!(alert_to(&rsp, why.bytes().collect::<Vec<_>>()), DECODE_ERROR);
        let said = if why.contains("zzzz") {
            "malformed ClientHello"
        } else {
            "the ClientHello is larger than 16 KiB"
        };
        rsp.wait_for_log(&format!("failed: {said}"));
    }
}

#[test]
fn a_hello_that_takes_too_long_is_closed() {
    let origin = Origin::named("web");
    let rsp = Rsp::start(&asking(&origin.address, "return web", "timeouts = { handshake = '300ms' }"));
    let mut silent = Client::connect(rsp.address());
    let mut slow = Client::connect(rsp.address());
    let begun = Instant::now();
    // It keeps coming, but not to an end.
    let hello = hello();
    let mut sent = 0;
    while sent < hello.len() - 1
        && slow.wire.send([hello[sent]]).is_ok()
        && begun.elapsed() < Duration::from_secs(20)
    {
        sent += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(begun.elapsed() < Duration::from_secs(15), "{sent} bytes");
    silent.expect_end();
    assert_eq!(origin.connection_count(), 0);
    let mut rsp = rsp;
    rsp.signal(libc::SIGTERM);
    rsp.wait_for_exit();
    assert!(rsp.log().contains("tls-handshake"), "{}", rsp.log());
}

#[test]
fn connections_that_are_passed_through_count_in_the_limits() {
    let origin = Origin::run(|visit| visit.wait_for_end());
    let limits = "max_connections_per_client = 2";
    let rsp = Rsp::start(&asking(&origin.address, "return web", limits));
    let hello = hello();
    let mut held: Vec<Client> = (0..2).map(|_| Client::connect(rsp.address())).collect();
    held.iter_mut().for_each(|client| _ = client.send(&hello));
    until("both are passed through", || origin.connection_count() == 2);
    Client::connect(rsp.address()).expect_end();
    drop(held);
    until("both have ended", || origin.open_count() == 0);
    until("there is room again", || {
        let mut client = Client::connect(rsp.address());
        let _ = client.wire.send(&hello);
        client.stays_open(Duration::from_millis(50))
    });
}

#[test]
fn an_idle_connection_ends_after_the_tunnel_s_timeout() {
    let origin = Origin::run(|visit| visit.wait_for_end());
    let rsp = Rsp::start(&asking(&origin.address, "return web", "timeouts = { tunnel = '300ms' }"));
    let mut client = Client::connect(rsp.address());
    client.send(hello()).expect_end();
    rsp.wait_for_output("phase=tunnel end=tunnel-timeout");
}
