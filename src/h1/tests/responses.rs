//! Decoding responses, by request.

use super::feed::{Codec, check};
use crate::h1::{BackendCodec, HeadLimits};
use crate::http::*;
use crate::http::{Codec as _, StreamId};

fn answers(asked: &str, cases: &[(&str, &str)]) {
    for (bytes, expected) in cases {
        check(|| Codec::client(asked), bytes.as_bytes(), expected);
    }
}

#[test]
fn bodies_end_by_their_framing() {
    answers(
        "GET",
        &[
            ("", ""),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
                "200 \"OK\" Http11 Exact(2) keep [Content-Length: 2] | body \"hi\" | end",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
                "200 \"OK\" Http11 Exact(0) keep [Content-Length: 0] | end",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi",
                "200 \"OK\" Http11 Exact(3) keep [Content-Length: 3] | body \"hi\" | CutBody",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: y\r\n\r\n",
                "200 \"OK\" Http11 Chunked keep [Transfer-Encoding: chunked] | body \"hi\" | trailers [X: y] | end",
            ),
            (
                "HTTP/1.1 200 OK\r\n\r\nuntil\r\nthe end",
                "200 \"OK\" Http11 UntilClose close [] | body \"until\\r\\nthe end\" | end",
            ),
            ("HTTP/1.1 200 OK\r\n\r\n", "200 \"OK\" Http11 UntilClose close [] | end"),
            (
                "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nall",
                "200 \"OK\" Http10 UntilClose close [Connection: keep-alive] | body \"all\" | end",
            ),
        ],
    );
}

#[test]
fn persistence_follows_version_and_options() {
    for (version, connection, expected) in [
        ("1.1", "keep-alive", "Http11 Exact(0) keep"),
        ("1.1", "close", "Http11 Exact(0) close"),
        ("1.0", "close", "Http10 Exact(0) close"),
        ("1.0", "x", "Http10 Exact(0) close"),
        ("1.0", "keep-alive", "Http10 Exact(0) keep"),
    ] {
        let bytes =
            format!("HTTP/{version} 404 Not Found\r\nConnection: {connection}\r\nContent-Length: 0\r\n\r\n");
        let expected =
            format!("404 \"Not Found\" {expected} [Connection: {connection}; Content-Length: 0] | end");
        answers("GET", &[(&bytes, &expected)]);
    }
}

#[test]
fn answers_to_head_and_bodiless_statuses_have_no_body() {
    answers(
        "HEAD",
        &[
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
                "200 \"OK\" Http11 None keep [Content-Length: 5] | end",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                "200 \"OK\" Http11 None keep [Transfer-Encoding: chunked] | end",
            ),
            ("HTTP/1.1 200 OK\r\n\r\n", "200 \"OK\" Http11 None keep [] | end"),
        ],
    );
    answers(
        "GET",
        &[
            ("HTTP/1.1 204 No Content\r\n\r\n", "204 \"No Content\" Http11 None keep [] | end"),
            (
                "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
                "304 \"Not Modified\" Http11 None keep [Content-Length: 5] | end",
            ),
            (
                "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nextra",
                "204 \"No Content\" Http11 None keep [Content-Length: 5] | end | 5 left",
            ),
        ],
    );
}

#[test]
fn bytes_after_a_response_are_left() {
    answers(
        "GET",
        &[(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\n\r\n",
            "200 \"OK\" Http11 Exact(2) keep [Content-Length: 2] | body \"hi\" | end | 19 left",
        )],
    );
}

#[test]
fn interim_responses_come_before_the_final_one() {
    answers(
        "GET",
        &[
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
                "100 \"Continue\" Http11 None keep [] | 103 \"Early Hints\" Http11 None keep [Link: </a>] \
                 | 204 \"No\" Http11 None keep [] | end",
            ),
            ("HTTP/1.1 100 Continue\r\n\r\n", "100 \"Continue\" Http11 None keep [] | CutHead"),
            ("HTTP/1.1 100 Continue\r\n\r\nx", "100 \"Continue\" Http11 None keep [] | StartLine"),
        ],
    );
}

#[test]
fn a_101_makes_a_tunnel_if_requested() {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let shown = "101 \"Switching Protocols\" Http11 None keep [Connection: upgrade; Upgrade: websocket]";
    answers("UPGRADE", &[(switch, &format!("{shown} | end"))]);
    answers(
        "UPGRADE",
        &[(&format!("{switch}\r\nfr\0ames"), &format!("{shown} | body \"\\r\\nfr\\0ames\" | end"))],
    );
    answers(
        "UPGRADE",
        &[(
            "HTTP/1.1 403 No\r\nContent-Length: 1\r\n\r\nx",
            "403 \"No\" Http11 Exact(1) keep [Content-Length: 1] | body \"x\" | end",
        )],
    );
    for other in [
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        "HTTP/1.0 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    ] {
        answers("UPGRADE", &[(other, "Status")]);
    }
    answers("GET", &[(switch, "Status")]);
    answers("HEAD", &[(switch, "Status")]);
}

#[test]
fn reason_phrases_are_unchanged() {
    answers(
        "HEAD",
        &[
            ("HTTP/1.1 200\r\nA: 1\r\n\r\n", "200 \"\" Http11 None keep [A: 1] | end"),
            ("HTTP/1.1 200 \r\nA: 1\r\n\r\n", "200 \"\" Http11 None keep [A: 1] | end"),
            ("HTTP/1.1 599  a\tb  c \r\n\r\n", "599 \" a\\tb  c \" Http11 None keep [] | end"),
            ("HTTP/1.1 200 \u{e4}\r\n\r\n", "200 \"\u{c3}\u{a4}\" Http11 None keep [] | end"),
        ],
    );
}

#[test]
fn malformed_responses_are_refused() {
    for (fault, head) in [
        ("StartLine", "garbage"),
        ("StartLine", "\r\nHTTP/1.1 200 OK"),
        ("StartLine", " HTTP/1.1 200 OK"),
        ("StartLine", "HTTP 200 OK"),
        ("StartLine", "HTTP/1.1200 OK"),
        ("StartLine", "HTTQ/1.1 200 OK"),
        ("Version", "HTTP/2.0 200 OK"),
        ("Version", "HTTP/1.2 200 OK"),
        ("Status", "HTTP/1.1 20 OK"),
        ("Status", "HTTP/1.1 2000 OK"),
        ("Status", "HTTP/1.1 abc OK"),
        ("Status", "HTTP/1.1  200 OK"),
        ("Status", "HTTP/1.1 099 OK"),
        ("Status", "HTTP/1.1 600 OK"),
        ("Status", "HTTP/1.1 200 O\u{0}K"),
        ("Status", "HTTP/1.1 +20 OK"),
        ("LineEnd", "HTTP/1.1 200 OK\nA: 1"),
        ("LineEnd", "HTTP/1.1 200 OK\rA: 1"),
        ("FieldLine", "HTTP/1.1 200 OK\r\nA : 1"),
        ("FieldLine", "HTTP/1.1 200 OK\r\nA: 1\r\n b"),
        ("FieldLine", "HTTP/1.1 200 OK\r\n A: 1"),
        ("FieldLine", "HTTP/1.1 200 OK\r\nA: \u{0}"),
        ("FieldLine", "HTTP/1.1 200 OK\r\n<html>"),
        ("ContentLength", "HTTP/1.1 200 OK\r\nContent-Length: 1, 1"),
        ("ContentLength", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1"),
        ("ContentLength", "HTTP/1.1 304 OK\r\nContent-Length: x"),
        ("TwoLengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked"),
        ("TransferEncoding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip"),
        ("TransferEncoding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked"),
        ("TransferEncoding", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked"),
        ("TransferEncoding", "HTTP/1.0 304 OK\r\nTransfer-Encoding: chunked"),
        ("UnknownCoding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked"),
    ] {
        check(|| Codec::strict_client("GET"), format!("{head}\r\n\r\n").as_bytes(), fault);
    }
}

/// A backend codec that has sent a request and read the complete response.
fn after(response: &str) -> BackendCodec {
    let (mut client, mut head, mut at) = (BackendCodec::default(), ResponseHead::default(), 0);
    client.encode_head(&RequestHead::default(), Persistence::Keep, &mut Vec::new());
    let limits = HeadLimits::RESPONSE;
    while let Ok(Some(step)) = client.decode(
        &response.as_bytes()[at..],
        false,
        usize::MAX,
        &limits,
        &mut head,
        &mut Fields::default(),
    ) {
        at += step.consumed;
        if step.end {
            return client;
        }
    }
    panic!("no whole response: {response:?}");
}

#[test]
fn leniency_is_reported_at_the_end_of_each_message() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (response, lenient) in [
        (format!("{chunked}2\r\nhi\r\n0\r\n\r\n"), false),
        (format!("{chunked}2 \r\nhi\r\n0\r\n\r\n"), true),
        (format!("{chunked}2\nhi\r\n0\r\n\r\n"), true),
        (format!("{chunked}2\r\nhi\r\n0\n\r\n"), true),
        (format!("\r\n{chunked}0\r\n\r\n"), true),
        ("HTTP/1.1 103 A\n\nHTTP/1.1 204 B\r\n\r\n".into(), true),
        ("HTTP/1.1 103 A\r\n\r\nHTTP/1.1 204 B\r\n\r\n".into(), false),
    ] {
        let mut client = after(&response);
        assert_eq!(client.was_lenient(), lenient, "{response:?}");
        client.next_message(StreamId::ONLY);
        assert!(!client.was_lenient());
    }
}
