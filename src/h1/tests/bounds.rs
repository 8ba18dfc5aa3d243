//! Limits on received bytes: each is exact, however the bytes arrive.

use super::feed::{Codec, EVERY_APPETITE, Feed, Seen};
use crate::h1::{BackendCodec, ClientCodec, HeadLimits, limits};
use crate::http::*;
use crate::http::{Codec as _, StreamId};

/// The case in one part and in parts of a prime number of bytes: it is too long for every split.
fn in_large_parts(codec: impl Fn() -> Codec, bytes: &[u8]) -> String {
    let mut lines = [bytes.len().max(1), 4093, 257, 1].map(|size| {
        let mut feed = Feed::new(codec(), EVERY_APPETITE[0]);
        bytes.chunks(size).for_each(|part| feed.push(part, false));
        let line = feed.line();
        // Only the verdict matters here, not kilobytes of text.
        if let Some(Seen::Fault(fault)) = feed.seen.last() { format!("{fault:?}") } else { end_of(&line) }
    });
    lines.sort();
    assert_eq!(lines.first(), lines.last(), "parts of another size gave another result");
    lines[0].clone()
}

fn end_of(line: &str) -> String {
    line.rsplit(" | ").next().unwrap_or_default().to_string()
}

fn padded(start: &str, end: &str, len: usize) -> Vec<u8> {
    format!("{start}{}{end}", "x".repeat(len - start.len() - end.len())).into_bytes()
}

#[test]
fn a_request_head_may_be_as_long_as_its_limit() {
    let (start, end) = ("GET / HTTP/1.1\r\nHost: a\r\nX: ", "\r\n\r\n");
    let fits = padded(start, end, HeadLimits::REQUEST.bytes);
    assert_eq!(in_large_parts(Codec::server, &fits), "end");
    let over = padded(start, end, HeadLimits::REQUEST.bytes + 1);
    assert_eq!(in_large_parts(Codec::server, &over), "HeadTooLarge");
    assert_eq!(in_large_parts(Codec::server, &over[..HeadLimits::REQUEST.bytes]), "HeadTooLarge");
}

#[test]
fn a_target_as_long_as_the_head_limit_is_too_long() {
    let (start, end) = ("GET /", " HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(in_large_parts(Codec::server, &padded(start, end, HeadLimits::REQUEST.bytes)), "end");
    assert_eq!(
        in_large_parts(Codec::server, &padded(start, end, HeadLimits::REQUEST.bytes + 1)),
        "HeadTooLarge"
    );
    assert_eq!(
        in_large_parts(Codec::server, &padded(start, end, HeadLimits::REQUEST.bytes + 90)),
        "TargetTooLong"
    );
}

#[test]
fn a_response_head_may_be_as_long_as_a_block() {
    let (start, end) = ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: ", "\r\n\r\n");
    let answer = || Codec::client("GET");
    assert_eq!(in_large_parts(answer, &padded(start, end, HeadLimits::RESPONSE.bytes)), "end");
    let full = padded(start, end, HeadLimits::RESPONSE.bytes + 1);
    assert_eq!(in_large_parts(answer, &full[..HeadLimits::RESPONSE.bytes]), "HeadTooLarge");
    assert_eq!(in_large_parts(answer, &padded("HTTP/1.1 200 ", end, 40_000)), "HeadTooLarge");
}

#[test]
fn a_request_has_a_hundred_fields_at_most_and_a_response_two_hundred() {
    let request = |n: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(n - 1));
    assert_eq!(in_large_parts(Codec::server, request(100).as_bytes()), "end");
    assert_eq!(in_large_parts(Codec::server, request(101).as_bytes()), "TooManyFields");
    let response = |n: usize| format!("HTTP/1.1 204 No\r\n{}\r\n", "X: y\r\n".repeat(n));
    assert_eq!(in_large_parts(|| Codec::client("GET"), response(200).as_bytes()), "end");
    assert_eq!(in_large_parts(|| Codec::client("GET"), response(201).as_bytes()), "TooManyFields");
}

#[test]
fn the_caller_sets_the_limits_of_heads() {
    let read = |bytes: &[u8], most: usize, fields: usize| {
        let limits = HeadLimits { bytes: most, fields };
        let results = [bytes.len(), 4093].map(|size| {
            let (mut server, mut head) = (ClientCodec::default(), RequestHead::default());
            let mut ends = (size.min(bytes.len())..bytes.len()).step_by(size).chain([bytes.len()]);
            ends.find_map(|end| {
                server
                    .decode(&bytes[..end], false, 0, &limits, &mut head, &mut Fields::default())
                    .map(|decoded| decoded.map(|decoded| (decoded.consumed, head.fields.len())))
                    .transpose()
            })
        });
        assert_eq!(results[0], results[1], "in parts");
        results[0]
    };
    let long = padded("GET / HTTP/1.1\r\nHost: a\r\nCookie: ", "\r\nConnection: x\r\n\r\n", 64 << 10);
    assert_eq!(read(&long, 64 << 10, 3), Some(Ok((64 << 10, 3))));
    assert_eq!(read(&long, (64 << 10) - 1, 3), Some(Err(Fault::HeadTooLarge)));
    assert_eq!(read(&long, 64 << 10, 2), Some(Err(Fault::TooManyFields)));
    assert_eq!(read(&long, 1 << 10, 3), Some(Err(Fault::HeadTooLarge)));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(999));
    assert_eq!(read(many.as_bytes(), 16 << 10, 1000), Some(Ok((many.len(), 1000))));
    assert_eq!(read(many.as_bytes(), 16 << 10, 999), Some(Err(Fault::TooManyFields)));
}

#[test]
fn connection_has_thirty_two_options_at_most_in_all_its_fields() {
    let some = |n: usize| format!("Connection: {}\r\n", vec!["a"; n].join(","));
    let one_each = |n: usize| "Connection: keep-alive\r\n".repeat(n);
    let empty = |n: usize| format!("Connection: {}\r\n", ",".repeat(n - 1));
    let half = |n: usize| some(n / 2) + &one_each(n - n / 2);
    for fields in [&some as &dyn Fn(usize) -> String, &one_each, &empty, &half] {
        let request = |n: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", fields(n));
        assert_eq!(in_large_parts(Codec::server, request(limits::OPTIONS).as_bytes()), "end");
        assert_eq!(in_large_parts(Codec::server, request(limits::OPTIONS + 1).as_bytes()), "TooManyOptions");
        let response = |n: usize| format!("HTTP/1.1 204 No\r\n{}\r\n", fields(n));
        let answer = || Codec::client("GET");
        assert_eq!(in_large_parts(answer, response(limits::OPTIONS).as_bytes()), "end");
        assert_eq!(in_large_parts(answer, response(limits::OPTIONS + 1).as_bytes()), "TooManyOptions");
    }
}

const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn a_trailer_section_may_be_as_long_as_its_limit() {
    let after_head = |len: usize| {
        let section = padded("X: ", "\r\n\r\n", len);
        [CHUNKED.as_bytes(), b"0\r\n", &section].concat()
    };
    assert_eq!(in_large_parts(Codec::server, &after_head(limits::TRAILERS)), "end");
    assert_eq!(in_large_parts(Codec::server, &after_head(limits::TRAILERS + 1)), "Trailers");
    let fields = |n: usize| format!("{CHUNKED}0\r\n{}\r\n", "X: y\r\n".repeat(n));
    assert_eq!(in_large_parts(Codec::server, fields(limits::TRAILER_FIELDS).as_bytes()), "end");
    assert_eq!(in_large_parts(Codec::server, fields(limits::TRAILER_FIELDS + 1).as_bytes()), "Trailers");
}

#[test]
fn chunk_extensions_are_bounded_by_line_and_by_message() {
    let chunk = |extension: usize| format!("1;{}\r\nx\r\n", "e".repeat(extension - 1));
    let one = |extension: usize| format!("{CHUNKED}{}0\r\n\r\n", chunk(extension));
    assert_eq!(in_large_parts(Codec::server, one(limits::CHUNK_LINE - 2).as_bytes()), "end");
    assert_eq!(in_large_parts(Codec::server, one(limits::CHUNK_LINE - 1).as_bytes()), "Chunk");
    let endless = format!("{CHUNKED}1;{}", "e".repeat(5000));
    assert_eq!(in_large_parts(Codec::server, endless.as_bytes()), "Chunk");
    let many = |n: usize| format!("{CHUNKED}{}0\r\n\r\n", chunk(64).repeat(n));
    assert_eq!(in_large_parts(Codec::server, many(limits::EXTENSIONS / 64).as_bytes()), "end");
    assert_eq!(in_large_parts(Codec::server, many(limits::EXTENSIONS / 64 + 1).as_bytes()), "Chunk");
}

#[test]
fn a_long_body_of_small_chunks_passes() {
    let bytes = format!("{CHUNKED}{}0\r\n\r\n", "1\r\nx\r\n".repeat(20_000));
    assert_eq!(in_large_parts(Codec::server, bytes.as_bytes()), "end");
}

#[test]
fn a_codec_is_a_few_words() {
    assert!(size_of::<ClientCodec>() <= 32, "{}", size_of::<ClientCodec>());
    assert!(size_of::<BackendCodec>() <= 40, "{}", size_of::<BackendCodec>());
}

#[test]
fn pipelined_input_waits_until_the_message_is_answered() {
    let (mut server, mut head, mut trailers) =
        (ClientCodec::default(), RequestHead::default(), Fields::default());
    let input = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    assert!(server.is_between_messages());
    assert_eq!(server.decode(b"GE", false, 9, &HeadLimits::REQUEST, &mut head, &mut trailers), Ok(None));
    assert!(!server.is_between_messages());
    let first =
        server.decode(input, false, 9, &HeadLimits::REQUEST, &mut head, &mut trailers).unwrap().unwrap();
    assert_eq!((first.consumed, first.end, server.is_between_messages()), (input.len(), true, false));
    for eof in [false, true] {
        assert_eq!(server.decode(input, eof, 9, &HeadLimits::REQUEST, &mut head, &mut trailers), Ok(None));
    }
    server.next_message(StreamId::ONLY);
    assert!(server.is_between_messages());
    assert_eq!(
        server.decode(input, false, 9, &HeadLimits::REQUEST, &mut head, &mut trailers),
        Ok(Some(first))
    );
}
