//! Decoding requests: what is accepted, and every refusal.

use super::feed::{Codec, check};

fn all(cases: &[(&str, &str)]) {
    for (bytes, expected) in cases {
        check(Codec::server, bytes.as_bytes(), expected);
    }
}

/// Requests that are refused once their head is complete: request line and fields without the last empty line.
fn refused(fault: &str, heads: &[&str]) {
    for head in heads {
        check(Codec::server, format!("{head}\r\n\r\n").as_bytes(), fault);
    }
}

#[test]
fn plain_requests_are_decoded() {
    all(&[
        ("", ""),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / Http11 None keep [Host: a] | end"),
        (
            "GET /a?b=c HTTP/1.1\r\nhost:\ta:80 \t\r\nX-Empty:\r\nX-Text: a \u{e4} b\r\n\r\n",
            "GET /a?b=c Http11 None keep [host: a:80; X-Empty: ; X-Text: a \u{c3}\u{a4} b] | end",
        ),
        ("M-SEARCH /x HTTP/1.1\r\nHost:\r\n\r\n", "M-SEARCH /x Http11 None keep [Host: ] | end"),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * Http11 None keep [Host: a] | end"),
        (
            "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
            "CONNECT a:443 Http11 None keep [Host: a:443] | end",
        ),
    ]);
}

#[test]
fn one_empty_line_before_a_request_is_ignored() {
    all(&[
        ("\r\n", ""),
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / Http11 None keep [Host: a] | end"),
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "StartLine"),
        ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "LineEnd"),
        ("\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "LineEnd"),
        ("\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", "LineEnd"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n",
            "POST / Http11 Exact(1) keep [Host: a; Content-Length: 1] | body \"x\" | end \
             | GET / Http11 None keep [Host: b] | end",
        ),
    ]);
}

#[test]
fn the_authority_of_an_absolute_target_becomes_host() {
    all(&[
        ("GET http://b/c?d HTTP/1.1\r\nHost: a\r\n\r\n", "GET /c?d Http11 None keep [Host: b] | end"),
        (
            "GET HTTPS://b:8443 HTTP/1.1\r\nA: 1\r\nhost: a\r\n\r\n",
            "GET / Http11 None keep [A: 1; host: b:8443] | end",
        ),
        ("GET http://b?c/d HTTP/1.1\r\nHost: a\r\n\r\n", "GET /?c/d Http11 None keep [Host: b] | end"),
        ("OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * Http11 None keep [Host: b] | end"),
        ("OPTIONS http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS / Http11 None keep [Host: b] | end"),
        ("GET http://b/ HTTP/1.0\r\n\r\n", "GET / Http10 None close [Host: b] | end"),
        ("GET http://b/ HTTP/1.1\r\n\r\n", "Host"),
    ]);
}

#[test]
fn bodies_end_by_their_framing() {
    all(&[
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
            "POST / Http11 Exact(5) keep [Host: a; Content-Length: 5] | body \"hello\" | end",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 0\r\n\r\n",
            "POST / Http11 Exact(0) keep [Host: a; content-length: 0] | end",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell",
            "POST / Http11 Exact(5) keep [Host: a; Content-Length: 5] | body \"hell\" | CutBody",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n00a;x=\"y;z\"; w\r\n, wide wor\r\n2\r\nld\r\n0\r\n\r\n",
            "POST / Http11 Chunked keep [Host: a; Transfer-Encoding: Chunked] | body \"hello, wide world\" | end",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n000;last\r\nA: 1\r\nContent-Length:  2 \r\n\r\n",
            "POST / Http11 Chunked keep [Host: a; Transfer-Encoding: chunked] | body \"x\" \
             | trailers [A: 1; Content-Length: 2] | end",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST / Http11 Chunked keep [Host: a; Transfer-Encoding: chunked] | end",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n",
            "POST / Http11 Chunked keep [Host: a; Transfer-Encoding: chunked] | body \"x\" | CutBody",
        ),
    ]);
}

#[test]
fn pipelined_requests_come_one_after_the_other() {
    all(&[
        (
            "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: b\r\n\r\n",
            "GET /1 Http11 None keep [Host: a] | end | GET /2 Http11 None keep [Host: b] | end",
        ),
        (
            "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\nGET /2 HTTP/1.1\r\nHost: b\r\n\r\nGE",
            "POST /1 Http11 Chunked keep [Host: a; Transfer-Encoding: chunked] | body \"x\" | end \
             | GET /2 Http11 None keep [Host: b] | end | CutHead",
        ),
        (
            "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nxyGET /2 HTTP/1.1\r\n\r\n",
            "POST /1 Http11 Exact(2) keep [Host: a; Content-Length: 2] | body \"xy\" | end | Host",
        ),
    ]);
}

#[test]
fn persistence_follows_version_and_options() {
    for (version, connection, expected) in [
        ("1.1", "", "Http11 None keep"),
        ("1.1", "Connection: close\r\n", "Http11 None close"),
        ("1.1", "Connection: x, CLOSE ,y\r\n", "Http11 None close"),
        ("1.1", "Connection: keep-alive\r\nConnection: close\r\n", "Http11 None close"),
        ("1.1", "Connection: closed\r\n", "Http11 None keep"),
        ("1.0", "", "Http10 None close"),
        ("1.0", "Connection: Keep-Alive\r\n", "Http10 None keep"),
        ("1.0", "Connection: keep-alive, close\r\n", "Http10 None close"),
    ] {
        let bytes = format!("GET / HTTP/{version}\r\nHost: a\r\n{connection}\r\n");
        let fields = connection.trim_end().replace("\r\n", "; ");
        let shown = if fields.is_empty() { "Host: a".to_string() } else { format!("Host: a; {fields}") };
        check(Codec::server, bytes.as_bytes(), &format!("GET / {expected} [{shown}] | end"));
    }
}

#[test]
fn an_upgrade_names_one_protocol_and_websocket_needs_a_get_without_body() {
    for (line, fields, upgrade) in [
        ("GET / HTTP/1.1", "Connection: keep-alive, Upgrade; Upgrade: WebSocket", true),
        ("GET / HTTP/1.1", "Connection: upgrade; Upgrade: websocket", true),
        ("GET / HTTP/1.1", "Upgrade: websocket", false),
        ("GET / HTTP/1.1", "Connection: upgrade", false),
        ("GET / HTTP/1.1", "Connection: upgrade; Upgrade: tcp", true),
        ("POST / HTTP/1.1", "Connection: upgrade; Upgrade: tcp", true),
        ("PUT / HTTP/1.1", "Connection: upgrade; Upgrade: SPDY/3.1", true),
        ("GET / HTTP/1.1", "Connection: upgrade; Upgrade: a b", false),
        ("GET / HTTP/1.1", "Connection: upgrade; Upgrade: a/b/c", false),
        ("GET / HTTP/1.1", "Connection: upgrade; Upgrade: tcp/", false),
        ("GET / HTTP/1.1", "Connection: upgrade; Upgrade: websocket, h2c", false),
        ("GET / HTTP/1.1", "Connection: upgrade; Upgrade: h2c; Upgrade: websocket", false),
        ("GET / HTTP/1.0", "Connection: upgrade, keep-alive; Upgrade: websocket", false),
        ("POST / HTTP/1.1", "Connection: upgrade; Upgrade: websocket", false),
    ] {
        let bytes = format!("{line}\r\nHost: a\r\n{}\r\n\r\n", fields.replace("; ", "\r\n"));
        let (method, version) =
            (&line[..line.len() - 11], if line.ends_with('1') { "Http11" } else { "Http10" });
        let mark = if upgrade { " upgrade" } else { "" };
        let expected = format!("{method} / {version} None keep{mark} [Host: a; {fields}] | end");
        check(Codec::server, bytes.as_bytes(), &expected);
    }
    let with_body = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\nx";
    check(
        Codec::server,
        with_body.as_bytes(),
        "GET / Http11 Exact(1) keep [Host: a; Connection: upgrade; Upgrade: websocket; Content-Length: 1] | body \"x\" | end",
    );
}

#[test]
fn malformed_start_lines_are_refused() {
    refused(
        "StartLine",
        &[
            " GET / HTTP/1.1\r\nHost: a",
            "GET\r\nHost: a",
            "GET /\r\nHost: a",
            "GET / \r\nHost: a",
            "GET / HTTP/1.1 \r\nHost: a",
            "GET / http/1.1\r\nHost: a",
            "GET / HTTP/11\r\nHost: a",
            "GET / HTTP/1.1x\r\nHost: a",
            "GET HTTP/1.1\r\nHost: a",
            "GE(T / HTTP/1.1\r\nHost: a",
            "G\u{e4}T / HTTP/1.1\r\nHost: a",
            "GET\t/ HTTP/1.1\r\nHost: a",
            "{\"json\": 1}",
        ],
    );
    refused("TlsHello", &["\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}"]);
    refused(
        "Version",
        &[
            "GET / HTTP/2.0\r\nHost: a",
            "GET / HTTP/1.2\r\nHost: a",
            "GET / HTTP/0.9\r\nHost: a",
            "PRI * HTTP/2.0",
        ],
    );
    refused(
        "Target",
        &[
            "GET  / HTTP/1.1\r\nHost: a",
            "GET /  HTTP/1.1\r\nHost: a",
            "GET  HTTP/1.1\r\nHost: a",
            "GET /a b HTTP/1.1\r\nHost: a",
            "GET /a\tb HTTP/1.1\r\nHost: a",
            "GET /a\u{0}b HTTP/1.1\r\nHost: a",
            "GET /a\u{7f}b HTTP/1.1\r\nHost: a",
            "GET /a\u{e4}b HTTP/1.1\r\nHost: a",
            "GET /a#b HTTP/1.1\r\nHost: a",
            "GET * HTTP/1.1\r\nHost: a",
            "GET a HTTP/1.1\r\nHost: a",
            "GET ftp://a/ HTTP/1.1\r\nHost: a",
            "GET http://u:p@a/ HTTP/1.1\r\nHost: a",
            "GET http:///x HTTP/1.1\r\nHost: a",
            "CONNECT / HTTP/1.1\r\nHost: a",
            "CONNECT a HTTP/1.1\r\nHost: a",
        ],
    );
}

#[test]
fn malformed_fields_are_refused() {
    refused(
        "FieldLine",
        &[
            "GET / HTTP/1.1\r\nHost: a\r\nX : 1",
            "GET / HTTP/1.1\r\nHost: a\r\n X: 1",
            "GET / HTTP/1.1\r\n X: 1\r\nHost: a",
            "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded",
            "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n\tfolded",
            "GET / HTTP/1.1\r\nHost: a\r\nX",
            "GET / HTTP/1.1\r\nHost: a\r\n: 1",
            "GET / HTTP/1.1\r\nHost: a\r\nX(: 1",
            "GET / HTTP/1.1\r\nHost: a\r\nX\u{e4}: 1",
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\u{0}b",
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\u{7f}b",
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\u{1}b",
        ],
    );
    refused(
        "LineEnd",
        &[
            "GET / HTTP/1.1\nHost: a",
            "GET / HTTP/1.1\r\nHost: a\nX: 1",
            "GET / HTTP/1.1\r\nHost: a\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
            "GET / HTTP/1.1\r\nHost: a\rX: 1",
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb",
            "GET / HTTP/1.1\r\nHost: a\r\n\rX: 1",
            "GET /\r HTTP/1.1\r\nHost: a",
            "GET / HTTP/1.1\r\r\nHost: a",
            "GET / HTTP/1.1\r\nHost: a\r",
        ],
    );
    refused(
        "Host",
        &[
            "GET / HTTP/1.1",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a",
            "GET / HTTP/1.0\r\nHost: a\r\nhost: b",
            "GET / HTTP/1.1\r\nHost: a b",
            "GET / HTTP/1.1\r\nHost: a/b",
            "GET / HTTP/1.0\r\nHost: a@b",
            "GET / HTTP/1.1\r\nHost: a:b",
            "GET / HTTP/1.1\r\nHost: a, b",
            "GET / HTTP/1.1\r\nHost: :80",
        ],
    );
}

#[test]
fn lengths_with_two_readings_are_refused() {
    let post = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}");
    for (fault, fields) in [
        ("ContentLength", "Content-Length: +5"),
        ("ContentLength", "Content-Length: -1"),
        ("ContentLength", "Content-Length:"),
        ("ContentLength", "Content-Length: 0x5"),
        ("ContentLength", "Content-Length: 5 5"),
        ("ContentLength", "Content-Length: 5, 5"),
        ("ContentLength", "Content-Length: 18446744073709551616"),
        ("ContentLength", "Content-Length: 5\r\nContent-Length: 5"),
        ("ContentLength", "Content-Length: 5\r\nContent-Length: 6"),
        ("TwoLengths", "Content-Length: 5\r\nTransfer-Encoding: chunked"),
        ("TwoLengths", "Transfer-Encoding: chunked\r\nContent-Length: 5"),
        ("TwoLengths", "Transfer-Encoding: identity\r\nContent-Length: 0"),
        ("TransferEncoding", "Transfer-Encoding: chunked, chunked"),
        ("TransferEncoding", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        ("TransferEncoding", "Transfer-Encoding: chunked, gzip"),
        ("TransferEncoding", "Transfer-Encoding: identity"),
        ("TransferEncoding", "Transfer-Encoding: xchunked"),
        ("TransferEncoding", "Transfer-Encoding: gzip"),
        ("TransferEncoding", "Transfer-Encoding: chunked;q=1"),
        ("TransferEncoding", "Transfer-Encoding: \"chunked\""),
        ("TransferEncoding", "Transfer-Encoding:"),
        ("TransferEncoding", "Transfer-Encoding: ,chunked"),
        ("UnknownCoding", "Transfer-Encoding: gzip, chunked"),
        ("UnknownCoding", "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked"),
    ] {
        refused(fault, &[&post(fields)]);
    }
    refused(
        "TransferEncoding",
        &[
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked",
            "POST / HTTP/1.0\r\nTransfer-Encoding: gzip, chunked\r\nContent-Length: 1",
        ],
    );
}

#[test]
fn malformed_chunks_are_refused() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let shown = "POST / Http11 Chunked keep [Host: a; Transfer-Encoding: chunked]";
    for (chunks, expected) in [
        ("\r\n", "Chunk"),
        ("x\r\n", "Chunk"),
        ("+1\r\nx", "Chunk"),
        ("-1\r\nx", "Chunk"),
        (" 1\r\nx", "Chunk"),
        ("0x1\r\nx", "Chunk"),
        ("1 \r\nx", "Chunk"),
        ("1\nx", "Chunk"),
        ("1\rx", "Chunk"),
        ("1;a\nx", "Chunk"),
        ("1;a\rx", "Chunk"),
        ("1;a\u{0}\r\n", "Chunk"),
        ("1 a\r\nx", "Chunk"),
        ("1,a\r\nx", "Chunk"),
        ("10000000000000000\r\nx", "Chunk"),
        ("00000000000000001\r\nx", "Chunk"),
        ("1\r\nxy", "body \"x\" | Chunk"),
        ("1\r\nx\n", "body \"x\" | Chunk"),
        ("1\r\nx\ry", "body \"x\" | Chunk"),
        ("1\r\nx0\r\n\r\n", "body \"x\" | Chunk"),
        ("7fffffffffffffff\r\nxy", "body \"xy\" | CutBody"),
        ("8000000000000000\r\nxy", "Chunk"),
        ("ffffffffffffffff\r\nxy", "Chunk"),
        ("1;\r\nx", "Chunk"),
        ("1;;a\r\nx", "Chunk"),
        ("1; =a\r\nx", "Chunk"),
        ("1;a=\"b\r\nx", "Chunk"),
        ("1;a=\";\\\";\"\r\nx\r\n0\r\n\r\n", "body \"x\" | end"),
        ("1 ; a=\"b\"\t;c\r\nx\r\n0\r\n\r\n", "body \"x\" | end"),
        ("0\r\nA: 1\n\r\n", "Trailers"),
        ("0\r\nA : 1\r\n\r\n", "Trailers"),
        ("0\r\nA: 1\r\n b\r\n\r\n", "Trailers"),
        ("0\r\nA\r\n\r\n", "Trailers"),
        ("0\r\nA: b\rc\r\n\r\n", "Trailers"),
        ("0\r\n\n", "Trailers"),
    ] {
        check(Codec::server, format!("{head}{chunks}").as_bytes(), &format!("{shown} | {expected}"));
    }
}
