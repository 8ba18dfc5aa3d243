//! The requests of the corpus through rsp, haproxy and nginx, each in front of an origin that records what it
//! received. If a peer treats the same bytes differently, the case says why; a difference without a reason fails. The
//! status of a refusal is not compared.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::case::{self, Case};
use crate::support::*;

/// Sent after each case: a proxy that is out of step loses it.
const LAST: &str = "GET /last HTTP/1.1\r\nHost: last\r\nConnection: close\r\n\r\n";

/// Longer than the proxies' timeouts.
const PATIENCE: Duration = Duration::from_secs(15);

/// An origin with a simple parser that records requests.
struct Recorder {
    origin: Origin,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Recorder {
    fn start() -> Recorder {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let shared = seen.clone();
        let origin = Origin::run(move |visit| {
            while let Some(request) = plain_request(&mut visit.wire) {
                shared.lock().expect("no panic").push(request);
                if !visit.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") {
                    return;
                }
            }
        });
        Recorder { origin, seen }
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().expect("no panic"))
    }
}

/// How a simple server parses the next bytes, as one line.
fn plain_request(wire: &mut Wire) -> Option<String> {
    let head = read_until(wire, b"\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let line = lines.next()?.to_string();
    let fields: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_string()))
        .collect();
    let value = |name: &str| fields.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
    let body = match (value("transfer-encoding"), value("content-length")) {
        (Some(_), _) => plain_chunks(wire)?,
        (None, Some(length)) => latin1(&wire.read_exactly(length.parse().ok()?).ok()?),
        (None, None) => String::new(),
    };
    let shown: Vec<String> =
        fields.iter().filter(|(n, _)| !is_the_hops_own(n)).map(|(n, v)| format!("{n}: {v}")).collect();
    let line = line.rsplit_once(' ').map_or(line.as_str(), |(asked, _)| asked);
    Some(format!("{line} [{}] {body:?}", shown.join("; ")))
}

fn plain_chunks(wire: &mut Wire) -> Option<String> {
    let mut body = String::new();
    loop {
        let line = read_until(wire, b"\r\n")?;
        let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            while !read_until(wire, b"\r\n")?.is_empty() {}
            return Some(body);
        }
        body.push_str(&latin1(&wire.read_exactly(size).ok()?));
        read_until(wire, b"\r\n")?;
    }
}

fn read_until(wire: &mut Wire, end: &[u8]) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end) {
        let mut byte = [0];
        if wire.read_some(&mut byte).ok()? == 0 {
            return None;
        }
        bytes.push(byte[0]);
    }
    Some(latin1(&bytes[..bytes.len() - end.len()]))
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// Fields that every proxy writes in its own way.
fn is_the_hops_own(name: &str) -> bool {
    let own = ["connection", "content-length", "transfer-encoding", "keep-alive", "te", "expect", "via"];
    own.contains(&name) || name.starts_with("x-forwarded-") || name == "x-request-id" || name == "forwarded"
}

/// A proxy in front of its own recorder.
struct Peer {
    name: &'static str,
    address: String,
    recorder: Recorder,
    _running: Box<dyn Send + Sync>,
}

fn rsp() -> Peer {
    let recorder = Recorder::start();
    let timeouts = "rsp.settings { timeouts = { head = \"2s\", body = \"2s\", idle = \"2s\" } }";
    let rsp = Rsp::start(&format!("{}{timeouts}", balanced(&[&recorder.origin.address])));
    Peer { name: "rsp", address: rsp.address().to_string(), recorder, _running: Box::new(rsp) }
}

fn haproxy() -> Peer {
    let recorder = Recorder::start();
    let server = recorder.origin.address.clone();
    let program = Program::start("haproxy", &|directory, port| {
        let config = format!(
            "defaults\n  mode http\n  timeout connect 5s\n  timeout client 2s\n  timeout server 5s\n  \
             timeout http-request 2s\n  timeout http-keep-alive 2s\n\
             listen proxy\n  bind 127.0.0.1:{port}\n  server one {server}\n"
        );
        vec!["-db".into(), "-f".into(), directory.write("haproxy.cfg", config).display().to_string()]
    });
    Peer { name: "haproxy", address: program.address.clone(), recorder, _running: Box::new(program) }
}

/// Like Debian's `proxy_params`, except for the version.
fn nginx() -> Peer {
    let recorder = Recorder::start();
    let nginx = Nginx::start_with(&format!(
        "client_header_timeout 2s; client_body_timeout 2s; keepalive_timeout 2s;
         location / {{
           proxy_pass http://{}; proxy_http_version 1.1; proxy_set_header Connection \"\";
           proxy_set_header Host $http_host; proxy_next_upstream off;
         }}",
        recorder.origin.address
    ));
    Peer { name: "nginx", address: nginx.address().to_string(), recorder, _running: Box::new(nginx) }
}

impl Peer {
    /// The result of a case: the requests its origin received, and whether the client was refused.
    fn outcome(&self, case: &Case) -> String {
        // Late arrivals belong to no case.
        self.recorder.take();
        let mut client = Client::connect(&self.address);
        client.wire.socket.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
        let sent = client.wire.send([&case.bytes, LAST.as_bytes()].concat());
        let mut answer = Vec::new();
        let ended = client.wire.body(Framing::UntilClose, &mut |bytes| answer.extend_from_slice(bytes));
        let hangs = ended.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock);
        let mut parts = self.recorder.take();
        let text = latin1(&answer);
        let refused = text.split("HTTP/1.").skip(1).any(|rest| rest.get(2..3).is_some_and(|s| s >= "4"));
        if refused || (parts.is_empty() && text.is_empty()) || sent.is_err() {
            parts.push("refused".into());
        }
        if hangs {
            parts.push("hangs".into());
        }
        parts.join(" | ")
    }
}

/// Complete requests: a cut one would take the following request as its rest.
fn cases() -> Vec<Case> {
    let all = case::families().into_iter().flat_map(|family| case::family(&family));
    all.filter(|case| case.asked.is_none() && !case.events.iter().any(|event| event.starts_with("cut ")))
        .collect()
}

fn outcomes(peer: &Peer) -> BTreeMap<String, String> {
    cases().iter().map(|case| (case.path.display().to_string(), peer.outcome(case))).collect()
}

/// Whether two proxies treat a case alike when run alone: with all others busy too, one of them may have run into its
/// timeout.
fn agree(ours: &Peer, theirs: &Peer, case: &Case) -> bool {
    ours.outcome(case) == theirs.outcome(case)
}

#[test]
fn every_difference_from_haproxy_and_nginx_has_its_reason() {
    if !have(&["haproxy", "nginx"]) {
        return;
    }
    let peers = [rsp(), haproxy(), nginx()];
    let names = peers.each_ref().map(|peer| peer.name);
    let [ours, theirs @ ..] = std::thread::scope(|scope| {
        let threads = peers.each_ref().map(|peer| scope.spawn(move || outcomes(peer)));
        threads.map(|thread| thread.join().expect("outcomes"))
    });
    let (mut different, mut unexplained) = (0, Vec::new());
    for case in cases() {
        let path = case.path.display().to_string();
        for ((name, theirs), peer) in names[1..].iter().zip(&theirs).zip(&peers[1..]) {
            let reason = case.peers.iter().find(|(peer, _)| peer == name).map(|(_, why)| why.as_str());
            if ours[&path] == theirs[&path] || reason.is_none() && agree(&peers[0], peer, &case) {
                continue;
            }
            different += 1;
            println!(
                "{path}\n  rsp:     {}\n  {name}: {}\n  why:     {reason:?}",
                ours[&path], theirs[&path]
            );
            if reason.is_none() {
                unexplained.push(format!("{name}: {path}"));
            }
        }
    }
    println!("{} cases, {different} differences", cases().len());
    assert!(unexplained.is_empty(), "without a reason ({}): {unexplained:#?}", unexplained.len());
}
