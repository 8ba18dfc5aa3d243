//! TLS under load: certificates that change each second, and crowds of handshakes that lead nowhere. Ten seconds in a
//! plain test run; `scripts/soak --tls MINUTES` runs it longer, in release, and judges the times too.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::alone;
use crate::load_with_faults::{duration, healthy_by, say};
use crate::support::*;

const HALF_OPEN: usize = 2_000;
/// Garbage of any kind, a second.
const GARBAGE: u64 = 500;
const MEMORY_SLACK_KIB: u64 = 1024;
const SPARE_DESCRIPTORS: usize = 40;

fn config(keys: &str) -> String {
    format!(
        "rsp.listen {{ '127.0.0.1:0', tls = {{ cert = 'site.pem', {keys} }} }}
         rsp.pool {{ servers = {{ '127.0.0.1:1' }} }}
         rsp.on_request(function() return rsp.respond {{ status = 200, body = 'fine' }} end)"
    )
}

/// Replaces the file at once, as certbot and lego do.
fn write(directory: &Directory, pair: &Pair) {
    directory.write("new.pem", format!("{}{}", pair.cert, pair.key));
    std::fs::rename(directory.join("new.pem"), directory.join("site.pem")).expect("the same directory");
}

fn wrk(address: &str, fields: &[&str], time: Duration) -> Child {
    let mut command = Command::new(find("wrk").expect("wrk"));
    command.args(["-t1", "-c16", "--timeout", "30s", &format!("-d{}s", time.as_secs())]);
    fields.iter().for_each(|field| _ = command.args(["-H", field]));
    command.arg(format!("https://{address}/")).stdout(Stdio::piped());
    command.spawn().expect("wrk starts")
}

#[test]
fn another_certificate_each_second_fails_no_request() {
    let _guard = alone();
    if !have(&["wrk"]) {
        return;
    }
    let (directory, authority) = secured();
    write(&directory, &authority.issue(&["localhost"]));
    let rsp = Rsp::start_in(directory, &format!("{}rsp.settings {{ workers = 2 }}", config("watch = true")));
    let shown = || {
        let mut client = TlsClient::new(&authority).connect(rsp.address());
        assert_eq!(client.get("/").status(), 200);
        client.wire.tls().peer_certificates().expect("a certificate")[0].to_vec()
    };
    let time = duration();
    let load = [wrk(rsp.address(), &[], time), wrk(rsp.address(), &["Connection: close"], time)];
    let (begun, mut count, mut slowest) = (Instant::now(), 0, Duration::ZERO);
    while begun.elapsed() < time - Duration::from_secs(2) {
        let pair = authority.issue(&["localhost"]);
        write(&rsp.directory, &pair);
        let since = Instant::now();
        until("a handshake sees the new certificate", || shown() == pair.der());
        (count, slowest) = (count + 1, slowest.max(since.elapsed()));
    }
    for wrk in load {
        let said = String::from_utf8_lossy(&wrk.wait_with_output().expect("wrk").stdout).into_owned();
        assert!(said.contains(" requests in ") && !said.contains("Socket errors"), "{said}");
        assert!(!said.contains("Non-2xx"), "{said}");
    }
    println!("{count} certificates, the slowest was seen after {slowest:?}");
    assert!(count > 2);
    rsp.stop();
}

/// A connection that begins a handshake and says no more.
fn half_open(address: &str, hello: &[u8]) -> Client {
    let mut client = Client::connect(address);
    client.send(&hello[..hello.len() / 2]);
    client
}

/// What is no handshake: random bytes, records that are too long or cut, plain HTTP, a hello with a broken byte.
fn garbage(number: u64, hello: &[u8]) -> Vec<u8> {
    let byte = |at: u64| (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (at % 57)) as u8;
    match number % 6 {
        0 => (0..300).map(byte).collect(),
        1 => [&b"\x16\x03\x01\xff\xff"[..], &vec![1; 66_000]].concat(),
        2 => hello[..(number as usize * 7) % hello.len()].to_vec(),
        3 => b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        4 => {
            let mut hello = hello.to_vec();
            let at = number as usize % hello.len();
            hello[at] ^= 1 << (number / 6 % 8);
            hello
        }
        _ => b"\x15\x03\x03\x00\x02\x02\x28".repeat(50),
    }
}

fn send_garbage(address: &str, hello: &[u8], stop: &AtomicBool, sent: &AtomicUsize) {
    let (begun, mut number) = (Instant::now(), 0);
    while !stop.load(Ordering::Relaxed) {
        let mut client = Client::connect(address);
        let _ = client.wire.send(garbage(number, hello));
        number += 1;
        sent.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(
            Duration::from_micros(number * 1_000_000 / GARBAGE).saturating_sub(begun.elapsed()),
        );
    }
}

#[test]
fn handshakes_that_lead_nowhere_leave_requests_alone_and_nothing_behind() {
    let _guard = alone();
    let (directory, authority) = secured();
    let pair = authority.issue_rsa(&["localhost"]);
    write(&directory, &pair);
    let rsp = Rsp::start_in(directory, &config(""));
    let tls = TlsClient::new(&authority);
    let (connect, address) = (|| tls.connect(rsp.address()), rsp.address());
    let mut hello = Vec::new();
    drop(tls.begin(&mut hello));
    let (descriptors, quiet_time) = (crate::support::descriptors(rsp.pid()), duration() / 4);
    let quiet = healthy_by(&connect, || std::thread::sleep(quiet_time));
    let crowded = |time: Duration| {
        let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
        let loaded = std::thread::scope(|scope| {
            scope.spawn(|| send_garbage(address, &hello, &stop, &sent));
            let crowd: Vec<Client> = (0..HALF_OPEN).map(|_| half_open(address, &hello)).collect();
            let loaded = healthy_by(&connect, || std::thread::sleep(time));
            stop.store(true, Ordering::Relaxed);
            drop(crowd);
            loaded
        });
        until("the descriptors are back", || {
            crate::support::descriptors(rsp.pid()) <= descriptors + SPARE_DESCRIPTORS
        });
        (loaded, sent.into_inner(), settled_memory_kib(rsp.pid()))
    };
    // How much the allocator gives back after a crowd depends on what was allocated last, and a leak grows with
    // every crowd: so the second is compared with the first.
    let (_, _, memory) = crowded(duration() / 4);
    let (loaded, sent, kept) = crowded(duration());
    let p99 = [say("quiet", &quiet.times), say("loaded", &loaded.times)];
    let ratio = p99[1].as_secs_f64() / p99[0].as_secs_f64();
    println!("{sent} pieces of garbage; 99th percentile, loaded / quiet: {ratio:.2}");
    let errors = [quiet.errors, loaded.errors].concat();
    assert!(errors.is_empty(), "{} errors, the first: {}", errors.len(), errors[0]);
    println!("memory: {memory} KiB before, {kept} KiB after");
    assert!(kept <= memory + MEMORY_SLACK_KIB, "{memory} KiB before, {kept} KiB after");
    if let Some(most) = std::env::var("RSP_SOAK_RATIO").ok().and_then(|most| most.parse::<f64>().ok()) {
        assert!(ratio <= most, "{ratio} times the quiet 99th percentile");
    }
    rsp.stop();
}
