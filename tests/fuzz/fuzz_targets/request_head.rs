//! A request head, whole and in pieces; what is accepted is encoded for forwarding and must decode to the same.
#![no_main]

use rsp::http::Codec as _;
use libfuzzer_sys::fuzz_target;
use rsp::h1::{HeadLimits, ClientCodec};
use rsp::http::{Fields, Persistence, RequestHead};
use rsp_fuzz::{Codec, Head, read, read_every_way};

fuzz_target!(|data: &[u8]| {
    let Some((piece, bytes)) = data.split_first() else { return };
    let seen = read_every_way(Codec::server, bytes, *piece as usize, bytes.len() % 2 == 0);
    let Some(first) = seen.heads.first() else { return };
    let (mut head, mut server) = (RequestHead::default(), ClientCodec::default());
    let mut at = 0;
    while let Ok(Some(step)) = server.decode(&bytes[at..], false, 0, &HeadLimits::REQUEST, &mut head, &mut Fields::default()) {
        at += step.consumed;
        if step.event == rsp::http::Event::Head {
            break;
        }
    }
    assert_eq!(&Head::request(&head), first);
    // A full head leaves no room for the fields that rsp adds.
    if first.fields.len() > 97 {
        return;
    }
    if first.old && first.value(b"host").is_none() {
        // The server's address is added when dialling.
        head.fields.append(b"Host", b"server");
    }
    let mut forwarded = Vec::new();
    rsp::h1::BackendCodec::default().encode_head(&head, Persistence::Keep, &mut forwarded);
    let again = read(Codec::server(), &forwarded, forwarded.len(), 0, false);
    // Version and connection options are ours; CONNECT is never forwarded.
    let again =
        again.heads.first().unwrap_or_else(|| panic!("{:?} of {:?}", again.fault, forwarded.escape_ascii()));
    assert_eq!((&again.start, again.framing), (&first.start, first.framing));
    let end_to_end = |head: &Head| -> Vec<_> {
        let own = [&b"connection"[..], b"content-length", b"transfer-encoding"];
        let kept = head.fields.iter().filter(|(n, _)| !own.iter().any(|o| n.eq_ignore_ascii_case(o)));
        kept.cloned().collect()
    };
    assert_eq!(end_to_end(again), end_to_end(&Head::request(&head)));
});
