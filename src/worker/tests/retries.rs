//! Requests on a kept connection that turns out to be dead when it is written to, before its end was reported.

use super::*;

const CONFIG: &[u8] = b"rsp.listen '127.0.0.1:1'\n\
    rsp.pool { servers = { '127.0.0.1:2' }, buffer_request = '64k', timeouts = { connect = '1s' } }";

/// A POST that must not be sent twice, after a GET on the same connection, whose writes take so much after that of the GET.
/// Returns what went to this connection and to a second one, each without the GET, and the client's responses.
fn posted(body: usize, takes: &[usize]) -> [Vec<u8>; 3] {
    let mut kept = Wire::new(&[Came::Bytes(RESPONSE), Came::Nothing, Came::Reset]);
    kept.takes = [usize::MAX].iter().chain(takes).copied().collect();
    let fresh = Wire::new(&[Came::Bytes(RESPONSE)]);
    let (on_kept, on_fresh) = (kept.taken.clone(), fresh.taken.clone());
    let mut core = running(CONFIG, vec![kept, fresh]);
    arrives(&mut core, REQUEST);
    core.turns();
    core.ready(core.network.tokens[0], BOTH);
    core.turns();
    assert_eq!(core.counts(), (1, 1, 0), "its connection is kept");
    let before = on_kept.borrow_mut().drain(..).len();
    assert!(before > REQUEST.len());
    let head = format!("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: {body}\r\n\r\n");
    let request = [head.as_bytes(), &vec![b'b'; body]].concat();
    let client = Wire::new(&[Came::Bytes(request.leak())]);
    let to_client = client.taken.clone();
    arrives_by(&mut core, client);
    for _ in 0..4 {
        core.turns();
        core.network.tokens.clone().into_iter().skip(1).for_each(|token| core.ready(token, BOTH));
    }
    [on_kept, on_fresh, to_client].map(|bytes| bytes.take())
}

#[test]
fn a_held_body_of_which_nothing_went_out_goes_to_a_new_connection_whole() {
    // Written together with the head, and from where it is held.
    for body in [5, 10_000] {
        let [kept, fresh, client] = posted(body, &[0]);
        assert!(kept.is_empty());
        assert!(
            fresh.starts_with(b"POST /a ") && fresh.ends_with(&[b"\r\n\r\n", &*vec![b'b'; body]].concat())
        );
        assert!(client.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&client));
    }
}

#[test]
fn one_of_which_a_byte_went_out_is_not_sent_again() {
    for body in [5, 10_000] {
        let [kept, fresh, client] = posted(body, &[1, 0]);
        assert_eq!((&kept[..], &fresh[..]), (&b"P"[..], &b""[..]));
        assert!(client.starts_with(b"HTTP/1.1 502 "), "{}", String::from_utf8_lossy(&client));
    }
}
