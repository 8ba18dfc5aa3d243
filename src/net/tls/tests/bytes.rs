//! Bytes, records and ends.

use std::io::Write;
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection};

use super::*;

#[test]
fn bytes_arrive_in_order_however_few_pass_at_once() {
    let side = plain_side();
    let client = client(&side.ca, None);
    for most in [1, 2, 3, 5, 16, 100, 4095, 4096, 4097, 20_000, usize::MAX] {
        let (mut ours, mut theirs) = connected(&side.server, &client, most);
        let bytes = if most < 100 { &long()[..20_000] } else { &long()[..] };
        assert!(pass(&mut theirs, &mut ours, bytes) == bytes, "{most} at once");
        assert!(pass(&mut ours, &mut theirs, bytes) == bytes, "{most} at once");
        assert_eq!(ours.recv(&mut [0; 10]).unwrap_err().kind(), ErrorKind::WouldBlock);
    }
}

#[test]
fn a_handshake_of_rustls_succeeds_at_every_split() {
    let side = plain_side();
    let client = client(&side.ca, None);
    let hello = |connection: &mut ClientConnection| {
        let mut bytes = Vec::new();
        while connection.wants_write() {
            connection.write_tls(&mut bytes).unwrap();
        }
        bytes
    };
    let length = hello(&mut ClientConnection::new(client.config(), client.name()).unwrap()).len();
    assert!(length > 500, "{length}");
    for split in 1..length {
        let (near, far) = wires(usize::MAX);
        let mut ours = Tls::server(far, &side.server, false).unwrap();
        let mut peer = ClientConnection::new(client.config(), client.name()).unwrap();
        let bytes = hello(&mut peer);
        near.outgoing.borrow_mut().bytes.extend(&bytes[..split]);
        assert!(!of(ours.handshake()), "half a hello is none");
        assert!(near.incoming.borrow().bytes.is_empty() && !ours.is_established());
        near.outgoing.borrow_mut().bytes.extend(&bytes[split..]);
        assert!(!of(ours.handshake()));
        let answer: Vec<u8> = near.incoming.borrow_mut().bytes.drain(..).collect();
        let mut answer = &answer[..];
        while !answer.is_empty() {
            peer.read_tls(&mut answer).unwrap();
            peer.process_new_packets().unwrap();
        }
        peer.writer().write_all(b"GET").unwrap();
        let bytes = hello(&mut peer);
        near.outgoing.borrow_mut().bytes.extend(&bytes[..split.min(bytes.len() - 1)]);
        let early = of(ours.handshake());
        near.outgoing.borrow_mut().bytes.extend(&bytes[split.min(bytes.len() - 1)..]);
        assert!(early || of(ours.handshake()));
        let mut space = [0; 10];
        assert_eq!((ours.recv(&mut space).unwrap(), &space[..3]), (3, &b"GET"[..]), "split at {split}");
    }
}

#[test]
fn much_that_follows_the_handshake_at_once_is_not_lost() {
    let side = plain_side();
    let client = client(&side.ca, None);
    let (near, far) = wires(usize::MAX);
    let (mut ours, mut theirs) =
        (Tls::server(far, &side.server, false).unwrap(), Tls::client(near, &client).unwrap());
    assert!(!of(theirs.handshake()) && !of(ours.handshake()));
    assert!(of(theirs.handshake()), "for the client it is over");
    let bytes = long();
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        rest = &rest[theirs.send(rest).unwrap()..];
    }
    assert!(of(ours.handshake()));
    let (mut got, mut space) = (Vec::new(), vec![0; 7000]);
    while got.len() < bytes.len() {
        let n = ours.recv(&mut space).unwrap();
        got.extend_from_slice(&space[..n]);
    }
    assert!(got == bytes);
}

#[test]
fn records_that_the_socket_does_not_take_are_held_and_counted() {
    let side = plain_side();
    let (mut ours, mut theirs) = connected(&side.server, &client(&side.ca, None), usize::MAX);
    assert_eq!(ours.recv(&mut [0; 10]).unwrap_err().kind(), ErrorKind::WouldBlock);
    let _ = theirs.recv(&mut [0; 10]);
    ours.socket().room = 5000;
    let bytes = &long()[..32 * 1024];
    let sealed = ours.send(bytes).unwrap();
    assert_eq!(sealed, bytes.len(), "a block is taken at once");
    assert!(ours.wants_write() && ours.unacknowledged() > 0);
    assert_eq!(ours.flush().unwrap_err().kind(), ErrorKind::WouldBlock);
    let (mut got, mut space) = (Vec::new(), vec![0; 1000]);
    while got.len() < bytes.len() {
        match theirs.recv(&mut space) {
            Ok(n) => got.extend_from_slice(&space[..n]),
            Err(_) => _ = ours.flush(),
        }
    }
    assert!(got == bytes && !ours.wants_write());
}

#[test]
fn plain_text_inside_is_given_before_anything_is_read() {
    let side = plain_side();
    let (mut ours, mut theirs) = connected(&side.server, &client(&side.ca, None), usize::MAX);
    theirs.send(b"0123456789").unwrap();
    let mut space = [0; 4];
    for wanted in [&b"0123"[..], b"4567"] {
        assert_eq!((ours.recv(&mut space).unwrap(), &space[..]), (4, wanted));
        assert!(!ours.short_recv_is_empty(), "there is more inside");
    }
    assert_eq!(ours.recv(&mut space).unwrap(), 2);
    theirs.send(b"ab").unwrap();
    assert_eq!(ours.recv(&mut space).unwrap(), 2);
    assert!(ours.short_recv_is_empty(), "one read took all");
}

/// The lengths of the records on a wire, without their headers.
fn records(wire: &Wire) -> Vec<usize> {
    let bytes: Vec<u8> = wire.outgoing.borrow().bytes.iter().copied().collect();
    let (mut rest, mut lengths) = (&bytes[..], Vec::new());
    while let [_, _, _, high, low, more @ ..] = rest {
        let length = usize::from(*high) << 8 | usize::from(*low);
        lengths.push(length);
        rest = &more[length..];
    }
    lengths
}

#[test]
fn an_answer_begins_with_short_records_and_its_head_and_body_share_one() {
    let side = plain_side();
    let (mut ours, mut theirs) = connected(&side.server, &client(&side.ca, None), usize::MAX);
    let _ = theirs.recv(&mut [0; 10]);
    let (head, body) = ([b'h'; 200], long());
    let parts = [&head[..], b"", &body[..100], b"\r\n"].map(IoSlice::new);
    assert_eq!(ours.send_parts(&parts).unwrap(), 302);
    assert_eq!(records(ours.socket()), [302 + 17], "one record of all parts");
    ours.socket().outgoing.borrow_mut().bytes.clear();
    let mut rest = &body[..];
    while !rest.is_empty() {
        rest = &rest[ours.send(rest).unwrap()..];
    }
    let lengths = records(ours.socket());
    let short = lengths.iter().take_while(|length| **length <= 4096 + 17).count();
    assert!((15..=18).contains(&short), "{lengths:?}");
    assert!(lengths[short..].contains(&(16_384 + 17)), "{lengths:?}");
    ours.socket().outgoing.borrow_mut().bytes.clear();
    theirs.send(b"next").unwrap();
    ours.recv(&mut [0; 10]).unwrap();
    ours.send(&body).unwrap();
    assert_eq!(records(ours.socket())[0], 4096 + 17, "the next answer begins anew");
}

#[test]
fn an_announced_end_is_an_end_and_a_cut_is_not() {
    let side = plain_side();
    let client = client(&side.ca, None);
    let mut space = [0; 100];
    // Announced.
    let (mut ours, mut theirs) = connected(&side.server, &client, usize::MAX);
    theirs.send(b"last").unwrap();
    theirs.shutdown_write().unwrap();
    assert_eq!((ours.recv(&mut space).unwrap(), ours.recv(&mut space).unwrap()), (4, 0));
    assert!(!ours.was_truncated());
    ours.send(b"answer").unwrap();
    ours.farewell();
    assert_eq!((theirs.recv(&mut space).unwrap(), theirs.recv(&mut space).unwrap()), (6, 0));
    // Cut, from a client: its requests have a length. From a server: the end would be taken for the body's.
    let (mut ours, mut theirs) = connected(&side.server, &client, usize::MAX);
    ours.send(b"part").unwrap();
    theirs.socket().shutdown_write().unwrap();
    ours.socket().shutdown_write().unwrap();
    assert_eq!((ours.recv(&mut space).unwrap(), ours.was_truncated()), (0, true));
    assert_eq!(theirs.recv(&mut space).unwrap(), 4);
    assert_eq!(theirs.recv(&mut space).unwrap_err().kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn the_write_side_is_shut_down_after_what_was_sent_and_its_end() {
    let side = plain_side();
    let (mut ours, mut theirs) = connected(&side.server, &client(&side.ca, None), usize::MAX);
    let _ = theirs.recv(&mut [0; 10]);
    ours.socket().room = 10;
    ours.send(b"a long enough text").unwrap();
    ours.shutdown_write().unwrap();
    assert!(ours.wants_write() && !ours.socket().outgoing.borrow().closed);
    ours.socket().room = usize::MAX;
    ours.flush().unwrap();
    assert!(!ours.wants_write() && ours.socket().outgoing.borrow().closed);
    let mut space = [0; 100];
    assert_eq!((theirs.recv(&mut space).unwrap(), theirs.recv(&mut space).unwrap()), (18, 0));
}

#[test]
fn a_write_fails_only_if_nothing_of_it_went_out_and_the_next_call_does_in_any_case() {
    for (room, taken) in [(0, None), (10, Some(18))] {
        let side = plain_side();
        let (mut ours, _theirs) = connected(&side.server, &client(&side.ca, None), usize::MAX);
        ours.socket().outgoing.borrow_mut().bytes.clear();
        (ours.socket().room, ours.socket().broken) = (room, true);
        assert_eq!(ours.send(b"a long enough text").ok(), taken);
        assert!(ours.wants_write() && ours.flush().is_err());
    }
}

#[test]
fn nothing_is_said_before_a_reset() {
    let side = plain_side();
    let (mut ours, _theirs) = connected(&side.server, &client(&side.ca, None), usize::MAX);
    ours.socket().outgoing.borrow_mut().bytes.clear();
    ours.reset_on_close();
    ours.farewell();
    assert!(ours.socket().outgoing.borrow().bytes.is_empty() && !ours.wants_write());
}

#[test]
fn plain_http_is_known_and_answered_in_plain_and_garbage_fails() {
    let side = plain_side();
    let (near, far) = wires(usize::MAX);
    let mut ours = Tls::server(far, &side.server, false).unwrap();
    near.outgoing.borrow_mut().bytes.extend(b"GET / HTTP/1.1\r\n");
    assert!(of(ours.handshake()) && ours.lacks_tls() && ours.is_established() && ours.tls().is_none());
    near.outgoing.borrow_mut().bytes.extend(b"Host: a\r\n");
    let mut space = [0; 100];
    assert_eq!((ours.recv(&mut space).unwrap(), &space[..3]), (16, &b"GET"[..]));
    assert_eq!(ours.recv(&mut space).unwrap(), 9);
    ours.send(b"HTTP/1.1 400 Bad Request\r\n").unwrap();
    assert!(near.incoming.borrow().bytes.iter().copied().take(8).eq(*b"HTTP/1.1"));
    for garbage in [&[0u8; 100][..], &[0x16; 100], b"\x16\x03\x01\xff\xff", b"\x80\x2e\x01\x03\x01"] {
        let (near, far) = wires(usize::MAX);
        let mut ours = Tls::server(far, &side.server, false).unwrap();
        near.outgoing.borrow_mut().bytes.extend(garbage);
        near.outgoing.borrow_mut().bytes.extend([0; 70_000]);
        assert_eq!(ours.handshake().unwrap_err().kind(), ErrorKind::InvalidData, "{garbage:?}");
        assert!(!ours.is_established() && ours.handshake().is_err());
        assert_eq!(ours.recv(&mut space).unwrap_err().kind(), ErrorKind::WouldBlock, "dropped");
        assert!(near.outgoing.borrow().bytes.is_empty() && ours.send(b"x").is_err());
    }
}

#[test]
fn a_proxy_header_comes_before_the_handshake_on_either_side() {
    let side = plain_side();
    let client = client(&side.ca, None);
    let (near, far) = wires(usize::MAX);
    let (mut ours, mut theirs) =
        (Tls::server(far, &side.server, true).unwrap(), Tls::client(near, &client).unwrap());
    assert!(ours.is_established(), "the header is read first");
    assert!(theirs.send_before_tls(b"PROXY UNKNOWN\r\n"));
    assert!(!of(theirs.handshake()));
    let mut space = [0; 2000];
    let n = ours.recv(&mut space).unwrap();
    assert!(space.starts_with(b"PROXY UNKNOWN\r\n") && n > 500, "{n}");
    assert!(ours.start_tls(&space[15..n]).unwrap());
    assert!(!ours.is_established());
    assert!(theirs.socket().incoming.borrow().bytes.is_empty(), "the work is done when its turn comes");
    while !(of(theirs.handshake()) & of(ours.handshake())) {}
    assert!(pass(&mut theirs, &mut ours, b"GET") == b"GET");
    assert!(!ours.start_tls(b"").unwrap(), "only once");
}

#[test]
fn bytes_that_come_one_at_a_time_are_waited_for() {
    let side = plain_side();
    let (mut ours, mut theirs) = connected(&side.server, &client(&side.ca, None), 1);
    let mut plain = [0; 10];
    let _ = theirs.recv(&mut plain);
    ours.send(b"x").unwrap();
    while ours.wants_write() {
        ours.flush().unwrap();
    }
    assert_eq!((theirs.recv(&mut plain).unwrap(), plain[0]), (1, b'x'));
}

#[test]
fn a_peer_that_keeps_sending_records_without_data_is_left() {
    let side = plain_side();
    let mut config = ServerConfig::clone(&side.server.config());
    config.send_tls13_tickets = 300;
    let (mut near, far) = wires(usize::MAX);
    let mut theirs = Tls::client(far, &client(&side.ca, None)).unwrap();
    let mut server = ServerConnection::new(Arc::new(config)).unwrap();
    while server.is_handshaking() {
        of(theirs.handshake());
        answer(&mut server, &mut near);
    }
    while !of(theirs.handshake()) {}
    assert_eq!(theirs.recv(&mut [0; 10]).unwrap_err().kind(), ErrorKind::InvalidData);
}

/// Reads what is on the wire and writes what that leads to.
fn answer(server: &mut ServerConnection, wire: &mut Wire) {
    let received: Vec<u8> = wire.incoming.borrow_mut().bytes.drain(..).collect();
    let mut rest = &received[..];
    while !rest.is_empty() {
        server.read_tls(&mut rest).unwrap();
        server.process_new_packets().unwrap();
    }
    let mut bytes = Vec::new();
    while server.wants_write() {
        server.write_tls(&mut bytes).unwrap();
    }
    if !bytes.is_empty() {
        wire.send(&bytes).unwrap();
    }
}

#[test]
fn an_end_announced_behind_data_is_read_without_another_event() {
    let side = plain_side();
    let (mut ours, mut theirs) = connected(&side.server, &client(&side.ca, None), usize::MAX);
    let mut space = [0; 100];
    theirs.send(b"data").unwrap();
    assert_eq!(ours.recv(&mut space).unwrap(), 4);
    assert!(ours.short_recv_is_empty());
    theirs.send(b"last").unwrap();
    theirs.farewell();
    assert_eq!(ours.recv(&mut space).unwrap(), 4);
    assert!(!ours.short_recv_is_empty(), "the end is still to be read");
    assert_eq!(ours.recv(&mut space).unwrap(), 0);
}

#[test]
fn a_farewell_that_is_not_taken_is_known() {
    let side = plain_side();
    let (mut ours, mut theirs) = connected(&side.server, &client(&side.ca, None), usize::MAX);
    let _ = theirs.recv(&mut [0; 10]);
    ours.socket().room = 0;
    assert!(!ours.farewell() && ours.wants_write());
    ours.socket().room = usize::MAX;
    ours.shutdown_write().unwrap();
    assert_eq!(theirs.recv(&mut [0; 10]).unwrap(), 0);
}

#[test]
fn records_that_wait_count_as_not_acknowledged() {
    let side = plain_side();
    let (mut ours, mut theirs) = connected(&side.server, &client(&side.ca, None), usize::MAX);
    let _ = theirs.recv(&mut [0; 10]);
    ours.socket().room = 0;
    ours.send(&[7; 10_000]).unwrap();
    let waiting = ours.unacknowledged();
    assert!((10_000..10_200).contains(&waiting), "{waiting}");
    ours.socket().room = usize::MAX;
    ours.flush().unwrap();
    theirs.recv(&mut [0; 20_000]).unwrap();
    assert_eq!(ours.unacknowledged(), 0);
}
