//! Partial writes: what the kernel does not take now is sent later, in order, without losing a byte, while others are
//! served. The slow side stays slow until others have had two hundred answers: no time is measured, and if it blocks
//! the others, the test never ends.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::alone;
use crate::support::*;
use sha2::{Digest, Sha256};

const SIZE: u64 = 64 << 20;

/// Reads 1 KiB every few milliseconds, for so many pieces and until the gate is open; then the rest at full speed.
fn read_slowly(client: &mut Client, framing: Framing, slow: usize, enough: &Gate) -> String {
    let (mut hash, mut pieces) = (Sha256::new(), 0);
    let mut left = SIZE;
    if framing == Framing::Exact(SIZE) {
        while (pieces < slow || !enough.is_open()) && left > 0 {
            let piece = client.wire.read_exactly(1024).expect("the next KiB");
            hash.update(&piece);
            left -= 1024;
            pieces += 1;
            std::thread::sleep(Duration::from_millis(if pieces < slow { 3 } else { 50 }));
        }
        client.wire.body(Framing::Exact(left), &mut |bytes| hash.update(bytes)).expect("the rest");
        return hex(&hash.finalize());
    }
    // Chunked: pauses between pieces of whatever size the kernel returned.
    let sink = &mut |bytes: &[u8]| {
        hash.update(bytes);
        pieces += 1;
        if pieces < slow || !enough.is_open() {
            std::thread::sleep(Duration::from_millis(if pieces < slow { 3 } else { 50 }));
        }
    };
    client.wire.body(framing, sink).expect("a whole body");
    hex(&hash.finalize())
}

/// Makes quick requests, and opens the gate after two hundred answers. The result is whether the slow side was still
/// busy then.
fn quick_requests_beside(address: &str, enough: &Gate, done: &Gate) -> std::thread::JoinHandle<bool> {
    let (address, enough, done) = (address.to_string(), enough.clone(), done.clone());
    std::thread::spawn(move || {
        let mut client = Client::connect(&address);
        for count in 0..200 {
            let answer = client.get(&format!("/length/20000/{count}"));
            assert_eq!(hash_of(&answer.body), content_hash(count, 20_000));
        }
        let first = !done.is_open();
        enough.open();
        first
    })
}

fn a_slow_download(framing: &str) {
    let _alone = alone();
    let origin = bodies(Uploads::default());
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect_with_small_buffer(rsp.address());
    client.ask(&format!("/{framing}/{SIZE}/64"));
    let framing = response_framing(&client.head(), "GET");
    let (enough, done) = (Gate::new(), Gate::new());
    let others = quick_requests_beside(rsp.address(), &enough, &done);
    let hash = read_slowly(&mut client, framing, 500, &enough);
    done.open();
    assert_eq!(hash, content_hash(64, SIZE));
    assert!(others.join().expect("the others"), "others had to wait for the slow client");
}

#[test]
fn a_slow_reader_gets_64_mebibytes_whole_while_others_are_served() {
    a_slow_download("length");
}

#[test]
fn a_slow_reader_gets_64_chunked_mebibytes_whole_while_others_are_served() {
    a_slow_download("chunked");
}

#[test]
fn a_slow_reader_gets_64_mebibytes_that_end_with_the_connection_whole() {
    let _alone = alone();
    let origin = bodies(Uploads::default());
    let rsp = Rsp::over(&[&origin.address]);
    let mut client = Client::connect_with_small_buffer(rsp.address());
    client.ask(&format!("/close/{SIZE}/65"));
    let framing = response_framing(&client.head(), "GET");
    let enough = Gate::new();
    enough.open();
    assert_eq!(read_slowly(&mut client, framing, 300, &enough), content_hash(65, SIZE));
}

/// Sends a body of `SIZE` bytes; pauses after each of the first `slow` pieces.
fn upload(client: &mut Client, seed: u64, chunked: bool, slow: usize) -> String {
    let framing =
        if chunked { "Transfer-Encoding: chunked".to_string() } else { format!("Content-Length: {SIZE}") };
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n"));
    let (mut content, mut pieces) = (Content::new(seed, SIZE), 0);
    let mut piece = vec![0; 40_000];
    loop {
        let room = if pieces < slow { 1024 } else { piece.len() };
        let size = content.read(&mut piece[..room]).unwrap();
        match (chunked, size) {
            (_, 0) => break,
            (false, _) => client.send(&piece[..size]),
            (true, _) => client.send([format!("{size:x}\r\n").as_bytes(), &piece[..size], b"\r\n"].concat()),
        };
        pieces += 1;
        if pieces < slow {
            std::thread::sleep(Duration::from_millis(3));
        }
    }
    if chunked {
        client.send("0\r\n\r\n");
    }
    client.response().text()
}

#[test]
fn fast_uploads_reach_a_slow_server_whole_while_others_are_served() {
    let _alone = alone();
    let (enough, done) = (Gate::new(), Gate::new());
    let slow = bodies(Uploads { slow_until: Some(enough.clone()), small_buffer: true });
    let fast = bodies(Uploads::default());
    let config = format!(
        "local slow = rsp.pool {{ name = 'slow', servers = {{ {:?} }} }}
         local fast = rsp.pool {{ name = 'fast', servers = {{ {:?} }} }}
         rsp.on_request(function(req) if req.method == 'POST' then return slow end return fast end)",
        slow.address, fast.address
    );
    let rsp = Rsp::start(&on_any_port(&config));
    let uploads = [false, true].map(|chunked| {
        let address = rsp.address().to_string();
        std::thread::spawn(move || upload(&mut Client::connect(&address), 66, chunked, 0))
    });
    until("both uploads reached their server", || slow.head_count() == 2);
    let others = quick_requests_beside(rsp.address(), &enough, &done);
    for upload in uploads {
        assert_eq!(upload.join().expect("an upload"), format!("{SIZE} {}", content_hash(66, SIZE)));
        done.open();
    }
    assert!(others.join().expect("the others"), "others had to wait for the slow server");
}

#[test]
fn a_slow_writer_delivers_64_mebibytes_whole() {
    let _alone = alone();
    let origin = bodies(Uploads::default());
    let rsp = Rsp::over(&[&origin.address]);
    for chunked in [false, true] {
        let stated = upload(&mut Client::connect(rsp.address()), 67, chunked, 500);
        assert_eq!(stated, format!("{SIZE} {}", content_hash(67, SIZE)));
    }
}

/// An origin that counts how much of an endless body was accepted.
fn endless_body() -> (Origin, Arc<AtomicUsize>) {
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = sent.clone();
    let origin = Origin::run(move |visit| {
        let _ = visit.wire.socket.set_send_buffer_size(16 << 10);
        visit.request();
        visit.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"));
        let piece = vec![b'x'; 4096];
        while visit.send(&piece) {
            counter.fetch_add(piece.len(), Ordering::SeqCst);
        }
    });
    (origin, sent)
}

#[test]
fn a_client_that_stops_reading_stops_the_server_too_and_costs_little_memory() {
    let _alone = alone();
    let (origin, sent) = endless_body();
    let rsp = Rsp::over(&[&origin.address]);
    // A request first, so that everything is allocated.
    assert_eq!(Client::connect(rsp.address()).send("nonsense\r\n\r\n").response().status(), 400);
    let before = memory_kib(rsp.pid());
    let mut client = Client::connect_with_small_buffer(rsp.address());
    client.ask("/").head();
    let mut seen = 0;
    until("nothing moves any more", || {
        let last = std::mem::replace(&mut seen, sent.load(Ordering::SeqCst));
        std::thread::sleep(Duration::from_millis(300));
        seen > 0 && last == seen && seen == sent.load(Ordering::SeqCst)
    });
    // The kernel's four buffers and rsp's own: only a small part of 64 MiB.
    assert!(seen < 12 << 20, "{seen} bytes were taken from the server for a client that does not read");
    let grown = memory_kib(rsp.pid()).saturating_sub(before);
    assert!(grown < 1024, "grew by {grown} KiB for one client that does not read");
}

#[test]
fn a_client_that_pauses_at_any_point_gets_everything() {
    let _alone = alone();
    let origin = bodies(Uploads::default());
    let rsp = Rsp::over(&[&origin.address]);
    for (number, pause_at) in
        [0, 1, 4095, 4096, 32_767, 32_768, 65_536, 200_000, 1_999_999].into_iter().enumerate()
    {
        let framing = ["length", "chunked"][number % 2];
        let mut client = Client::connect_with_small_buffer(rsp.address());
        client.ask(&format!("/{framing}/2000000/{number}"));
        let head = client.head();
        let (mut body, mut paused) = (Vec::new(), false);
        let sink = &mut |bytes: &[u8]| {
            body.extend_from_slice(bytes);
            if !paused && body.len() >= pause_at {
                paused = true;
                std::thread::sleep(Duration::from_millis(100));
            }
        };
        client.wire.body(response_framing(&head, "GET"), sink).expect("a whole body");
        assert_eq!(hash_of(&body), content_hash(number as u64, 2_000_000));
    }
}

#[test]
fn a_response_in_single_bytes_arrives_whole() {
    let _alone = alone();
    let body = content_bytes(5, 1500);
    let expected = body.clone();
    let origin = Origin::run(move |visit| {
        visit.request();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        for byte in head.as_bytes().iter().chain(&body) {
            visit.send([*byte]);
        }
    });
    let rsp = Rsp::over(&[&origin.address]);
    assert_eq!(hash_of(&get(rsp.address(), "/").body), hash_of(&expected));
}
