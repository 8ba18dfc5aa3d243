//! Answers of rsp's own: what it refuses from clients, and what it says when a server is at fault.

use crate::support::*;

/// Sends raw bytes and expects this status, a short plain text, and the end of the connection; the origin must
/// not have heard of it.
fn refused(bytes: impl AsRef<[u8]>, status: u16) {
    let origin = Origin::named("never");
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    let answer = client.send(bytes.as_ref()).response();
    assert_eq!(answer.status(), status, "{}", answer.text());
    assert!(answer.get("content-type").unwrap_or_default().starts_with("text/plain"), "{:?}", answer.head);
    assert!(!answer.body.is_empty() && answer.body.len() < 500);
    assert!(answer.head.says("connection", "close"), "{:?}", answer.head);
    client.expect_end();
    assert_eq!(origin.head_count(), 0);
    assert_eq!(get(rsp.address(), "/").text(), "never", "others are served");
}

/// An origin's raw answer that must become a 502.
fn bad_gateway(answer: impl AsRef<[u8]>) {
    let answer = answer.as_ref().to_vec();
    let origin = Origin::run(move |visit| {
        visit.request();
        visit.send(&answer);
    });
    let rsp = Rsp::over(&[&origin.address]);
    let answer = get(rsp.address(), "/");
    assert_eq!(answer.status(), 502, "{:?}", answer.text());
    assert_eq!(origin.request_count(), 1, "an answer that is malformed is still an answer");
}

#[test]
fn a_start_line_that_is_none_is_400() {
    refused("hello\r\n\r\n", 400);
    refused("GET /\r\nHost: a\r\n\r\n", 400);
    refused("GET / HTTP/1.1 more\r\nHost: a\r\n\r\n", 400);
}

/// With timeouts of an hour nothing but the bytes themselves decides.
#[test]
fn what_can_never_become_a_request_is_refused_before_any_timeout() {
    let origin = Origin::run(|visit| visit.wait_for_end());
    let patience = "rsp.settings { timeouts = { head = '1h', body = '1h', idle = '1h' } }";
    let rsp = Rsp::start(&format!("{}{patience}", balanced(&[&origin.address])));
    let post = "POST / HTTP/1.1\r\nHost: a\r\n";
    for (bytes, status) in [
        ("GET /\r\n".into(), 400),
        ("GET / HTTP/2.0\r\n".into(), 505),
        ("SSH-2.0-OpenSSH_9.2\r\n".into(), 400),
        ("GET /\u{1}".into(), 400),
        ("\u{16}\u{3}\u{1}".into(), 400),
        (format!("{post}Content-Length: 9223372036854775808\r\n\r\n"), 400),
        (format!("{post}Transfer-Encoding: chunked\r\n\r\n8000000000000000"), 400),
        (format!("{post}Transfer-Encoding: chunked\r\n\r\n1;\r"), 400),
    ] {
        let mut client = Client::connect(rsp.address());
        let answer = client.send(&bytes).response();
        assert_eq!(answer.status(), status, "{bytes:?}");
    }
}

#[test]
fn tls_on_a_plain_port_is_400() {
    refused(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and so on\r\n\r\n", 400);
}

#[test]
fn a_missing_or_repeated_host_is_400() {
    refused("GET / HTTP/1.1\r\n\r\n", 400);
    refused("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400);
}

#[test]
fn a_malformed_field_is_400() {
    refused("GET / HTTP/1.1\r\nHost: a\r\nno colon here\r\n\r\n", 400);
    refused("GET / HTTP/1.1\r\nHost: a\r\nX-Space : b\r\n\r\n", 400);
    refused("GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n folded\r\n\r\n", 400);
    refused(b"GET / HTTP/1.1\r\nHost: a\r\nX: nul\0nul\r\n\r\n", 400);
}

#[test]
fn two_readings_of_a_bodys_length_are_400() {
    refused(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    );
    refused("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400);
    refused("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", 400);
    refused("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc", 400);
    refused("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nabc", 400);
}

#[test]
fn an_unknown_transfer_coding_is_501() {
    refused("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: sideways, chunked\r\n\r\n0\r\n\r\n", 501);
}

#[test]
fn an_unknown_version_is_505() {
    refused("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505);
}

#[test]
fn a_target_that_is_too_long_is_414() {
    refused(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(20_000)), 414);
}

#[test]
fn a_head_that_is_too_large_is_431() {
    refused(format!("GET / HTTP/1.1\r\nHost: a\r\nX-Big: {}\r\n\r\n", "x".repeat(20_000)), 431);
}

#[test]
fn a_head_that_never_ends_is_431_as_soon_as_it_is_too_large() {
    let origin = Origin::named("never");
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX-Big: {}", "x".repeat(17_000)));
    assert_eq!(client.response().status(), 431);
}

#[test]
fn a_hundred_fields_pass_and_one_more_is_431() {
    let fields = |count: usize| (0..count).map(|n| format!("X-{n}: {n}\r\n")).collect::<String>();
    let origin = Origin::named("fits");
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", fields(99)));
    assert_eq!(client.response().text(), "fits");
    refused(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", fields(100)), 431);
}

#[test]
fn a_client_that_is_still_sending_can_read_the_refusal() {
    let origin = Origin::named("never");
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: nonsense\r\n\r\n");
    for _ in 0..20 {
        if client.wire.send([b'x'; 10_000]).is_err() {
            break;
        }
    }
    assert_eq!(client.response().status(), 400);
}

#[test]
fn a_malformed_chunk_ends_the_request_visibly_on_both_sides() {
    let origin = Origin::named("never");
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect(rsp.address());
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\nnot a size\r\n");
    match client.try_response() {
        Ok(answer) => assert_eq!(answer.status(), 400),
        Err(error) => assert!(error.kind() != std::io::ErrorKind::WouldBlock, "it hangs: {error}"),
    }
    until("the origin's connection ended", || origin.open_count() == 0);
    assert_eq!(origin.request_count(), 0);
}

#[test]
fn an_answer_that_is_not_http_is_502() {
    bad_gateway("SSH-2.0-OpenSSH_9.2\r\n\r\n");
    bad_gateway("HTTP/1.1 abc Bad\r\n\r\n");
    bad_gateway("HTTP/1.1 99 Low\r\n\r\n");
}

#[test]
fn an_answer_with_two_lengths_is_502() {
    bad_gateway("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd");
    bad_gateway("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: gzip\r\n\r\nabc");
}

#[test]
fn an_answer_cut_in_its_head_is_502() {
    bad_gateway("HTTP/1.1 200 OK\r\nContent-Le");
}

#[test]
fn an_answer_with_too_large_a_head_is_502() {
    bad_gateway(format!("HTTP/1.1 200 OK\r\nX-Big: {}\r\nContent-Length: 0\r\n\r\n", "x".repeat(40_000)));
}

#[test]
fn a_switch_of_protocols_nobody_asked_for_is_502() {
    bad_gateway("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
}

#[test]
fn an_answer_to_head_has_no_body() {
    let refusing = RefusingAddress::new();
    let rsp = Rsp::over(&[&refusing.address]);
    let mut client = Client::connect(rsp.address());
    for _ in 0..2 {
        client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response_to("HEAD").status(), 502);
    }
}

#[test]
fn an_answer_to_an_upload_leaves_the_connection_in_step() {
    let refusing = RefusingAddress::new();
    let rsp = Rsp::over(&[&refusing.address]);
    let mut client = Client::connect(rsp.address());
    assert_eq!(client.post("/", "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n").status(), 502);
    // Either the body was read away and the connection goes on, or it was closed: never a second answer.
    client.wire.finish_sending();
    client.expect_end();
}

#[test]
fn a_body_larger_than_is_allowed_is_a_413_whatever_its_framing() {
    let origin = Origin::echo();
    let config = format!("{}rsp.settings {{ max_body = 10 }}", balanced(&[&origin.address]));
    let rsp = Rsp::start(&config);
    let mut client = Client::connect(rsp.address());
    assert_eq!(client.post("/", "0123456789").text(), "0123456789");
    let head = "POST / HTTP/1.1\r\nHost: a\r\n";
    let answer = client.send(format!("{head}Content-Length: 11\r\n\r\n")).response();
    assert_eq!((answer.status(), answer.head.says("connection", "close")), (413, true));
    client.wire.finish_sending();
    client.expect_end();
    let mut client = Client::connect(rsp.address());
    client.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n8\r\n01234567\r\n"));
    client.send("3\r\n890\r\n0\r\n\r\n");
    assert_eq!(client.response().status(), 413);
    assert_eq!(origin.request_count(), 1);
}
