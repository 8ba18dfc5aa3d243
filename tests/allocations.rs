//! In the steady state a keep-alive request allocates nothing: a worker runs in this process under an allocator
//! that counts, and ten thousand requests go through it after a warm-up.
//!
//! The worker writes records for an access log and begins a trace for each request. Counted is every thread but those
//! of this test (its client, its origin and the reader of the log say so of themselves), so the worker with its Lua VM
//! is. A script's new strings and tables are the script's own; this one makes none that it has not made before.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rsp::balance::Servers;
use rsp::base::batch;
use rsp::net::bind;
use rsp::script::{Source, load};
use rsp::worker::{AccessSender, Drain, Setup, WorkerIo, start};
use support::Directory;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static IS_THE_TESTS: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    if !IS_THE_TESTS.try_with(Cell::get).unwrap_or(true) {
        ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
    }
}

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: see above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: see above.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: see above.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const WARM_UP: usize = 1_000;
const REQUESTS: usize = 10_000;

const REQUEST: &[u8] =
    b"GET /some/page?a=b HTTP/1.1\r\nHost: www.example.com:8080\r\nUser-Agent: test\r\nCookie: a=1\r\n\
    Connection: keep-alive\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n";
const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\nServer: origin\r\nContent-Type: text/plain\r\nConnection: keep-alive\r\n\
    Content-Length: 12\r\n\r\nhello, world";

fn reads_head(stream: &mut TcpStream, buffer: &mut [u8]) -> Option<usize> {
    let mut len = 0;
    while !buffer[..len].windows(4).any(|end| end == b"\r\n\r\n") {
        len += stream.read(&mut buffer[len..]).ok().filter(|n| *n > 0)?;
    }
    Some(len)
}

/// Answers every request on every connection until it closes.
fn serve(listener: TcpListener) {
    IS_THE_TESTS.set(true);
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { return };
        std::thread::spawn(move || {
            IS_THE_TESTS.set(true);
            let mut buffer = [0; 4096];
            while reads_head(&mut stream, &mut buffer).is_some() {
                stream.write_all(RESPONSE).expect("the proxy takes the response");
            }
        });
    }
}

fn ask(stream: &mut TcpStream, requests: usize) {
    let mut buffer = [0; 4096];
    for _ in 0..requests {
        stream.write_all(REQUEST).expect("the proxy takes a request");
        let mut len = reads_head(stream, &mut buffer).expect("the proxy answers");
        assert!(buffer.starts_with(b"HTTP/1.1 200 OK\r\n"));
        while !buffer[..len].ends_with(b"hello, world") {
            len += stream.read(&mut buffer[len..]).expect("the rest of the answer");
        }
    }
}

/// What the log's thread does, without the formatting: that thread may allocate.
fn read_records() -> batch::Sender {
    let (sender, mut receiver) = batch::queue(64, 32 * 1024);
    std::thread::spawn(move || {
        IS_THE_TESTS.set(true);
        while let Some(batch) = receiver.recv() {
            receiver.recycle(batch);
        }
    });
    sender
}

#[test]
fn ten_thousand_requests_of_the_steady_state_allocate_nothing() {
    IS_THE_TESTS.set(true);
    let origin = TcpListener::bind("127.0.0.1:0").expect("a port");
    let server = origin.local_addr().expect("its address");
    std::thread::spawn(move || serve(origin));
    let directory = Directory::new();
    let path = directory.write(
        "rsp.lua",
        format!(
            "rsp.listen '127.0.0.1:0'
             local web = rsp.pool {{ name = 'web', servers = {{ '{server}' }}, timeouts = {{ idle = '10m' }} }}
             rsp.on_request(function(req)
               if req.host == 'api.example.com' or req.path:sub(1, 8) == '/static/' then return 'nowhere' end
               return web
             end)
             rsp.settings {{ access_log = {{ '-', format = 'json' }}, trace = true }}"
        ),
    );
    let (config, script) = load(&mut Source::file(&path)).expect("the config");
    drop(script);
    let listener = bind(&config.listeners[0]).expect("a port");
    let address = listener.address();
    let config = Arc::new(config);
    let setup =
        Setup::each(1, &Servers::new(1), &config, &config, &Source::file(&path), Instant::now()).remove(0);
    let log = config.settings.access_log.as_ref().expect("an access log");
    let io = WorkerIo { listeners: vec![listener], access: Some(AccessSender::new(read_records(), log)) };
    let worker = start(setup, io, |_| ()).expect("a worker").go().expect("a config that loads");
    let mut client = TcpStream::connect(&address).expect("a connection");
    client.set_nodelay(true).expect("an option");
    ask(&mut client, WARM_UP);
    let before = ALLOCATIONS.load(Ordering::SeqCst);
    assert!(before > 0, "the worker is counted");
    ask(&mut client, REQUESTS);
    let during = ALLOCATIONS.load(Ordering::SeqCst) - before;
    drop(client);
    worker.drain(Drain { within: Duration::from_secs(30), handed_over: false });
    worker.join();
    assert_eq!(during, 0, "allocations in {REQUESTS} requests");
}
