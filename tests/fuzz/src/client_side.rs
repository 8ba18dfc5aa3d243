//! What a client gets of a server's response, checked by an independent parser.

use rsp::http::{Codec as _, StreamId};
use rsp::exchange::rewrite_response;
use rsp::h1::{BackendCodec, HeadLimits, RequestFacts, ClientCodec};
use rsp::http::{Event, Fields, Method, Persistence, RequestHead, ResponseHead};

use crate::Seen;
use crate::second::{self, Length};

/// The final response as sent to an HTTP/1.1 client, without interim ones; `None` if it is incomplete or a tunnel.
pub fn whole(data: &[u8], method: Method) -> Option<Vec<u8>> {
    let (mut client, mut server, mut sent) = (BackendCodec::default(), ClientCodec::default(), Vec::new());
    client.encode_head(&RequestHead { method, ..Default::default() }, Persistence::Keep, &mut Vec::new());
    let facts = RequestFacts { is_head: method == Method::Head, ..Default::default() };
    let (mut head, mut trailers, mut came, mut rest) =
        (ResponseHead::default(), Fields::default(), false, data);
    loop {
        let step = client.decode(rest, true, 100, &HeadLimits::RESPONSE, &mut head, &mut trailers).ok()??;
        match &step.event {
            Event::Head if head.status == 101 => return None,
            Event::Head if head.is_interim() => {}
            Event::Head => {
                rewrite_response(&mut head, b"now");
                server.encode_head(facts, &head, Persistence::Keep, &mut sent);
            }
            Event::Body(range) => {
                let body = &rest[range.clone()];
                let frame = server.frame_body(StreamId::ONLY, body.len());
                [frame.before(), body, frame.after()].iter().for_each(|part| sent.extend_from_slice(part));
            }
            Event::Trailers => came = true,
            Event::Nothing | Event::Reset => {}
        }
        rest = &rest[step.consumed..];
        if step.end {
            server.encode_end(StreamId::ONLY, came.then_some(&trailers), &mut sent);
            return Some(sent);
        }
    }
}

/// The client must find one message in `sent`, equal to what was `seen` of the server's.
pub fn check(sent: &[u8], seen: &Seen, method: Method) {
    let head_end = sent.windows(4).position(|w| w == b"\r\n\r\n").expect("the end of a head") + 4;
    let (head, body) = sent.split_at(head_end);
    // This parser refuses control bytes in values.
    let plain: Vec<u8> = head.iter().map(|byte| if is_hidden(*byte) { b'?' } else { *byte }).collect();
    let theirs = second::response(&plain).unwrap_or_else(|| panic!("refused: {}", sent.escape_ascii()));
    assert_eq!((theirs.minor, theirs.len), (1, head.len()));
    let last = seen.heads.last().expect("a head");
    assert_eq!(theirs.status.to_string().into_bytes(), last.start.0);
    let own = [&b"connection"[..], b"content-length", b"transfer-encoding", b"upgrade"];
    for (name, value) in theirs.fields.iter().filter(|(n, _)| own.iter().any(|o| n.eq_ignore_ascii_case(o))) {
        assert!(!value.contains(&b'?') || name.eq_ignore_ascii_case(b"upgrade"), "{}", sent.escape_ascii());
    }
    // Every field was received, except those that each hop writes itself.
    for (name, value) in &theirs.fields {
        let came = last.fields.iter().any(|(n, v)| n == name && same(v, value));
        let ours = own.iter().chain([&&b"date"[..]]).any(|own| name.eq_ignore_ascii_case(own));
        assert!(came || ours, "{} in {}", name.escape_ascii(), sent.escape_ascii());
    }
    let bodiless = method == Method::Head || matches!(theirs.status, 204 | 304);
    let (content, used) = match second::length(&theirs.fields) {
        _ if bodiless => (Vec::new(), 0),
        Length::None => panic!("only the end of the connection ends it: {}", sent.escape_ascii()),
        Length::Exact(n) => {
            let n = usize::try_from(n).expect("as much as there is");
            (body[..n].to_vec(), n)
        }
        Length::Chunked => second::chunked(body).expect("the other decoder does not see the end"),
        Length::Unclear => panic!("two lengths: {}", sent.escape_ascii()),
    };
    assert_eq!(content, seen.body);
    let chunked = !bodiless && second::length(&theirs.fields) == Length::Chunked;
    assert!(if chunked { is_trailer_section(&body[used..]) } else { used == body.len() });
}

fn is_hidden(byte: u8) -> bool {
    byte.is_ascii_control() && !matches!(byte, b'\t' | b'\r' | b'\n' | 0)
}

fn same(came: &[u8], sent: &[u8]) -> bool {
    came.len() == sent.len() && came.iter().zip(sent).all(|(a, b)| a == b || is_hidden(*a) && *b == b'?')
}

/// Lines, and an empty one at the very end.
fn is_trailer_section(bytes: &[u8]) -> bool {
    let first_empty = match bytes {
        [b'\r', b'\n', ..] => Some(2),
        _ => bytes.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4),
    };
    first_empty == Some(bytes.len())
}
