//! What one codec writes the other decodes as the same message, for every framing.

use super::feed::{Codec, check, field_lines, request_line, response_line};
use crate::h1::{BackendCodec, ClientCodec, HeadLimits, RequestFacts};
use crate::http::*;
use crate::http::{Codec as _, StreamId};

/// A complete decoded message.
struct Message<Head> {
    head: Head,
    body: Vec<u8>,
    trailers: Option<Fields>,
}

/// Decodes one message from `bytes`.
fn read<Head>(
    mut head: Head,
    bytes: &[u8],
    mut decode: impl FnMut(&[u8], &mut Head, &mut Fields) -> Option<Decoded>,
) -> Message<Head> {
    let (mut rest, mut body, mut fields, mut trailers) = (bytes, Vec::new(), Fields::default(), None);
    loop {
        let decoded = decode(rest, &mut head, &mut fields).expect("a step");
        match decoded.event {
            Event::Body(range) => body.extend_from_slice(&rest[range]),
            Event::Trailers => trailers = Some(fields.clone()),
            Event::Head | Event::Nothing | Event::Reset => {}
        }
        rest = &rest[decoded.consumed..];
        if decoded.end {
            return Message { head, body, trailers };
        }
    }
}

fn write_body(body: &[u8], size: usize, mut frame: impl FnMut(usize) -> crate::h1::Frame, out: &mut Vec<u8>) {
    for piece in body.chunks(size) {
        let frame = frame(piece.len());
        out.put(frame.before());
        out.put(piece);
        out.put(frame.after());
    }
}

fn ending(body: &[u8], trailers: Option<&Fields>) -> String {
    let body = if body.is_empty() { String::new() } else { format!(" | body {:?}", super::feed::text(body)) };
    let trailers =
        trailers.map(|fields| format!(" | trailers [{}]", field_lines(fields))).unwrap_or_default();
    format!("{body}{trailers} | end")
}

#[test]
fn requests_survive_being_forwarded() {
    for bytes in [
        "GET /a?b HTTP/1.1\r\nHost: a\r\nX: 1\r\nx: 2\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\nY: 1\r\n\r\nhello world",
        "PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nY: 1\r\n\r\n",
        "PATCH /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nY: 1\r\n\r\n5;x\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Sum: 7\r\nB: 2\r\n\r\n",
    ] {
        let mut server = ClientCodec::default();
        let message = read(RequestHead::default(), bytes.as_bytes(), |rest, head, trailers| {
            server.decode(rest, true, 7, &HeadLimits::REQUEST, head, trailers).unwrap()
        });
        for size in [1, 3, 64] {
            let (mut client, mut out) = (BackendCodec::default(), Vec::new());
            client.encode_head(&message.head, Persistence::Keep, &mut out);
            client.pass_trailers(&message.head);
            write_body(&message.body, size, |len| client.frame_body(StreamId::ONLY, len), &mut out);
            client.encode_end(StreamId::ONLY, message.trailers.as_ref(), &mut out);
            let line = request_line(&message.head) + &ending(&message.body, message.trailers.as_ref());
            check(Codec::server, &out, &line);
        }
    }
}

#[test]
fn responses_survive_being_forwarded() {
    for bytes in [
        "HTTP/1.1 200 OK\r\nContent-Length: 11\r\nY: 1\r\n\r\nhello world",
        "HTTP/1.1 404 \r\nContent-Length: 0\r\nY: 1\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nY: 1\r\n\r\n",
        "HTTP/1.1 200 Very Well\r\nTransfer-Encoding: chunked\r\nY: 1\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n",
        "HTTP/1.1 200 OK\r\nY: 1\r\n\r\nuntil the end",
    ] {
        let mut client = BackendCodec::default();
        let mut message = read(ResponseHead::default(), bytes.as_bytes(), |rest, head, trailers| {
            client.decode(rest, true, 7, &HeadLimits::RESPONSE, head, trailers).unwrap()
        });
        for size in [1, 3, 64] {
            let (mut server, mut out) = (ClientCodec::default(), Vec::new());
            let (framing, _) =
                server.encode_head(RequestFacts::default(), &message.head, Persistence::Keep, &mut out);
            write_body(&message.body, size, |len| server.frame_body(StreamId::ONLY, len), &mut out);
            server.encode_end(StreamId::ONLY, message.trailers.as_ref(), &mut out);
            if message.head.framing == Framing::UntilClose {
                message.head.fields.append(b"Transfer-Encoding", b"chunked");
                (message.head.framing, message.head.keep_alive) = (framing, true);
            }
            let line = response_line(&message.head) + &ending(&message.body, message.trailers.as_ref());
            check(|| Codec::client("GET"), &out, &line);
        }
    }
}
