//! The same bytes read by rsp and by picohttpparser: what rsp accepts must be the same request there, with the same
//! fields in the same order, and the body must begin at the same byte and end by the same rule.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rsp::http::Framing;
use rsp_fuzz::second::{self, Length};
use rsp_fuzz::{Codec, Line, read};

fuzz_target!(|data: &[u8]| {
    let seen = read(Codec::server(), data, data.len(), 0, false);
    let Some(ours) = seen.heads.first() else { return };
    // One empty line before a request is forgiven by both, but only ours counts it apart.
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
});
