//! Memory of two hundred slow clients: at most two blocks each, freed afterwards.

use crate::alone;
use crate::support::*;

const PAIRS: usize = 200;
const SIZE: u64 = 8 << 20;

#[test]
fn two_hundred_slow_downloads_and_uploads_cost_less_than_100_kib_each_and_nothing_afterwards() {
    let _alone = alone();
    let fast = bodies(Uploads::default());
    let stuck = Gate::new();
    let gate = stuck.clone();
    // Reads nothing of an upload until the gate opens.
    let slow = Origin::run_with_small_buffer(move |visit| {
        if visit.head().is_some() {
            gate.wait();
            let mut taken = 0;
            let _ = visit.wire.body(Framing::Exact(SIZE), &mut |bytes| taken += bytes.len());
            let text = taken.to_string();
            visit.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()));
        }
    });
    let config = format!(
        "local down = rsp.pool {{ name = 'down', servers = {{ {:?} }}, timeouts = {{ idle = '200ms' }} }}
         local up = rsp.pool {{ name = 'up', servers = {{ {:?} }}, timeouts = {{ idle = '200ms' }} }}
         rsp.on_request(function(req) if req.method == 'POST' then return up end return down end)
         -- The readers have their turns one after the other.
         rsp.settings {{ timeouts = {{ write = '10m', rate = '10m' }} }}",
        fast.address, slow.address
    );
    let rsp = Rsp::start(&on_any_port(&config));
    for number in 0..50 {
        get(rsp.address(), &format!("/length/100000/{number}"));
    }
    let before = settled_memory_kib(rsp.pid());

    let mut readers: Vec<Client> = (0..PAIRS / 2)
        .map(|number| {
            let mut client = Client::connect_with_small_buffer(rsp.address());
            client.ask(&format!("/length/{SIZE}/{number}"));
            client
        })
        .collect();
    let writers: Vec<_> = (0..PAIRS / 2).map(|_| start_upload(rsp.address())).collect();
    until("all requests are on their way", || {
        fast.head_count() >= 50 + PAIRS / 2 && slow.head_count() >= PAIRS / 2
    });
    let during = settled_memory_kib(rsp.pid());
    let each = during.saturating_sub(before) / PAIRS as u64;
    println!("{before} KiB before, {during} KiB with {PAIRS} slow pairs: {each} KiB each");
    assert!(during < before + PAIRS as u64 * 100, "{before} KiB before, {during} KiB during");

    stuck.open();
    for (number, client) in readers.iter_mut().enumerate() {
        client.widen();
        let answer = client.response();
        assert_eq!(hash_of(&answer.body), content_hash(number as u64, SIZE));
    }
    for writer in writers {
        assert_eq!(writer.join().expect("an upload"), SIZE.to_string());
    }
    drop(readers);
    // The allocator may keep a third of what they took.
    let mut after = 0;
    let allowed = before + (during - before).max(3 * 1024) / 3;
    let returned = within(DEADLINE, || {
        after = memory_kib(rsp.pid());
        after <= allowed
    });
    assert!(returned, "{before} KiB before, {during} KiB during, {after} KiB after");
}

/// Uploads as fast as it is accepted, in its own thread; the result is the origin's answer.
fn start_upload(address: &str) -> std::thread::JoinHandle<String> {
    let mut client = Client::connect(address);
    std::thread::spawn(move || {
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n"));
        let piece = vec![b'u'; 64 << 10];
        for _ in 0..SIZE as usize / piece.len() {
            client.send(&piece);
        }
        client.response().text()
    })
}
