//! Encoding: framing is decided anew, everything else is copied byte for byte.

use super::feed::text;
use crate::h1::{After, BackendCodec, ClientCodec, HeadLimits, RequestFacts};
use crate::http::StreamId;
use crate::http::*;

const HTTP11: RequestFacts = RequestFacts { version: Version::Http11, is_head: false, is_connect: false };
const HTTP10: RequestFacts = RequestFacts { version: Version::Http10, is_head: false, is_connect: false };
const HEAD: RequestFacts = RequestFacts { version: Version::Http11, is_head: true, is_connect: false };

pub(super) fn request(bytes: &str) -> RequestHead {
    let mut head = RequestHead::default();
    ClientCodec::default()
        .decode(bytes.as_bytes(), true, 0, &HeadLimits::REQUEST, &mut head, &mut Fields::default())
        .unwrap()
        .unwrap();
    head
}

pub(super) fn response(asked: Method, bytes: &str) -> ResponseHead {
    let (mut client, mut head) = (BackendCodec::default(), ResponseHead::default());
    let asked = RequestHead { method: asked, ..Default::default() };
    client.encode_head(&asked, Persistence::Upgrade, &mut Vec::new());
    client
        .decode(bytes.as_bytes(), true, 0, &HeadLimits::RESPONSE, &mut head, &mut Fields::default())
        .unwrap()
        .unwrap();
    head
}

fn sent(head: &RequestHead, persistence: Persistence) -> String {
    let mut out = Vec::new();
    BackendCodec::default().encode_head(head, persistence, &mut out);
    text(&out)
}

/// The head as sent to a client, its framing and persistence.
fn answered(facts: RequestFacts, head: &ResponseHead) -> (String, Framing, Persistence) {
    let mut out = Vec::new();
    let (framing, persistence) = ClientCodec::default().encode_head(facts, head, Persistence::Keep, &mut out);
    (text(&out), framing, persistence)
}

/// Records each piece it is given.
#[derive(Default)]
pub(super) struct Pieces(pub Vec<Vec<u8>>);

impl Sink for Pieces {
    fn put(&mut self, bytes: &[u8]) {
        self.0.push(bytes.to_vec());
    }

    fn fill(&mut self, _: impl FnOnce(&mut [u8]) -> Option<usize>) -> bool {
        false
    }
}

#[test]
fn an_unchanged_head_is_copied_in_one_piece() {
    let bytes = "POST /a HTTP/1.1\r\nHost: a\r\nX-A: b\r\nContent-Length: 12\r\nX-Empty: \r\n\r\n";
    let mut out = Pieces::default();
    BackendCodec::default().encode_head(&request(bytes), Persistence::Keep, &mut out);
    assert_eq!(text(&out.0.concat()), bytes);
    assert_eq!(out.0.len(), 2);
}

#[test]
fn names_and_values_are_unchanged_without_surrounding_blanks() {
    let head =
        request("GET /a HTTP/1.0\r\nhOST:a\r\nX:  b  c \t\r\nY:\r\nConnection: x\r\nZ: \u{e4}\r\n\r\n");
    assert_eq!(
        sent(&head, Persistence::Keep),
        "GET /a HTTP/1.1\r\nhOST: a\r\nX: b  c\r\nY: \r\nZ: \u{c3}\u{a4}\r\n\r\n"
    );
}

#[test]
fn changed_and_added_fields_are_written_in_order() {
    let mut head = request("GET http://b/c HTTP/1.1\r\nHost: a\r\nX: 1\r\nY: 2\r\n\r\n");
    head.fields.set(b"x", b"new");
    head.fields.remove(b"y");
    head.fields.append(b"Z", b"3");
    head.fields.prepend(b"First", b"0");
    assert_eq!(
        sent(&head, Persistence::Close),
        "GET /c HTTP/1.1\r\nFirst: 0\r\nHost: b\r\nX: new\r\nZ: 3\r\nConnection: close\r\n\r\n"
    );
}

#[test]
fn a_field_that_is_not_serialized_is_not_copied() {
    for (between, after) in [("ab", "\r\n"), (": ", "; more")] {
        let mut head = request("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let name = head.fields.store(b"X");
        head.fields.store(between.as_bytes());
        let value = head.fields.store(b"new");
        head.fields.add(Field { tag: Name::Other, plain: false, name, value });
        head.fields.store(after.as_bytes());
        assert_eq!(sent(&head, Persistence::Keep), "GET / HTTP/1.1\r\nHost: a\r\nX: new\r\n\r\n");
    }
}

#[test]
fn added_fields_are_written_in_one_piece() {
    let mut head = request("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    head.fields.append(b"X", b"1");
    head.fields.append(b"Y", b"");
    let mut out = Pieces::default();
    BackendCodec::default().encode_head(&head, Persistence::Keep, &mut out);
    assert_eq!(text(&out.0.concat()), "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nY: \r\n\r\n");
    assert_eq!(out.0.len(), 2, "the received head with the added fields, and the end");
}

#[test]
fn the_length_is_written_once() {
    let mut head = request("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
    head.fields.append(b"Content-Length", b"6");
    head.fields.append(b"Transfer-Encoding", b"chunked");
    assert_eq!(sent(&head, Persistence::Keep), "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
}

#[test]
fn a_requests_length_keeps_its_position() {
    for (came, framing, goes) in [
        ("A: 1\r\nCONTENT-LENGTH: 5\r\nB: 2\r\n", None, "A: 1\r\nCONTENT-LENGTH: 5\r\nB: 2\r\n"),
        ("Content-Length: 007\r\nB: 2\r\n", None, "Content-Length: 7\r\nB: 2\r\n"),
        ("Content-Length: 0\r\n", None, "Content-Length: 0\r\n"),
        ("A: 1\r\n", None, "A: 1\r\n"),
        ("transfer-encoding:  Chunked\r\nB: 2\r\n", None, "Transfer-Encoding: chunked\r\nB: 2\r\n"),
        ("Content-Length: 5\r\nB: 2\r\n", Some(Framing::Chunked), "Transfer-Encoding: chunked\r\nB: 2\r\n"),
        ("Transfer-Encoding: chunked\r\nB: 2\r\n", Some(Framing::Exact(3)), "Content-Length: 3\r\nB: 2\r\n"),
        ("content-length: 5\r\nB: 2\r\n", Some(Framing::Exact(31)), "content-length: 31\r\nB: 2\r\n"),
        ("Content-Length: 5\r\nB: 2\r\n", Some(Framing::None), "B: 2\r\n"),
        ("B: 2\r\n", Some(Framing::Exact(u64::MAX)), "B: 2\r\nContent-Length: 18446744073709551615\r\n"),
    ] {
        let mut head = request(&format!("POST / HTTP/1.1\r\nHost: a\r\n{came}\r\n"));
        head.framing = framing.unwrap_or(head.framing);
        let expected = format!("POST / HTTP/1.1\r\nHost: a\r\n{goes}\r\n");
        assert_eq!(sent(&head, Persistence::Keep), expected);
    }
}

#[test]
fn an_upgrade_keeps_its_field_and_adds_connection() {
    let head =
        request("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX: 1\r\n\r\n");
    assert!(head.upgrade);
    assert_eq!(
        sent(&head, Persistence::Upgrade),
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nX: 1\r\nConnection: upgrade\r\n\r\n"
    );
}

#[test]
fn a_response_is_framed_for_the_client_that_asked() {
    use Framing::*;
    let exact = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nA: 1\r\n\r\n";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nA: 1\r\n\r\n";
    let open = "HTTP/1.0 200 OK\r\nA: 1\r\n\r\n";
    let not_modified = "HTTP/1.1 304 NM\r\nTransfer-Encoding: chunked\r\nA: 1\r\n\r\n";
    let not_modified_exact = "HTTP/1.1 304 NM\r\ncontent-length: 05\r\nA: 1\r\n\r\n";
    let no_content = "HTTP/1.1 204 NC\r\nContent-Length: 0\r\nA: 1\r\n\r\n";
    for (facts, came, framing, goes) in [
        (HTTP11, exact, Exact(2), "200 OK\r\nContent-Length: 2\r\nA: 1\r\n"),
        (HTTP10, exact, Exact(2), "200 OK\r\nContent-Length: 2\r\nA: 1\r\nConnection: keep-alive\r\n"),
        (HEAD, exact, None, "200 OK\r\nContent-Length: 2\r\nA: 1\r\n"),
        (HTTP11, chunked, Chunked, "200 OK\r\nTransfer-Encoding: chunked\r\nA: 1\r\n"),
        (HTTP10, chunked, UntilClose, "200 OK\r\nA: 1\r\nConnection: close\r\n"),
        (HEAD, chunked, None, "200 OK\r\nA: 1\r\n"),
        (HTTP11, open, Chunked, "200 OK\r\nA: 1\r\nTransfer-Encoding: chunked\r\n"),
        (HTTP10, open, UntilClose, "200 OK\r\nA: 1\r\nConnection: close\r\n"),
        (HEAD, open, None, "200 OK\r\nA: 1\r\n"),
        (HTTP11, not_modified, None, "304 NM\r\nA: 1\r\n"),
        (HTTP11, not_modified_exact, None, "304 NM\r\ncontent-length: 05\r\nA: 1\r\n"),
        (HTTP11, no_content, None, "204 NC\r\nA: 1\r\n"),
        (HEAD, no_content, None, "204 NC\r\nA: 1\r\n"),
    ] {
        let asked = if facts.is_head { Method::Head } else { Method::Get };
        let (head, decided, persistence) = answered(facts, &response(asked, came));
        let closes = decided == UntilClose;
        assert_eq!((head, decided), (format!("HTTP/1.1 {goes}\r\n"), framing), "{facts:?} {came:?}");
        assert_eq!(persistence, if closes { Persistence::Close } else { Persistence::Keep });
    }
}

#[test]
fn an_own_answer_states_its_length_to_head_too() {
    let mut head = ResponseHead { status: 502, framing: Framing::Exact(12), ..Default::default() };
    head.reason = head.fields.store(b"Bad Gateway");
    head.fields.append(b"Content-Type", b"text/plain");
    let expected = "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\n";
    assert_eq!(answered(HTTP11, &head), (expected.to_string(), Framing::Exact(12), Persistence::Keep));
    assert_eq!(answered(HEAD, &head), (expected.to_string(), Framing::None, Persistence::Keep));
    head.framing = Framing::None;
    assert!(answered(HTTP10, &head).0.ends_with("Content-Length: 0\r\nConnection: keep-alive\r\n\r\n"));
}

#[test]
fn interim_heads_and_the_switch_have_no_framing() {
    let mut out = Vec::new();
    let mut server = ClientCodec::default();
    let hints = response(Method::Get, "HTTP/1.1 103 Early Hints\r\nContent-Length: 3\r\nLink: </a>\r\n\r\n");
    server.encode_interim(&hints, &mut out);
    assert_eq!(text(&out), "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    out.clear();
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    server.encode_switch(&response(Method::Get, switch), &mut out);
    assert_eq!(
        text(&out),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
    );
    let frames = server.decode(
        b"\x81\r\n",
        false,
        9,
        &HeadLimits::REQUEST,
        &mut RequestHead::default(),
        &mut Fields::default(),
    );
    assert_eq!(frames.unwrap().unwrap().event, Event::Body(0..3));
    assert_eq!(server.frame_body(StreamId::ONLY, 5).before(), b"");
    assert_eq!(server.encode_end(StreamId::ONLY, None, &mut out), After::MustClose);
}

#[test]
fn keep_alive_is_sent_to_clients_that_asked_for_it() {
    let head = response(Method::Get, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let mut out = Vec::new();
    ClientCodec::default().encode_head(HTTP10, &head, Persistence::Keep, &mut out);
    assert_eq!(text(&out), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n");
}

#[test]
fn chunks_are_framed_in_hex() {
    let mut server = ClientCodec::default();
    let head = response(Method::Get, "HTTP/1.1 200 OK\r\n\r\n");
    server.encode_head(HTTP11, &head, Persistence::Keep, &mut Vec::new());
    for (len, before) in
        [(1, "1\r\n"), (15, "f\r\n"), (16, "10\r\n"), (8000, "1f40\r\n"), (32768, "8000\r\n")]
    {
        let frame = server.frame_body(StreamId::ONLY, len);
        assert_eq!((text(frame.before()), frame.after()), (before.to_string(), &b"\r\n"[..]));
    }
    assert_eq!(text(server.frame_body(StreamId::ONLY, usize::MAX).before()), format!("{:x}\r\n", usize::MAX));
    let none = server.frame_body(StreamId::ONLY, 0);
    assert_eq!((none.before(), none.after()), (&b""[..], &b""[..]), "an empty chunk would end the body");
}

#[test]
fn trailers_are_forwarded_in_chunked_framing_without_head_fields() {
    let mut trailers = Fields::default();
    for name in [
        "Content-Length",
        "grpc-status",
        "Transfer-Encoding",
        "HOST",
        "Authorization",
        "Connection",
        "X-Sum",
        "Content_Type",
        "X-Forwarded-Port",
        "X_Real_IP",
        "Set_Cookie",
    ] {
        trailers.append(name.as_bytes(), b"1");
    }
    trailers.append(b"GET", b"/evil HTTP/1.1");
    trailers.append(b"POST", b"/evil?x HTTP/1.0");
    let ended = |facts, came: &str| {
        let (mut server, mut out) = (ClientCodec::default(), Vec::new());
        server.encode_head(facts, &response(Method::Get, came), Persistence::Keep, &mut Vec::new());
        let after = server.encode_end(StreamId::ONLY, Some(&trailers), &mut out);
        (text(&out), after)
    };
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(
        ended(HTTP11, chunked),
        ("0\r\ngrpc-status: 1\r\nX-Sum: 1\r\n\r\n".to_string(), After::Reusable)
    );
    assert_eq!(ended(HTTP10, chunked), (String::new(), After::MustClose));
    assert_eq!(ended(HTTP11, "HTTP/1.1 204 No\r\n\r\n"), (String::new(), After::Reusable));
}

#[test]
fn trailers_are_dropped_if_connection_nominates_fields() {
    let mut trailers = Fields::default();
    trailers.append(b"X-Sum", b"1");
    for (connection, goes) in
        [("keep-alive, TE", "0\r\nX-Sum: 1\r\n\r\n"), ("x-sum", "0\r\n\r\n"), ("te, X-Other", "0\r\n\r\n")]
    {
        let fields = format!("Connection: {connection}\r\nTransfer-Encoding: chunked\r\n\r\n");
        let (mut client, mut server, mut out) = (BackendCodec::default(), ClientCodec::default(), Vec::new());
        let asked = request(&format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}"));
        client.encode_head(&asked, Persistence::Keep, &mut Vec::new());
        client.pass_trailers(&asked);
        client.encode_end(StreamId::ONLY, Some(&trailers), &mut out);
        assert_eq!(text(&out), goes, "request, {connection}");
        out.clear();
        client.encode_head(&asked, Persistence::Keep, &mut Vec::new());
        client.encode_end(StreamId::ONLY, Some(&trailers), &mut out);
        assert_eq!(text(&out), "0\r\n\r\n", "a request's trailers are dropped by default");
        out.clear();
        let came = response(Method::Get, &format!("HTTP/1.1 200 OK\r\n{fields}"));
        server.encode_head(HTTP11, &came, Persistence::Keep, &mut Vec::new());
        server.encode_end(StreamId::ONLY, Some(&trailers), &mut out);
        assert_eq!(text(&out), goes, "response, {connection}");
    }
}

#[test]
fn a_body_shorter_than_its_length_must_close() {
    let mut server = ClientCodec::default();
    let head = response(Method::Get, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    server.encode_head(HTTP11, &head, Persistence::Keep, &mut Vec::new());
    server.frame_body(StreamId::ONLY, 4);
    assert_eq!(server.encode_end(StreamId::ONLY, None, &mut Vec::new()), After::MustClose);
    server.frame_body(StreamId::ONLY, 1);
    assert_eq!(server.encode_end(StreamId::ONLY, None, &mut Vec::new()), After::Reusable);
}

/// A sink with room for so many bytes in one piece.
pub(super) struct Narrow(pub Vec<u8>, pub usize);

impl Sink for Narrow {
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn fill(&mut self, write: impl FnOnce(&mut [u8]) -> Option<usize>) -> bool {
        let mut free = vec![0; self.1];
        let written = write(&mut free);
        self.0.extend_from_slice(&free[..written.unwrap_or(0)]);
        written.is_some()
    }
}

#[test]
fn a_request_head_is_the_same_with_any_room_in_the_sink() {
    for bytes in [
        "GET /a HTTP/1.1\r\nHost: a\r\nX-A: b\r\nConnection: keep-alive\r\nX-B: c\r\n\r\n",
        "GET /a HTTP/1.0\r\nConnection: close\r\nhost:a\r\nX: 1\r\n\r\n",
        "GET http://b/c HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\n",
        "POST /a HTTP/1.1\r\nContent-Length: 12\r\nHost: a\r\nConnection: x\r\n\r\n",
        "POST /a HTTP/1.1\r\nContent-Length: 012\r\nHost: a\r\n\r\n",
        "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: a\r\n\r\n",
        "POST /a HTTP/1.1\r\ntransfer-encoding: CHUNKED\r\nHost: a\r\n\r\n",
    ] {
        let mut head = request(bytes);
        head.fields.append(b"X-Added", b"1");
        for persistence in [Persistence::Keep, Persistence::Close] {
            let mut pieces = Pieces::default();
            BackendCodec::default().encode_head(&head, persistence, &mut pieces);
            let whole = text(&pieces.0.concat());
            for room in [0, 1, whole.len() - 1, whole.len(), 4096] {
                let mut out = Narrow(Vec::new(), room);
                BackendCodec::default().encode_head(&head, persistence, &mut out);
                assert_eq!(text(&out.0), whole, "with room for {room}");
            }
        }
    }
}

#[test]
fn a_response_head_is_the_same_with_any_room_in_the_sink() {
    for bytes in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\nX: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 005\r\nX: 1\r\n\r\n",
        "HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\nX: 1\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nX: 1\r\n\r\n",
        "HTTP/1.1 204 None\r\nContent-Length: 5\r\nX: 1\r\n\r\n",
        "HTTP/1.0 404 Nothing here\r\nX: 1\r\n\r\n",
    ] {
        let came = response(Method::Get, bytes);
        for (status, version) in
            [(came.status, Version::Http11), (500, Version::Http11), (came.status, Version::Http10)]
        {
            let facts = RequestFacts { version, ..RequestFacts::default() };
            let head = ResponseHead { status, ..came.clone() };
            let mut pieces = Pieces::default();
            ClientCodec::default().encode_head(facts, &head, Persistence::Keep, &mut pieces);
            let whole = text(&pieces.0.concat());
            for room in [0, 1, whole.len() - 1, whole.len(), 4096] {
                let mut out = Narrow(Vec::new(), room);
                ClientCodec::default().encode_head(facts, &head, Persistence::Keep, &mut out);
                assert_eq!(text(&out.0), whole, "with room for {room}");
            }
        }
    }
}

#[test]
fn a_head_notes_whether_its_connection_nominates_fields() {
    for (options, nominates) in [
        ("keep-alive", false),
        ("close, TE , Upgrade,, Keep-Alive", false),
        ("", false),
        ("close, x-hop", true),
        ("Te2", true),
        ("clos\u{e4}", true),
        ("keep-alive2", true),
    ] {
        let fields = format!("Connection: {options}\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(request(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}")).nominates, nominates);
        assert_eq!(response(Method::Get, &format!("HTTP/1.1 200 OK\r\n{fields}")).nominates, nominates);
    }
    let two = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nConnection: x\r\n\r\n";
    assert!(request(two).nominates, "all Connection fields are one list");
}
