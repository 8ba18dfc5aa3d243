//! A running rsp with one pool `web` of servers `s1`, `s2` …, and what its access log says of each request.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::directory::Directory;
use super::message::Message;
use super::origin::Origin;
use super::rsp::{Rsp, on_any_port};
use super::wait::{Gate, until};

const LOG: &str = "access.log";

/// A pool of these servers, each an address and its options. The access log is in the `rsp` format.
pub fn web(servers: &[(&str, &str)], options: &str) -> Rsp {
    web_of(1, servers, options)
}

/// The same with this many workers.
pub fn web_of(workers: usize, servers: &[(&str, &str)], options: &str) -> Rsp {
    web_with(workers, servers, options, "")
}

/// The same with more of the config, in which the pool is `web`.
pub fn web_with(workers: usize, servers: &[(&str, &str)], options: &str, more: &str) -> Rsp {
    web_in(Directory::new(), workers, servers, options, more)
}

/// The same in a directory that already holds sockets.
pub fn web_in(
    directory: Directory,
    workers: usize,
    servers: &[(&str, &str)],
    options: &str,
    more: &str,
) -> Rsp {
    let server = |(number, (address, options)): (usize, &(&str, &str))| {
        format!("{{ {address:?}, name = 's{}', {options} }}", number + 1)
    };
    let servers: Vec<String> = servers.iter().enumerate().map(server).collect();
    // Idle connections outlast a delayed test.
    let idle = if options.contains("timeouts") { "" } else { "timeouts = { idle = '1m' }," };
    Rsp::start_in(
        directory,
        &on_any_port(&format!(
            "local web = rsp.pool {{ name = 'web', servers = {{ {} }}, {idle} {options} }}
             rsp.settings {{ workers = {workers}, access_log = {{ path = '{LOG}', format = 'rsp' }} }}
             {more}",
            servers.join(", ")
        )),
    )
}

/// The line of the access log with this request target, once it is written.
pub fn logged(rsp: &Rsp, target: &str) -> String {
    let mut line = None;
    until(&format!("{target} is in the access log"), || {
        line = logged_so_far(rsp, target).pop();
        line.is_some()
    });
    line.unwrap_or_default()
}

/// All lines of the access log with this request target.
pub fn logged_so_far(rsp: &Rsp, target: &str) -> Vec<String> {
    let named = format!(" {target}\" ");
    let text = rsp.directory.read(LOG);
    text.lines().filter(|line| line.contains(&named)).map(str::to_owned).collect()
}

/// A value of such a line: `queue`, `left`, `server` …
pub fn value(line: &str, key: &str) -> String {
    let found = line.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("no {key} in {line:?}")).to_owned()
}

/// An origin that answers with its name, requests for `/slow…` only when the gate is open, and that counts how many
/// requests it has at once.
pub struct Slow {
    pub origin: Origin,
    pub gate: Gate,
    most: Arc<AtomicUsize>,
}

impl Slow {
    pub fn named(name: &str) -> Slow {
        let (gate, now, most) = (Gate::new(), AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
        let (opens, seen) = (gate.clone(), most.clone());
        let origin = Origin::run(move |visit| {
            while let Some(request) = visit.request() {
                seen.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                match request.head.target().starts_with("/slow") {
                    true => opens.wait(),
                    // Long enough for others to come.
                    false => std::thread::sleep(Duration::from_millis(1)),
                }
                // Before the answer: rsp may send the next request as soon as it has that.
                now.fetch_sub(1, Ordering::SeqCst);
                if !visit.send(&answer) {
                    return;
                }
            }
        });
        Slow { origin, gate, most }
    }

    pub fn address(&self) -> &str {
        &self.origin.address
    }

    /// The most requests that it had at once.
    pub fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    /// The targets of its requests, in their order.
    pub fn targets(&self) -> Vec<String> {
        targets(&self.origin.requests())
    }
}

pub fn targets(requests: &[Message]) -> Vec<String> {
    requests.iter().map(|request| request.head.target().to_owned()).collect()
}
