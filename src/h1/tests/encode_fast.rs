//! The fast path of encoding must write the same bytes as the plain one, for any fields and any changes to them.

use super::encoding::{Narrow, Pieces, request, response};
use super::feed::text;
use crate::h1::{BackendCodec, ClientCodec, RequestFacts};
use crate::http::*;

const LINES: [&str; 16] = [
    "X-A: b",
    "X-B:c",
    "x-c: \td ",
    "Connection: keep-alive",
    "connection: close",
    "Connection: X-A, keep-alive",
    "Keep-Alive: 5",
    "Content-Length: 5",
    "content-length: 05",
    "Content-Length: 4294967295",
    "Content-Length: 42949672951",
    "Transfer-Encoding: chunked",
    "Date: today",
    "X-Forwarded-For: 1.2.3.4",
    "X-Empty:",
    "Transfer-encoding: CHUNKED",
];

/// Deterministic pseudo-random numbers.
struct Random(u64);

impl Random {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }

    /// Lines with at most one length among them: with more the head is refused.
    fn lines(&mut self) -> String {
        let mut text = String::new();
        let mut lengths = 0;
        for _ in 0..self.roll(6) {
            let line = LINES[self.roll(LINES.len())];
            let is_length =
                ["content-l", "transfer-"].iter().any(|name| line.to_ascii_lowercase().starts_with(name));
            lengths += usize::from(is_length);
            if !is_length || lengths == 1 {
                text += &format!("{line}\r\n");
            }
        }
        text
    }

    /// A random change, as by a rewrite or a script.
    fn change(&mut self, fields: &mut Fields) {
        for _ in 0..self.roll(3) {
            match self.roll(7) {
                0 => fields.set(b"X-A", b"new"),
                1 => fields.set(b"X-New", b"1"),
                2 => fields.remove(b"x-b"),
                3 => fields.remove(b"Connection"),
                4 => fields.append(b"Date", b"now"),
                5 => fields.join(Name::XForwardedFor, b"5.6.7.8"),
                _ => fields.prepend(b"Via", b"1.1 a"),
            }
        }
    }
}

const PERSISTENCES: [Persistence; 3] = [Persistence::Keep, Persistence::Close, Persistence::Upgrade];

#[test]
fn a_request_is_the_same_from_the_fast_and_the_plain_path() {
    let mut random = Random(1);
    for _ in 0..20_000 {
        let target = ["/a", "http://b/c"][random.roll(2)];
        let mut head = request(&format!("POST {target} HTTP/1.1\r\nHost: a\r\n{}\r\n", random.lines()));
        random.change(&mut head.fields);
        let persistence = PERSISTENCES[random.roll(3)];
        let (mut pieces, mut out) = (Pieces::default(), Narrow(Vec::new(), 4096));
        BackendCodec::default().encode_head(&head, persistence, &mut pieces);
        BackendCodec::default().encode_head(&head, persistence, &mut out);
        assert_eq!(text(&out.0), text(&pieces.0.concat()));
    }
}

#[test]
fn a_response_is_the_same_from_the_fast_and_the_plain_path() {
    let mut random = Random(2);
    for _ in 0..20_000 {
        let status = ["200 OK", "204 None", "304 Not Modified", "404 "][random.roll(4)];
        let method = [Method::Get, Method::Head][random.roll(2)];
        let mut head = response(method, &format!("HTTP/1.1 {status}\r\n{}\r\n", random.lines()));
        random.change(&mut head.fields);
        let version = [Version::Http11, Version::Http10][random.roll(2)];
        let facts = RequestFacts { version, is_head: method == Method::Head, is_connect: false };
        let persistence = PERSISTENCES[random.roll(2)];
        let (mut pieces, mut out) = (Pieces::default(), Narrow(Vec::new(), 4096));
        ClientCodec::default().encode_head(facts, &head, persistence, &mut pieces);
        ClientCodec::default().encode_head(facts, &head, persistence, &mut out);
        assert_eq!(text(&out.0), text(&pieces.0.concat()));
    }
}
