//! A running worker that is given one config after another under load: no request fails, a long download and a tunnel go
//! on through all of them, and memory stays flat. 60 swaps in six seconds in a plain test run; `RSP_SWAP_MS` says how
//! many milliseconds lie between two.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rsp::balance::Servers;
use rsp::net::bind;
use rsp::script::{Source, load};
use rsp::worker::{Drain, Handle, NextListener, PackedSite, Setup, Switch, WorkerIo, start};

use crate::alone;
use crate::support::*;

const SWAPS: u64 = 60;
const CLIENTS: usize = 4;
const PIECE: usize = 1000;
/// Allocator pages that hold something small.
const SLACK_KIB: u64 = 8 * 1024;

fn pause() -> Duration {
    let given = std::env::var("RSP_SWAP_MS").ok().and_then(|text| text.parse().ok());
    Duration::from_millis(given.unwrap_or(100))
}

fn source(origin: &Origin, generation: u64) -> Source {
    let config = format!(
        "rsp.listen '127.0.0.1:0'
         local web = rsp.pool {{ name = 'web', servers = {{ '{}' }} }}
         local many = {{}}
         for i = 1, 10000 do many[i] = 'generation {generation} ' .. i end
         rsp.on_request(function(req) req.headers['X-Generation'] = '{generation}'; return web end)
         rsp.on_response(function(req, res) res.headers['X-Seen'] = many[1] end)",
        origin.address
    );
    Source::in_memory(Path::new("site.lua"), config.as_bytes())
}

/// Answers, but for `/long` and a tunnel, with the generation that it was asked by; those go on until the end.
fn origin(stop: Arc<AtomicBool>) -> Origin {
    Origin::run(move |visit| {
        while let Some(head) = visit.head() {
            let generation = head.get("x-generation").expect("the script has seen it").to_string();
            match head.target() {
                "/long" => {
                    visit.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                    while !stop.load(Ordering::SeqCst) {
                        visit.send(format!("3e8\r\n{}\r\n", "x".repeat(PIECE)));
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    visit.send("0\r\n\r\n");
                }
                "/tunnel" => {
                    visit.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
                    let mut piece = [0; 100];
                    while let Ok(size @ 1..) = visit.wire.read_some(&mut piece) {
                        visit.send(&piece[..size]);
                    }
                }
                _ => {
                    let length = generation.len();
                    visit.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{generation}"));
                }
            }
        }
    })
}

fn run_worker(origin: &Origin, servers: &Servers) -> (Handle, String) {
    let source = source(origin, 1);
    let (config, _) = load(&mut source.clone()).map_err(|error| error.0).unwrap();
    let config = Arc::new(config);
    let listener = bind(&config.listeners[0]).unwrap();
    let address = listener.address();
    let setup = Setup::each(1, servers, &config, &config, &source, Instant::now()).remove(0);
    let io = WorkerIo { listeners: vec![listener], access: None };
    (start(setup, io, |_| ()).unwrap().go().unwrap(), address)
}

fn swap(worker: &Handle, origin: &Origin, servers: &Servers, generation: u64) {
    let (config, script) = load(&mut source(origin, generation)).map_err(|error| error.0).unwrap();
    let (servers, config) = (servers.of(&config), Arc::new(config));
    Servers::adopt(&config, &servers, &|_, _| None);
    let site = PackedSite { generation, servers, config, script: script.pack() };
    let listeners = vec![NextListener::Kept(0)];
    worker.switch(Switch { site, listeners, access: None, done: Box::new(|| ()) });
}

#[test]
fn configs_that_follow_each_other_under_load_lose_nothing_and_keep_no_memory() {
    let _guard = alone();
    let stop = Arc::new(AtomicBool::new(false));
    let origin = origin(stop.clone());
    let servers = Servers::new(1);
    let (worker, address) = run_worker(&origin, &servers);
    let mut long = Client::connect(&address);
    assert_eq!(long.ask("/long").head().status(), 200);
    let mut tunnel = Client::connect(&address);
    tunnel.send("GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(tunnel.head().status(), 101);
    let answered = AtomicUsize::new(0);
    let (mut before, pid) = (0, std::process::id());
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = Client::connect(&address);
                let mut last = 0;
                while !stop.load(Ordering::SeqCst) {
                    let answer = client.get("/");
                    let generation: u64 = answer.text().parse().unwrap();
                    assert_eq!(answer.status(), 200);
                    assert!(generation >= last, "an older config took over: {generation} after {last}");
                    assert!(
                        answer.head.get("x-seen").unwrap().starts_with(&format!("generation {generation} "))
                    );
                    last = generation;
                    answered.fetch_add(1, Ordering::SeqCst);
                }
                assert!(last > SWAPS / 2, "the last configs were never used");
            });
        }
        let reader = scope.spawn(|| {
            let mut got = 0;
            long.wire.body(Framing::Chunked, &mut |piece| got += piece.len()).expect("the whole download");
            got
        });
        for generation in 2..=SWAPS {
            std::thread::sleep(pause());
            swap(&worker, &origin, &servers, generation);
            let text = format!("through the tunnel at {generation:>4}");
            assert_eq!(tunnel.send(&text).wire.read_exactly(text.len()).unwrap(), text.as_bytes());
            if generation == SWAPS / 3 {
                before = memory_kib(pid);
            }
        }
        stop.store(true, Ordering::SeqCst);
        assert!(reader.join().unwrap() % PIECE == 0);
    });
    let after = memory_kib(pid);
    println!(
        "{} requests, {before} KiB after a third of the swaps, {after} KiB at the end",
        answered.into_inner()
    );
    assert!(after < before + SLACK_KIB, "{before} KiB, {after} KiB");
    worker.drain(Drain { within: Duration::from_secs(30), handed_over: false });
    worker.stop();
    worker.join();
}
