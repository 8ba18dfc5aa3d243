//! Reloads under load, with wrk: no request fails, a WebSocket goes on, and the process keeps neither memory nor
//! descriptors nor threads of the configs it had. Ten seconds in a plain test run; `scripts/soak MINUTES` runs it
//! longer, in release.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::alone;
use crate::load_with_faults::duration;
use crate::support::*;

/// 136 reloads in ten minutes cut 136 times as many WebSockets elsewhere.
const RELOADS: u32 = 136;
const RELOADS_IN: Duration = Duration::from_secs(600);
/// What the process may keep after the load: allocator pages that hold something small.
const MEMORY_SLACK_KIB: u64 = 8 * 1024;
/// Pipes and idle connections come and go.
const DESCRIPTOR_SLACK: usize = 40;

/// Answers every request, and echoes four bytes at a time on a WebSocket.
fn origin() -> Origin {
    Origin::run(|visit| {
        while let Some(request) = visit.request() {
            if request.head.get("upgrade").is_none() {
                visit.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                continue;
            }
            visit.send(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            );
            while let Ok(bytes) = visit.wire.read_exactly(4) {
                visit.send(bytes);
            }
        }
    })
}

/// A config that differs from the one before in all that may differ.
fn config(servers: &[Origin], round: u32, port: u16) -> String {
    let second =
        if round.is_multiple_of(2) { format!("rsp.listen '127.0.0.1:{port}'") } else { String::new() };
    let balance = ["round_robin", "least_connections", "random", "least_latency"][round as usize % 4];
    let (first, other) = (round as usize % servers.len(), (round as usize + 1) % servers.len());
    let health =
        if round.is_multiple_of(3) { "health = { interval = '100ms', timeout = '30s' }," } else { "" };
    let log = ["", "access_log = 'a.log',", "access_log = { 'b.log', format = 'rsp' },"][round as usize % 3];
    format!(
        "rsp.listen '127.0.0.1:0'
         {second}
         local web = rsp.pool {{ name = 'web', balance = '{balance}', {health}
           servers = {{ '{}', {{ '{}', weight = {} }} }} }}
         local big = {{}}
         for i = 1, 10000 do big[i] = i end
         rsp.on_request(function(req) req.headers['X-Round'] = tostring(#big + {round}) return web end)
         rsp.settings {{ workers = 2, {log} }}",
        servers[first].address,
        servers[other].address,
        round % 5 + 1
    )
}

fn wrk(address: &str, fields: &[&str], time: Duration) -> Child {
    let mut command = Command::new(find("wrk").expect("wrk"));
    command.args(["-t1", "-c32", "--timeout", "30s", &format!("-d{}s", time.as_secs())]);
    fields.iter().for_each(|field| _ = command.args(["-H", field]));
    command.arg(format!("http://{address}/"));
    command.stdout(Stdio::piped()).spawn().expect("wrk starts")
}

/// Fails if a request did.
fn expect_no_failure(wrk: Child) {
    let said = String::from_utf8_lossy(&wrk.wait_with_output().expect("wrk").stdout).into_owned();
    assert!(!said.contains("Socket errors") && !said.contains("Non-2xx"), "{said}");
    let requests = said.lines().find_map(|line| line.split_once(" requests in "));
    let requests: u64 = requests.and_then(|(count, _)| count.trim().parse().ok()).unwrap_or(0);
    assert!(requests > 100, "{said}");
    eprintln!("{requests} requests");
}

#[test]
fn reloads_under_load_lose_no_request_and_keep_nothing() {
    let _guard = alone();
    if !have(&["wrk"]) {
        return;
    }
    let servers: Vec<Origin> = (0..3).map(|_| origin()).collect();
    let port = free_port();
    let rsp = Rsp::start(&config(&servers, 1, port));
    let mut round = 1;
    let mut reload = || {
        round += 1;
        rsp.reload(&config(&servers, round, port));
    };
    let mut socket = Client::connect(rsp.address());
    socket.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(socket.head().status(), 101);
    expect_no_failure(wrk(rsp.address(), &[], Duration::from_secs(2)));
    (0..12).for_each(|_| reload());
    let (memory, descriptors, threads) = (
        settled_memory_kib(rsp.pid()),
        crate::support::descriptors(rsp.pid()),
        crate::support::threads(rsp.pid()),
    );
    let time = duration();
    // A whole cycle of configs at least, so that the last one is like the first.
    let reloads =
        (RELOADS * time.as_secs() as u32 / RELOADS_IN.as_secs() as u32).max(12).next_multiple_of(12);
    let load = [wrk(rsp.address(), &[], time), wrk(rsp.address(), &["Connection: close"], time)];
    let begun = Instant::now();
    for done in 1..=reloads {
        reload();
        socket.send("ping");
        assert_eq!(socket.wire.read_exactly(4).expect("an echo"), b"ping");
        std::thread::sleep((time * done / reloads).saturating_sub(begun.elapsed()));
    }
    load.into_iter().for_each(expect_no_failure);
    assert_eq!(children(rsp.pid()), "", "another process");
    until("descriptors are given back", || {
        crate::support::descriptors(rsp.pid()) <= descriptors + DESCRIPTOR_SLACK
    });
    until("threads have ended", || crate::support::threads(rsp.pid()) <= threads + 1);
    let kept = settled_memory_kib(rsp.pid());
    assert!(kept <= memory + MEMORY_SLACK_KIB, "{memory} KiB before and {kept} KiB after {reloads} reloads");
    eprintln!("{reloads} reloads: {memory} KiB before, {kept} KiB after");
    rsp.stop();
}
