//! What is forwarded is what was understood: every complete message of a case is encoded for the other side and
//! decoded there. It must mean the same, and must have no second reading for a sloppy parser.

use crate::h1::{BackendCodec, ClientCodec, HeadLimits, RequestFacts};
use crate::http::*;
use rsp::exchange::{Id, Ids, Inbound, rewrite_interim, rewrite_request, rewrite_response};

/// A complete message.
#[derive(Default)]
struct Message<Head> {
    head: Head,
    body: Vec<u8>,
    trailers: Option<Fields>,
    /// It was delimited by close.
    until_close: bool,
}

/// Bodies are sent in pieces of this size, so that chunked ones have several chunks.
const PIECE: usize = 3;

/// The complete requests at the front of `bytes`, as sent to a server. `trailers`: the server gets them.
pub fn requests(bytes: &[u8], trailers: bool) -> Vec<Vec<u8>> {
    let (mut server, mut rest, mut all) = (ClientCodec::default(), bytes, Vec::new());
    while let Some(message) = next(RequestHead::default(), &mut rest, |rest, head, trailers| {
        server.decode(rest, true, usize::MAX, &HeadLimits::REQUEST, head, trailers)
    }) {
        all.push(request(message, trailers));
        server.next_message(StreamId::ONLY);
    }
    all
}

/// The events of one message; `None` if it is refused, cut, or missing.
fn next<Head>(
    head: Head,
    rest: &mut &[u8],
    mut decode: impl FnMut(&[u8], &mut Head, &mut Fields) -> Result<Option<Decoded>, Fault>,
) -> Option<Message<Head>> {
    let mut message = Message { head, body: Vec::new(), trailers: None, until_close: false };
    let mut fields = Fields::default();
    loop {
        let step = decode(rest, &mut message.head, &mut fields).ok()??;
        match step.event {
            Event::Body(range) => message.body.extend_from_slice(&rest[range]),
            Event::Trailers => message.trailers = Some(fields.clone()),
            Event::Head | Event::Nothing | Event::Reset => {}
        }
        *rest = &rest[step.consumed..];
        if step.end {
            return Some(message);
        }
    }
}

fn request(mut message: Message<RequestHead>, trailers: bool) -> Vec<u8> {
    let upgrades = ["websocket".to_string()];
    let inbound = Inbound {
        peer: None,
        trusted: false,
        scheme: Scheme::Http,
        via: None,
        upgrades: &upgrades,
        trace: false,
    };
    rewrite_request(&mut message.head, &inbound, &mut Ids::new(), &mut Id::default());
    let persistence = if message.head.upgrade { Persistence::Upgrade } else { Persistence::Keep };
    if message.head.fields.get(Name::Host).is_none() {
        message.head.fields.prepend(b"Host", b"server");
    }
    let (mut client, mut out) = (BackendCodec::default(), Vec::new());
    client.encode_head(&message.head, persistence, &mut out);
    if trailers {
        client.pass_trailers(&message.head);
    }
    for piece in message.body.chunks(PIECE) {
        let frame = client.frame_body(StreamId::ONLY, piece.len());
        [frame.before(), piece, frame.after()].iter().for_each(|part| out.put(part));
    }
    client.encode_end(StreamId::ONLY, message.trailers.as_ref(), &mut out);
    has_one_reading(&out, &message.body);
    let read = read_again(&message, &out);
    assert!(trailers || read.is_none(), "trailers for a server that did not ask for them");
    out
}

fn read_again(sent: &Message<RequestHead>, bytes: &[u8]) -> Option<Fields> {
    let (mut server, mut rest) = (ClientCodec::default(), bytes);
    let read = next(RequestHead::default(), &mut rest, |rest, head, trailers| {
        server.decode(rest, true, 2, &HeadLimits::REQUEST, head, trailers)
    });
    let read = read.unwrap_or_else(|| panic!("what is forwarded cannot be read: {:?}", shown(bytes)));
    assert!(rest.is_empty(), "what is forwarded is more than one message: {:?}", shown(bytes));
    let (a, b) = (&sent.head, &read.head);
    assert_eq!((a.method_text(), a.target()), (b.method_text(), b.target()));
    assert_eq!((a.framing, a.upgrade, b.version), (b.framing, b.upgrade, Version::Http11));
    assert_eq!(field_list(&a.fields), field_list(&b.fields));
    assert_eq!(shown(&sent.body), shown(&read.body));
    trailers_are_some_of(read.trailers.as_ref(), sent.trailers.as_ref());
    read.trailers
}

/// Names and values without framing and connection fields, which each hop writes itself.
fn field_list(fields: &Fields) -> Vec<(String, String)> {
    let own = |tag| matches!(tag, Name::Connection | Name::ContentLength | Name::TransferEncoding);
    let others = fields.iter().filter(|(tag, ..)| !own(*tag));
    others.map(|(_, name, value)| (shown(name), shown(value))).collect()
}

fn trailers_are_some_of(read: Option<&Fields>, sent: Option<&Fields>) {
    let Some(read) = read else { return };
    let sent = sent.map(field_list).unwrap_or_default();
    for (tag, name, value) in read.iter() {
        assert_eq!(tag, Name::Other, "a trailer that means something in a head: {}", shown(name));
        assert!(sent.contains(&(shown(name), shown(value))), "a trailer that was not sent");
    }
}

/// Bytes as text, one character each.
pub fn shown(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// No parser, however sloppy, may find another line end, name or length in what we write.
fn has_one_reading(bytes: &[u8], body: &[u8]) {
    let text = shown(bytes);
    let (head, rest) = text.split_once("\r\n\r\n").expect("the end of a head");
    let lines: Vec<&str> = head.split("\r\n").collect();
    let mut lengths = Vec::new();
    for line in &lines {
        assert!(!line.chars().any(|c| c != '\t' && c.is_ascii_control()), "a control byte: {line:?}");
    }
    for line in &lines[1..] {
        let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no field: {line:?}"));
        assert!(!name.is_empty() && !name.contains([' ', '\t']), "a blank in a name: {line:?}");
        if ["content-length", "transfer-encoding"].contains(&name.to_ascii_lowercase().as_str()) {
            lengths.push((name.to_ascii_lowercase(), value.trim().to_string()));
        }
    }
    match &lengths[..] {
        [] => {}
        [(name, value)] if name == "content-length" => {
            let digits = body.len().to_string();
            assert!(*value == digits || rest.is_empty(), "another length than the body's: {value}");
        }
        [(_, value)] => assert_eq!(value, "chunked"),
        _ => panic!("two lengths: {lengths:?}"),
    }
}

/// Complete responses for a client of each version; an HTTP/1.0 client gets neither chunks nor interim responses.
pub fn responses(asked: &str, strict: bool, bytes: &[u8]) {
    for version in [Version::Http11, Version::Http10] {
        let facts = RequestFacts { version, is_head: asked == "HEAD", is_connect: false };
        response(asked, strict, facts, bytes);
    }
}

fn response(asked: &str, strict: bool, facts: RequestFacts, bytes: &[u8]) {
    let (mut codec, mut server, mut out) = (codec_after(asked, strict), ClientCodec::default(), Vec::new());
    let (mut head, mut fields, mut rest) = (ResponseHead::default(), Fields::default(), bytes);
    let mut sent: Message<ResponseHead> = Message::default();
    loop {
        let step = match codec.decode(rest, true, PIECE, &HeadLimits::RESPONSE, &mut head, &mut fields) {
            Ok(Some(step)) => step,
            // Refused or cut: it is not shown as complete.
            _ => return,
        };
        match &step.event {
            // Done by the exchange, which knows the request.
            Event::Head if head.status == 101 => return switch(head, &mut server),
            Event::Head if head.is_interim() => interim(&mut head, facts, &mut server, &mut out),
            Event::Head => {
                rewrite_response(&mut head, b"now");
                let (framing, _) = server.encode_head(facts, &head, Persistence::Keep, &mut out);
                sent.until_close = framing == Framing::UntilClose;
                sent.head = head.clone();
            }
            Event::Body(range) => {
                let piece = &rest[range.clone()];
                let frame = server.frame_body(StreamId::ONLY, piece.len());
                [frame.before(), piece, frame.after()].iter().for_each(|part| out.put(part));
                sent.body.extend_from_slice(piece);
            }
            Event::Trailers => sent.trailers = Some(fields.clone()),
            Event::Nothing | Event::Reset => {}
        }
        rest = &rest[step.consumed..];
        if step.end {
            server.encode_end(StreamId::ONLY, sent.trailers.as_ref(), &mut out);
            return read_response_again(asked, facts, &sent, &out);
        }
    }
}

/// A codec that has sent a request.
fn codec_after(asked: &str, strict: bool) -> BackendCodec {
    let persistence = if asked == "UPGRADE" { Persistence::Upgrade } else { Persistence::Keep };
    let method = if asked == "HEAD" { Method::Head } else { Method::Get };
    let mut client = BackendCodec::new(strict);
    client.encode_head(&RequestHead { method, ..Default::default() }, persistence, &mut Vec::new());
    client
}

/// What a strict recipient would refuse, although it has only one reading.
fn is_beyond_strict(head: &ResponseHead) -> bool {
    head.status >= 600 || head.fields.iter().any(|(_, _, value)| value.iter().any(|byte| is_control(*byte)))
}

fn is_control(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}

/// The bytes without the control bytes that are allowed in values. In framing fields they would be missed.
fn plain(head: &ResponseHead, bytes: &[u8]) -> Vec<u8> {
    let hidden = |byte: u8| is_control(byte) && !matches!(byte, b'\r' | b'\n' | 0) && is_beyond_strict(head);
    bytes.iter().map(|byte| if hidden(*byte) { b'?' } else { *byte }).collect()
}

fn interim(head: &mut ResponseHead, facts: RequestFacts, server: &mut ClientCodec, out: &mut Vec<u8>) {
    if facts.version == Version::Http11 {
        rewrite_interim(head);
        server.encode_interim(head, out);
    }
}

fn switch(mut head: ResponseHead, server: &mut ClientCodec) {
    let mut out = Vec::new();
    rewrite_response(&mut head, b"now");
    let strict = !is_beyond_strict(&head);
    server.encode_switch(&head, &mut out);
    has_one_reading(&plain(&head, &out), b"");
    let (mut read, mut fields) = (ResponseHead::default(), Fields::default());
    let step = codec_after("UPGRADE", strict)
        .decode(&out, true, 0, &HeadLimits::RESPONSE, &mut read, &mut fields)
        .expect("a 101")
        .expect("whole");
    assert_eq!((read.status, step.consumed, read.upgrade), (101, out.len(), true));
}

fn read_response_again(asked: &str, facts: RequestFacts, sent: &Message<ResponseHead>, bytes: &[u8]) {
    let last = shown(bytes).rfind("HTTP/1.1 ").expect("a status line");
    if !shown(&sent.body).contains("HTTP/1.1 ") && !sent.until_close {
        has_one_reading(&plain(&sent.head, &bytes[last..]), &sent.body);
    }
    let (mut codec, mut rest) = (codec_after(asked, !is_beyond_strict(&sent.head)), bytes);
    let (mut read, mut fields): (Message<ResponseHead>, _) = (Message::default(), Fields::default());
    loop {
        let step = codec
            .decode(rest, true, 2, &HeadLimits::RESPONSE, &mut read.head, &mut fields)
            .expect("readable")
            .expect("whole");
        if let Event::Body(range) = &step.event {
            read.body.extend_from_slice(&rest[range.clone()]);
        }
        if step.event == Event::Trailers {
            read.trailers = Some(fields.clone());
        }
        rest = &rest[step.consumed..];
        if step.event == Event::Head && facts.version == Version::Http10 {
            assert!(!read.head.is_interim() && read.head.framing != Framing::Chunked, "{}", shown(bytes));
        }
        if step.end {
            break;
        }
    }
    assert!(rest.is_empty(), "more than one response is sent: {:?}", shown(bytes));
    let (a, b) = (&sent.head, &read.head);
    assert_eq!(
        (a.status, shown(a.reason()), shown(&sent.body)),
        (b.status, shown(b.reason()), shown(&read.body))
    );
    assert_eq!(field_list(&a.fields), field_list(&b.fields));
    trailers_are_some_of(read.trailers.as_ref(), sent.trailers.as_ref());
}
