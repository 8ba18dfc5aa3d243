//! Load with faults: hundreds of clients that drip their heads or read slowly, thousands that are idle, and servers
//! that are killed and come back. Well-behaved clients see no error; afterwards descriptors and memory are back to
//! normal. Ten seconds in a plain test run; `scripts/soak MINUTES` runs it longer, in release.

use std::io::{ErrorKind, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::alone;
use crate::support::*;

const DRIPPING: usize = 200;
const SLOW_READERS: usize = 200;
const IDLE: usize = 2_000;
const HEALTHY: usize = 4;
const SERVERS: usize = 3;

/// Pause between two pieces of a slow client, and between two checks of all of them.
const STEP: Duration = Duration::from_millis(100);
/// How often and how long a server is down.
const KILL_EVERY: Duration = Duration::from_millis(1200);
const DOWN: Duration = Duration::from_millis(300);
/// Time until the slow readers have filled the buffers.
const FILLING: Duration = Duration::from_secs(3);
/// In the log: it reused a connection.
const KEPT: &str = " connect=0.000 ";
/// Pipes that rsp keeps for later bodies, two descriptors each.
const SPARE_PIPES: usize = 16;
/// What the process may keep after the load: allocator pages that hold something small.
const MEMORY_SLACK_KIB: u64 = 4 * 1024;

pub fn duration() -> Duration {
    let seconds = std::env::var("RSP_SOAK_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(10))
}

/// A server process; dropping it is a SIGKILL.
fn server(port: u16) -> Rsp {
    Rsp::start(&format!(
        "rsp.listen '127.0.0.1:{port}'
         rsp.pool {{ servers = {{ '127.0.0.1:1' }} }}
         rsp.on_request(function() return rsp.respond {{ status = 200, body = 'fine' }} end)"
    ))
}

fn proxy(servers: &[u16], large: &Origin) -> Rsp {
    let list: Vec<String> = servers.iter().map(|port| format!("'127.0.0.1:{port}'")).collect();
    Rsp::start(&on_any_port(&format!(
        "local web = rsp.pool {{ name = 'web', servers = {{ {} }}, timeouts = {{ idle = '500ms' }} }}
         local large = rsp.pool {{ name = 'large', servers = {{ {:?} }}, timeouts = {{ idle = '500ms' }} }}
         rsp.on_request(function(req) if req.path == '/' then return web end return large end)
         rsp.settings {{ timeouts = {{ idle = '1h' }}, access_log = {{ path = 'access.log', format = 'rsp' }} }}",
        list.join(", "),
        large.address
    )))
}

/// Replaces every client that ended, and lets each take its step in turn, so that they are not synchronised.
fn keep_busy(
    stop: &AtomicBool,
    count: usize,
    connect: impl Fn(usize) -> Client,
    step: impl Fn(&mut Client) -> bool,
) -> usize {
    let open = |number| {
        let client = connect(number);
        client.wire.socket.set_nonblocking(true).expect("nonblocking");
        client
    };
    let mut clients: Vec<Client> = (0..count).map(open).collect();
    let mut replaced = 0;
    while !stop.load(Ordering::Relaxed) {
        for client in &mut clients {
            if !step(client) {
                replaced += 1;
                *client = open(replaced);
            }
            std::thread::sleep(STEP / count as u32);
        }
    }
    replaced
}

/// One more byte of a head that never ends; rsp gives up after its head timeout.
fn drip(client: &mut Client) -> bool {
    let sent = client.wire.socket.write(b"x");
    let seen = client.wire.socket.read(&mut [0; 512]);
    sent.is_ok() && matches!(seen, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

/// Reads a little of a large body.
fn read_a_little(client: &mut Client) -> bool {
    match client.wire.socket.read(&mut [0; 2048]) {
        Ok(size) => size > 0,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

fn start_head(address: &str) -> Client {
    let mut client = Client::connect(address);
    client.send("GET / HTTP/1.1\r\nHost: example.com\r\nX-Long: ");
    client
}

fn start_download(address: &str, number: usize) -> Client {
    let mut client = Client::connect_with_small_buffer(address);
    client.ask(&format!("/length/5000000/{number}"));
    client
}

/// A client that stays connected after its first request.
fn idle(address: &str) -> Client {
    let mut client = Client::connect(address);
    assert_eq!(client.get("/").text(), "fine");
    client
}

/// Kills the servers in turns, each back before the next goes down.
fn kill_in_turns(stop: &AtomicBool, servers: &mut [Option<Rsp>], ports: &[u16]) -> usize {
    let mut kills = 0;
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(KILL_EVERY);
        let at = kills % servers.len();
        servers[at] = None;
        kills += 1;
        std::thread::sleep(DOWN);
        servers[at] = Some(server(ports[at]));
    }
    kills
}

/// Results of well-behaved clients.
#[derive(Default)]
pub struct LoadResult {
    pub times: Vec<Duration>,
    pub errors: Vec<String>,
}

fn behave(connect: &(dyn Fn() -> Client + Sync), stop: &AtomicBool) -> LoadResult {
    let (mut seen, mut client) = (LoadResult::default(), connect());
    while !stop.load(Ordering::Relaxed) {
        let start = Instant::now();
        let answer = client.wire.send("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n");
        match answer.and_then(|()| client.try_response()) {
            Ok(answer) if answer.status() == 200 && answer.text() == "fine" => {
                seen.times.push(start.elapsed())
            }
            Ok(answer) => seen.errors.push(format!("{} {}", answer.status(), answer.text())),
            Err(error) => {
                seen.errors.push(error.to_string());
                client = connect();
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    seen
}

/// Runs well-behaved clients until `meanwhile` returns: sorted times, and all errors.
fn healthy(address: &str, meanwhile: impl FnOnce()) -> LoadResult {
    healthy_by(&|| Client::connect(address), meanwhile)
}

/// The same with connections of any kind.
pub fn healthy_by(connect: &(dyn Fn() -> Client + Sync), meanwhile: impl FnOnce()) -> LoadResult {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..HEALTHY).map(|_| scope.spawn(|| behave(connect, &stop))).collect();
        let _ends = Ends(&stop);
        meanwhile();
        stop.store(true, Ordering::Relaxed);
        let mut all = LoadResult::default();
        for client in clients {
            let seen = client.join().expect("a client");
            all.times.extend(seen.times);
            all.errors.extend(seen.errors);
        }
        all.times.sort_unstable();
        all
    })
}

/// Ends the threads of a scope, also on a panic.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Prints the percentiles of sorted times and returns the 99th.
pub fn say(when: &str, times: &[Duration]) -> Duration {
    let at = |per_mille| times.get(times.len() * per_mille / 1000).copied().unwrap_or_default();
    let (half, most, nearly_all) = (at(500), at(990), at(999));
    println!("{when}: {} requests, 50 % {half:?}, 99 % {most:?}, 99.9 % {nearly_all:?}", times.len());
    most
}

/// All the load and all the faults; returns the results of well-behaved clients.
fn run_with_faults(rsp: &Rsp, servers: &mut [Option<Rsp>], ports: &[u16]) -> (LoadResult, usize) {
    let address = rsp.address();
    let mut waiting: Vec<Client> = (0..IDLE).map(|_| idle(address)).collect();
    let stop = AtomicBool::new(false);
    let result = std::thread::scope(|scope| {
        let _ends = Ends(&stop);
        let dripping = scope.spawn(|| keep_busy(&stop, DRIPPING, |_| start_head(address), drip));
        let reading =
            scope.spawn(|| keep_busy(&stop, SLOW_READERS, |n| start_download(address, n), read_a_little));
        let killing = scope.spawn(|| kill_in_turns(&stop, servers, ports));
        // First the kernel's buffers for the slow readers fill up at full speed, which is not measured.
        let begin = healthy(address, || std::thread::sleep(FILLING));
        let mut seen = healthy(address, || std::thread::sleep(duration()));
        seen.errors.extend(begin.errors);
        stop.store(true, Ordering::Relaxed);
        let dripped = dripping.join().expect("the dripping clients");
        let read = reading.join().expect("the slow readers");
        let kills = killing.join().expect("the killer");
        println!("{kills} kills; {dripped} heads and {read} slow downloads were begun anew");
        (seen, kills)
    });
    for client in &mut waiting {
        assert_eq!(client.get("/").text(), "fine", "an idle connection was lost");
    }
    result
}

#[test]
fn clients_that_behave_see_no_error_and_nothing_is_left_behind() {
    let _alone = alone();
    let ports: Vec<u16> = (0..SERVERS).map(|_| free_port()).collect();
    let mut servers: Vec<Option<Rsp>> = ports.iter().map(|port| Some(server(*port))).collect();
    let large = bodies(Uploads::default());
    let mut rsp = proxy(&ports, &large);
    let files = descriptors(rsp.pid()) + 2 * SPARE_PIPES;
    let quiet = healthy(rsp.address(), || std::thread::sleep((duration() / 4).min(Duration::from_secs(20))));
    // As many connections as there will be, so that the tables have their final size.
    drop((0..IDLE + DRIPPING + SLOW_READERS).map(|_| idle(rsp.address())).collect::<Vec<_>>());
    until("the first per_client is gone", || descriptors(rsp.pid()) <= files);
    let memory = settled_memory_kib(rsp.pid());

    let (loaded, kills) = run_with_faults(&rsp, &mut servers, &ports);

    let p99 = [say("quiet", &quiet.times), say("loaded", &loaded.times)];
    println!("99th percentile, loaded / quiet: {:.2}", p99[1].as_secs_f64() / p99[0].as_secs_f64());
    let errors = [quiet.errors, loaded.errors].concat();
    assert!(errors.is_empty(), "{} errors in {kills} kills, the first: {}", errors.len(), errors[0]);
    until("the descriptors are back", || descriptors(rsp.pid()) <= files);
    let mut after = 0;
    let returned = within(DEADLINE, || {
        after = memory_kib(rsp.pid());
        after <= memory + MEMORY_SLACK_KIB
    });
    println!("{memory} KiB before, {after} KiB after; {} descriptors at the end", descriptors(rsp.pid()));
    assert!(returned, "{memory} KiB before, {after} KiB after");
    rsp.signal(libc::SIGTERM);
    assert_eq!(rsp.wait_for_exit().code(), Some(0));
    let log = rsp.directory.read("access.log");
    assert!(log.lines().any(|line| line.contains(KEPT)), "most requests take a connection that is kept");
    let lost: Vec<&str> = log.lines().filter(|line| line.contains(" end=server-closed")).collect();
    assert!(lost.is_empty(), "somebody else lost one: {lost:#?}");
}
