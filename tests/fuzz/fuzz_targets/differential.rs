//! The same bytes parsed by rsp and by picohttpparser.
//!
//! Requests: what rsp accepts must be the same request there, with the same fields in the same order, and the body
//! must begin at the same byte and end by the same rule.
//!
//! Responses: what the strict parser accepts means the same to the lenient one, and what only the lenient one accepts
//! makes its connection unusable, so that no byte after it reaches anybody. What the client gets is one message to
//! picohttpparser, with the same meaning and no byte left over.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rsp::http::{Framing, Method};
use rsp_fuzz::second::{self, Length};
use rsp_fuzz::{Codec, Line, client_side, read};

fuzz_target!(|data: &[u8]| {
    request(data);
    for method in [Method::Get, Method::Head] {
        response(data, method);
    }
});

fn response(data: &[u8], method: Method) {
    let strict = read(Codec::strict_client(method, false), data, data.len(), usize::MAX, true);
    let lenient = read(Codec::client(method, false), data, data.len(), usize::MAX, true);
    assert!(!strict.lenient);
    if strict.fault.is_none() {
        assert_eq!(strict, lenient);
    }
    if lenient.ends == 0 {
        return;
    }
    // What the strict parser refused was accepted leniently, and that is recorded.
    assert_eq!(lenient.lenient, strict.fault.is_some(), "{:?}", strict.fault);
    if let Some(sent) = client_side::whole(data, method) {
        client_side::check(&sent, &lenient, method);
    }
}

fn request(data: &[u8]) {
    let seen = read(Codec::server(), data, data.len(), 0, false);
    let Some(ours) = seen.heads.first() else { return };
    // Both ignore one empty line before a request, but only ours counts it separately.
    let skipped = if data.starts_with(b"\r\n") { 2 } else { 0 };
    let theirs = second::request(&data[skipped..]).expect("the other parser refuses it");
    assert_eq!(ours.start.0, theirs.method);
    assert_eq!(ours.old, theirs.minor == 0);
    let absolute = !matches!(theirs.target.first(), Some(b'/' | b'*')) && ours.start.0 != b"CONNECT";
    if absolute {
        assert!(
            theirs.target.ends_with(&ours.start.1)
                || ours.start.1.starts_with(b"/?")
                || ours.start.1 == b"/"
                || ours.start.1 == b"*"
        );
        let host = ours.value(b"host").expect("an authority");
        let at = theirs.target.windows(3).position(|w| w == b"://").expect("a scheme") + 3;
        assert!(theirs.target[at..].starts_with(host));
    } else {
        assert_eq!(ours.start.1, theirs.target);
    }
    let without_host = |lines: &[Line]| -> Vec<Line> {
        lines.iter().filter(|(n, _)| !n.eq_ignore_ascii_case(b"host")).cloned().collect()
    };
    if absolute {
        assert_eq!(without_host(&ours.fields), without_host(&theirs.fields));
    } else {
        assert_eq!(ours.fields, theirs.fields);
    }
    let length = match ours.framing {
        Framing::None => Length::None,
        Framing::Exact(n) => Length::Exact(n),
        Framing::Chunked => Length::Chunked,
        other => panic!("a request framed as {other:?}"),
    };
    assert_eq!(length, theirs.length());
}
