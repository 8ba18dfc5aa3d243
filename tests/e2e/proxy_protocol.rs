//! Received PROXY headers: trusted only from trusted addresses, parsed completely before anything else, and without
//! losing a byte after them.

use std::time::{Duration, Instant};

use crate::support::*;

const V4: &str = "PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n";
const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A binary header.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = (block.len() as u16).to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n".as_slice(), &[command, family], &length, block].concat()
}

fn v2_tcp4() -> Vec<u8> {
    v2(0x21, 0x11, &[192, 0, 2, 7, 192, 0, 2, 1, 0x12, 0x67, 0, 80])
}

fn v2_tcp6() -> Vec<u8> {
    let ip = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
    v2(0x21, 0x21, &[&ip("2001:db8::7")[..], &ip("2001:db8::1"), &[0x12, 0x67, 0, 80]].concat())
}

/// Answers every request with what is known about the client, on a listener that expects a PROXY header.
fn proxied(settings: &str) -> Rsp {
    Rsp::start(&format!(
        "rsp.listen {{ '127.0.0.1:0', proxy_protocol = true }}
         rsp.on_request(function(req) assert(req.method == 'GET') return rsp.respond {{ status = 200,
           body = req.client_ip .. ' ' .. req.client_port .. ' ' .. (req.headers['X-Forwarded-For'] or '-') }} end)
         rsp.settings {{ {settings} }}"
    ))
}

fn trusting_loopback() -> Rsp {
    proxied("trusted = { '127.0.0.1', '10.0.0.0/8' }")
}

/// What the script knows about a client that sends this header.
fn known(rsp: &Rsp, header: impl AsRef<[u8]>, fields: &str) -> String {
    let mut client = Client::connect(rsp.address());
    client.send(header).send(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
    client.response().text()
}

#[test]
fn the_header_determines_the_client() {
    let rsp = trusting_loopback();
    assert_eq!(known(&rsp, V4, ""), "192.0.2.7 4711 192.0.2.7");
    assert_eq!(known(&rsp, v2_tcp4(), ""), "192.0.2.7 4711 192.0.2.7");
    assert_eq!(known(&rsp, v2_tcp6(), ""), "2001:db8::7 4711 2001:db8::7");
    let line = "PROXY TCP6 2001:db8::7 2001:db8::1 4711 80\r\n";
    assert_eq!(known(&rsp, line, ""), "2001:db8::7 4711 2001:db8::7");
    let mapped = "PROXY TCP6 ::ffff:192.0.2.7 ::1 4711 80\r\n";
    assert_eq!(known(&rsp, mapped, ""), "192.0.2.7 4711 192.0.2.7");
}

#[test]
fn extensions_are_skipped_up_to_a_limit() {
    let rsp = trusting_loopback();
    let mut block = vec![192, 0, 2, 7, 192, 0, 2, 1, 0x12, 0x67, 0, 80];
    block.extend([0x04, 0x0f, 0xf1]);
    block.resize(4096, 0);
    assert_eq!(known(&rsp, v2(0x21, 0x11, &block), ""), "192.0.2.7 4711 192.0.2.7");
    block.push(0);
    Client::connect(rsp.address()).send(v2(0x21, 0x11, &block)).expect_end();
    rsp.wait_for_log("1 connection closed: wrong length in the PROXY header; the last was from 127.0.0.1");
}

#[test]
fn a_header_may_come_in_any_pieces_and_what_follows_is_not_lost() {
    let rsp = trusting_loopback();
    for header in [V4.as_bytes().to_vec(), v2_tcp4()] {
        let two_requests = [&header[..], REQUEST.as_bytes(), REQUEST.as_bytes()].concat();
        for cut in 1..two_requests.len() {
            let mut client = Client::connect(rsp.address());
            client.send(&two_requests[..cut]).send(&two_requests[cut..]);
            for _ in 0..2 {
                assert_eq!(client.response().text(), "192.0.2.7 4711 192.0.2.7", "cut at {cut}");
            }
        }
        let mut client = Client::connect(rsp.address());
        for byte in two_requests {
            client.send([byte]);
        }
        assert_eq!(client.response().text(), client.response().text());
    }
}

#[test]
fn a_large_upload_after_a_header_arrives_complete() {
    let origin = Origin::echo();
    let rsp = Rsp::start(&format!(
        "rsp.listen {{ '127.0.0.1:0', proxy_protocol = true }} rsp.pool {{ servers = {{ '{}' }} }}
         rsp.settings {{ trusted = {{ '127.0.0.1' }} }}",
        origin.address
    ));
    let body = content_bytes(51, 300_000);
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut client = Client::connect(rsp.address());
    client.send([V4.as_bytes(), head.as_bytes(), &body].concat());
    assert_eq!(hash_of(&client.response().body), hash_of(&body));
    assert_eq!(origin.last().get("x-forwarded-for"), Some("192.0.2.7"));
}

#[test]
fn the_header_applies_to_every_request_of_the_connection() {
    let rsp = trusting_loopback();
    let mut client = Client::connect(rsp.address());
    client.send(v2_tcp4());
    for _ in 0..3 {
        assert_eq!(client.get("/").text(), "192.0.2.7 4711 192.0.2.7");
    }
    // A second header is not a request.
    assert_eq!(client.send(format!("{V4}{REQUEST}")).response().status(), 400);
}

#[test]
fn forwarding_fields_of_the_named_client_are_trusted_only_if_it_is() {
    let rsp = trusting_loopback();
    let forged = "X-Forwarded-For: 6.6.6.6\r\n";
    assert_eq!(known(&rsp, V4, forged), "192.0.2.7 4711 192.0.2.7");
    let through_another = "PROXY TCP4 10.0.0.5 10.0.0.1 4711 80\r\n";
    assert_eq!(known(&rsp, through_another, forged), "6.6.6.6 0 6.6.6.6, 10.0.0.5");
}

#[test]
fn with_local_or_unknown_the_client_is_the_proxy() {
    let rsp = trusting_loopback();
    let own = |text: String| text.strip_prefix("127.0.0.1 ").map(|rest| rest.split(' ').count());
    for header in ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN 1.1.1.1 2.2.2.2 1 2\r\n"] {
        assert_eq!(own(known(&rsp, header, "")), Some(2));
    }
    for header in [v2(0x20, 0, b""), v2(0x20, 0x11, &[9; 12]), v2(0x21, 0, b"xyz"), v2(0x21, 0x31, &[0; 216])]
    {
        assert_eq!(own(known(&rsp, header, "")), Some(2));
    }
    // The proxy itself is trusted; an unknown client behind it is not.
    let forged = "X-Forwarded-For: 6.6.6.6\r\n";
    assert_eq!(known(&rsp, v2(0x20, 0, b""), forged), "6.6.6.6 0 6.6.6.6, 127.0.0.1");
    for header in [b"PROXY UNKNOWN\r\n".to_vec(), v2(0x21, 0, b""), v2(0x21, 0x31, &[0; 216])] {
        let text = known(&rsp, header, forged);
        assert!(text.starts_with("127.0.0.1 ") && !text.contains("6.6.6.6"), "{text}");
    }
}

#[test]
fn an_untrusted_address_is_closed_at_once_and_logged_in_one_line() {
    let (rsp, since) = (trusting_loopback(), Instant::now());
    for _ in 0..5 {
        let mut stranger = Client::connect_from("127.0.0.9", rsp.address());
        // It may be closed before this is sent.
        let _ = stranger.wire.send(format!("{V4}{REQUEST}"));
        stranger.expect_end();
    }
    rsp.wait_for_log("1 connection refused: not in trusted; the last was from 127.0.0.9");
    assert_eq!(known(&rsp, V4, ""), "192.0.2.7 4711 192.0.2.7", "the proxy is served all the same");
    rsp.expect_limited_log("refused", since);
}

#[test]
fn a_malformed_header_closes_the_connection_without_an_answer() {
    let (rsp, since) = (trusting_loopback(), Instant::now());
    let no_headers: [&[u8]; 7] = [
        REQUEST.as_bytes(),
        b"\r\nGET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"PROXY TCP4 192.0.2.7 192.0.2.1 4711\r\n",
        b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\nGET / HTTP/1.1\r\n",
        b"PROXY UNKNOWN 0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
        b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\x0c",
    ];
    for bytes in no_headers {
        Client::connect(rsp.address()).send(bytes).expect_end();
    }
    let mut cut = Client::connect(rsp.address());
    cut.send(&V4[..20]).wire.finish_sending();
    cut.expect_end();
    rsp.wait_for_log("1 connection closed: no PROXY header; the last was from 127.0.0.1");
    rsp.expect_limited_log(" closed: ", since);
    let mut silent = Client::connect(rsp.address());
    silent.wire.finish_sending();
    silent.expect_end();
}

#[test]
fn a_late_header_closes_the_connection_without_an_answer() {
    let rsp = proxied("trusted = { '127.0.0.1' }, timeouts = { head = '2s' }, access_log = '-'");
    for begun in ["", "PROXY", V4] {
        let start = Instant::now();
        Client::connect(rsp.address()).send(begun).expect_end();
        assert!(start.elapsed() >= Duration::from_millis(1900), "{begun:?}");
    }
    rsp.wait_for_log("1 connection closed: late PROXY header; the last was from 127.0.0.1");
    // The head timeout begins after the header.
    let mut client = Client::connect(rsp.address());
    assert_eq!(client.send(V4).send("GET").response().status(), 408);
    rsp.wait_for_output("192.0.2.7 - - [");
    assert_eq!(rsp.output().lines().count(), 1, "without a request there is nothing to log");
}

#[test]
fn a_plain_listener_refuses_a_header() {
    let rsp = Rsp::start(&on_any_port(
        "rsp.on_request(function() return rsp.respond { status = 200 } end)
         rsp.settings { trusted = { '127.0.0.1' } }",
    ));
    for header in [V4.as_bytes().to_vec(), v2_tcp4()] {
        let mut client = Client::connect(rsp.address());
        assert_eq!(client.send([&header[..], REQUEST.as_bytes()].concat()).response().status(), 400);
    }
}

#[test]
fn listeners_with_and_without_headers_work_side_by_side() {
    let directory = Directory::new();
    let socket = format!("unix:{}", directory.join("rsp.sock").display());
    let rsp = Rsp::start_in(
        directory,
        &format!(
            "rsp.listen '127.0.0.1:0'
             rsp.listen {{ '127.0.0.1:0', proxy_protocol = true }}
             rsp.listen {{ '{socket}', proxy_protocol = true }}
             rsp.on_request(function(req) return rsp.respond {{ status = 200, body = req.client_ip }} end)
             rsp.settings {{ trusted = {{ '127.0.0.1', 'unix:' }} }}"
        ),
    );
    let [plain, tcp, unix] = rsp.addresses() else { panic!("{:?}", rsp.addresses()) };
    assert_eq!(get(plain, "/").text(), "127.0.0.1");
    for address in [tcp, unix] {
        assert_eq!(Client::connect(address).send(V4).get("/").text(), "192.0.2.7");
    }
    assert_eq!(Client::connect(unix).send(v2(0x20, 0, b"")).get("/").text(), "unix:");
}

#[test]
fn the_log_names_the_client_of_the_header() {
    let rsp = proxied("trusted = { '127.0.0.1' }, access_log = { '-', format = 'rsp' }");
    known(&rsp, v2_tcp4(), "");
    rsp.wait_for_output("client=192.0.2.7:4711 request=\"GET /\"");
}

#[test]
fn a_stop_does_not_wait_for_headers() {
    let rsp = proxied("trusted = { '127.0.0.1' }");
    let mut waiting = Client::connect(rsp.address());
    // Accepted in order: once this one is answered, the one before it has been accepted.
    assert_eq!(known(&rsp, V4, ""), "192.0.2.7 4711 192.0.2.7");
    rsp.stop();
    waiting.expect_end();
}
