//! A server's response, whole and in pieces; what is accepted is encoded for a client and must decode to the same.
#![no_main]

use rsp::http::Codec as _;
use libfuzzer_sys::fuzz_target;
use rsp::h1::{HeadLimits, RequestFacts, ClientCodec};
use rsp::http::{Event, Fields, Framing, Method, Persistence, RequestHead, ResponseHead, Version};
use rsp_fuzz::{Codec, Head, read, read_every_way};

fuzz_target!(|data: &[u8]| {
    let [piece, how, bytes @ ..] = data else { return };
    let method = if how & 1 == 0 { Method::Get } else { Method::Head };
    let codec = || Codec::client(method, how & 2 != 0);
    let seen = read_every_way(codec, bytes, *piece as usize, how & 4 != 0);
    let Some(first) = seen.heads.first() else { return };
    // A full head leaves no room for the fields that rsp adds.
    if first.start.0.starts_with(b"1") || first.fields.len() > 97 {
        return;
    }
    let (mut head, mut client) = (ResponseHead::default(), rsp::h1::BackendCodec::default());
    client.encode_head(&RequestHead { method, ..Default::default() }, Persistence::Keep, &mut Vec::new());
    let mut at = 0;
    loop {
        let step = client.decode(&bytes[at..], false, 0, &HeadLimits::RESPONSE, &mut head, &mut Fields::default());
        match step.expect("no fault").expect("a head") {
            step if step.event == Event::Head => break,
            // An empty line in front.
            step => at += step.consumed,
        }
    }
    let version = if how & 8 == 0 { Version::Http11 } else { Version::Http10 };
    let facts = RequestFacts { version, is_head: method == Method::Head, ..Default::default() };
    let mut sent = Vec::new();
    let (framing, _) = ClientCodec::default().encode_head(facts, &head, Persistence::Keep, &mut sent);
    let again = read(Codec::client(method, false), &sent, sent.len(), 0, false);
    let again =
        again.heads.first().unwrap_or_else(|| panic!("{:?} of {:?}", again.fault, sent.escape_ascii()));
    assert_eq!(again.start, first.start);
    assert_eq!(
        again.framing,
        if framing == Framing::Exact(0) && again.framing == Framing::None { Framing::None } else { framing }
    );
    assert!(version == Version::Http11 || again.framing != Framing::Chunked, "chunks to an HTTP/1.0 client");
    let _ = Head::response(&head);
});
