//! A chunked body, whole and in pieces, compared with picohttpparser's decoder: both must end at the same byte with
//! the same content.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rsp_fuzz::{Codec, read_every_way, second};

const HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

fuzz_target!(|data: &[u8]| {
    let Some((piece, body)) = data.split_first() else { return };
    let bytes = [HEAD, body].concat();
    let seen = read_every_way(Codec::server, &bytes, *piece as usize, body.len() % 2 == 0);
    if seen.ends == 0 {
        return;
    }
    let (content, used) = second::chunked(body).expect("the other decoder does not see the end");
    assert_eq!(content, seen.body);
    // picohttpparser stops before the trailers.
    assert!(HEAD.len() + used <= seen.used);
    if seen.trailers.as_ref().is_none_or(|t| t.is_empty()) {
        assert!(body[used..seen.used - HEAD.len()].iter().all(|b| matches!(b, b'\r' | b'\n')));
    }
});
