//! The core on scripted connections: for timings that a real peer cannot force, and for panics in rsp itself.

mod drain;
mod inside;
mod memory;
mod retries;
mod sites;
mod turns;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use crate::config::Endpoint;
use crate::net::{Network, Transport};
use crate::route::CallClock;
use crate::script::{Source, load};
use crate::worker::conn::table::{BackendKey, ClientToken, Token};
use crate::worker::core::{Core, Ready};
use crate::worker::site::{SiteParts, Sites};

const SECOND: u64 = 1_000_000;
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const BOTH: Ready = Ready { readable: true, writable: true, read_closed: false, hung_up: false };

#[derive(Clone, Copy)]
enum Came {
    Bytes(&'static [u8]),
    Reset,
    /// Blocks once.
    Nothing,
}

/// A connection whose reads follow a script, then block.
struct Wire {
    comes: VecDeque<Came>,
    /// How much each write takes at most (0: it fails); those after them take everything.
    takes: VecDeque<usize>,
    /// What was written.
    taken: Rc<RefCell<Vec<u8>>>,
    panics_when_dropped: bool,
    /// Unacknowledged bytes, as reported to the core.
    unacknowledged: usize,
}

impl Wire {
    fn new(comes: &[Came]) -> Wire {
        Wire {
            comes: comes.iter().copied().collect(),
            takes: VecDeque::new(),
            taken: Rc::default(),
            panics_when_dropped: false,
            unacknowledged: 0,
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        assert!(!self.panics_when_dropped, "a seeded fault");
    }
}

impl Transport for Wire {
    type Pipe = ();

    fn recv(&mut self, space: &mut [u8]) -> io::Result<usize> {
        match self.comes.pop_front() {
            Some(Came::Bytes(bytes)) => {
                space[..bytes.len()].copy_from_slice(bytes);
                Ok(bytes.len())
            }
            Some(Came::Reset) => Err(ErrorKind::ConnectionReset.into()),
            Some(Came::Nothing) | None => Err(ErrorKind::WouldBlock.into()),
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let most = match self.takes.pop_front() {
            Some(0) => return Err(ErrorKind::ConnectionReset.into()),
            most => most.unwrap_or(usize::MAX),
        };
        let taken = bytes.len().min(most);
        self.taken.borrow_mut().extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn send_parts(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let all: Vec<u8> = parts.iter().flat_map(|part| part.to_vec()).collect();
        self.send(&all)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn connect_result(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn reset_on_close(&mut self) {}

    fn short_recv_is_empty(&self) -> bool {
        false
    }

    fn new_pipe() -> io::Result<()> {
        Err(ErrorKind::Unsupported.into())
    }

    fn can_splice(&self) -> bool {
        false
    }

    fn splice_in(&mut self, (): &mut (), _: usize) -> io::Result<usize> {
        Err(ErrorKind::Unsupported.into())
    }

    fn splice_out(&mut self, (): &mut (), _: usize) -> io::Result<usize> {
        Err(ErrorKind::Unsupported.into())
    }

    fn unacknowledged(&self) -> usize {
        self.unacknowledged
    }
}

/// Connects to these servers in order; one more panics.
struct Net {
    servers: VecDeque<Wire>,
    /// Fails the next connect with EMFILE.
    short: bool,
    /// The tokens that connections were registered under.
    tokens: Vec<u64>,
}

impl Network for Net {
    type Stream = Wire;

    fn connect(&mut self, _: &Endpoint, token: u64) -> io::Result<Wire> {
        if std::mem::take(&mut self.short) {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        self.tokens.push(token);
        Ok(self.servers.pop_front().expect("a seeded fault"))
    }

    fn watch(&mut self, _: &mut Wire, _: u64) -> io::Result<()> {
        Ok(())
    }
}

/// Returns a core that will connect to these servers, in order.
fn over(servers: Vec<Wire>) -> Core<Net> {
    let config = b"rsp.listen '127.0.0.1:1'\n\
        rsp.pool { servers = { '127.0.0.1:2', '127.0.0.1:3' }, timeouts = { connect = '1s' } }";
    running(config, servers)
}

/// The same with this config.
fn running(config: &[u8], servers: Vec<Wire>) -> Core<Net> {
    let (config, script) =
        load(&mut Source::in_memory(Path::new("site.lua"), config)).map_err(|e| e.0).unwrap();
    let network = Net { servers: servers.into(), short: false, tokens: Vec::new() };
    Core::new(network, Sites::new(SiteParts::alone(Arc::new(config), script), 0), None, || 0)
}

/// The same with a client whose request has begun to connect to the first server.
fn asked(servers: Vec<Wire>) -> (Core<Net>, Token<BackendKey>) {
    let mut core = over(servers);
    let server = core.backends.next_token();
    arrives(&mut core, REQUEST);
    core.turns();
    assert_eq!(core.counts(), (1, 1, 1));
    (core, server)
}

/// A client connects and sends these bytes; its turn has not run.
fn arrives(core: &mut Core<Net>, bytes: &'static [u8]) -> ClientToken {
    arrives_by(core, Wire::new(&[Came::Bytes(bytes)]))
}

fn arrives_by(core: &mut Core<Net>, wire: Wire) -> ClientToken {
    let client = core.clients.next_token();
    core.accepted(wire, None);
    core.ready(client.to_bits(), BOTH);
    client
}

#[test]
fn a_broken_server_connection_is_not_kept_idle() {
    for (then, kept) in [(None, 1), (Some(Came::Reset), 0)] {
        let comes: Vec<Came> = [Came::Bytes(RESPONSE)].into_iter().chain(then).collect();
        let (mut core, server) = asked(vec![Wire::new(&comes)]);
        core.ready(server.to_bits(), BOTH);
        core.turns();
        assert_eq!(core.counts(), (1, kept, 0));
    }
}

#[test]
fn a_panic_in_a_timer_ends_one_pair() {
    let (mut core, _) = asked(vec![Wire::new(&[])]);
    core.set_clock(2 * SECOND, b"now");
    // The connect timeout passes, and connecting to the next server panics.
    core.expire();
    assert_eq!(core.counts(), (0, 0, 0));
}

#[test]
fn a_panic_at_an_idle_connection_closes_only_it() {
    let mut wire = Wire::new(&[Came::Bytes(RESPONSE)]);
    wire.panics_when_dropped = true;
    let (mut core, server) = asked(vec![wire]);
    core.ready(server.to_bits(), BOTH);
    core.turns();
    assert_eq!(core.counts(), (1, 1, 0));
    core.ready(server.to_bits(), Ready { read_closed: true, ..BOTH });
    core.turns();
    assert_eq!(core.counts(), (1, 0, 0));
}

#[test]
fn connections_beyond_max_idle_serve_the_next_requests_and_are_closed_soon_after_the_last() {
    let config = b"rsp.listen '127.0.0.1:1'\nrsp.pool { servers = { '127.0.0.1:2' }, max_idle = 1 }";
    let server = || Wire::new(&[Came::Bytes(RESPONSE), Came::Nothing, Came::Bytes(RESPONSE)]);
    let mut core = running(config, (0..4).map(|_| server()).collect());
    for clients in [4, 8] {
        (0..4).for_each(|_| _ = arrives(&mut core, REQUEST));
        core.turns();
        for token in core.network.tokens.clone() {
            core.ready(token, BOTH);
        }
        core.turns();
        // Another connection would have failed.
        assert_eq!(core.counts(), (clients, 4, 0));
    }
    let mut now = 0;
    for (until, kept) in [(SECOND / 20, 4), (SECOND, 1), (3 * SECOND, 1), (5 * SECOND, 0)] {
        while now < until {
            now += SECOND / 20;
            core.set_clock(now, b"now");
            core.expire();
        }
        assert_eq!(core.counts(), (8, kept, 0), "{now}");
    }
}

#[test]
fn a_connection_made_after_a_shortage_gets_its_events() {
    let server = || Wire::new(&[Came::Bytes(RESPONSE)]);
    let (mut core, first) = asked(vec![server(), server()]);
    core.ready(first.to_bits(), BOTH);
    core.turns();
    assert_eq!(core.counts(), (1, 1, 0), "the first connection waits for another request");
    // The next request uses the other server, with the descriptor of the idle connection.
    core.network.short = true;
    arrives(&mut core, REQUEST);
    core.turns();
    assert_eq!(core.counts(), (2, 1, 1), "one closed, one made");
    core.ready(core.network.tokens[core.network.tokens.len() - 1], BOTH);
    core.turns();
    assert_eq!(core.counts(), (2, 1, 0), "answered");
}

#[test]
fn a_cut_response_ended_by_reset_is_delivered_within_the_write_timeout() {
    let mut core = over(vec![Wire::new(&[Came::Bytes(b"HTTP/1.1 200 OK\r\n\r\nfirst")])]);
    let mut wire = Wire::new(&[Came::Bytes(b"GET / HTTP/1.0\r\n\r\n")]);
    wire.unacknowledged = 100;
    arrives_by(&mut core, wire);
    core.turns();
    core.ready(core.network.tokens[0], BOTH);
    core.turns();
    // The server sent nothing for longer than `gap`; both timeouts are 60 s.
    core.set_clock(61 * SECOND, b"now");
    core.expire();
    core.turns();
    core.expire();
    assert_eq!(core.counts(), (1, 0, 1));
    core.set_clock(122 * SECOND, b"now");
    core.expire();
    assert_eq!(core.counts(), (0, 0, 0));
}

#[test]
fn a_panic_at_a_server_that_was_granted_ends_one_pair() {
    let config =
        b"rsp.listen '127.0.0.1:1'\nrsp.pool { servers = { { '127.0.0.1:2', max_connections = 1 } } }";
    let closing = Came::Bytes(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    let mut core = running(config, vec![Wire::new(&[closing])]);
    arrives(&mut core, REQUEST);
    arrives(&mut core, REQUEST);
    core.turns();
    assert_eq!(core.counts(), (2, 1, 2), "one waits");
    core.ready(core.network.tokens[0], BOTH);
    core.turns();
    // Connecting to the server once more panics.
    core.take_grants();
    assert_eq!(core.counts(), (1, 0, 0));
}

#[test]
fn a_panic_in_a_function_that_belongs_to_no_request_ends_that_alone() {
    let config = b"rsp.listen '127.0.0.1:1'\nrsp.pool { servers = { '127.0.0.1:2' } }
        rsp.on_start(function() rsp.sleep('1s') end)
        rsp.every('1s', function() end)
        rsp.on_connect(function() return true end)";
    let mut core = running(config, vec![Wire::new(&[])]);
    let (time, fails) = (SECOND, Rc::new(Cell::new(true)));
    let seeded = fails.clone();
    let clock = move || -> CallClock {
        Box::new(move || {
            assert!(!seeded.get(), "a seeded fault");
            0
        })
    };
    core.sites.handlers.borrow_mut().observe(Some(Arc::default()), clock);
    core.begin_site();
    assert_eq!(core.sites.periodic.next(), time, "on_start has failed, and rsp.every is due");
    fails.set(false);
    core.start_script();
    fails.set(true);
    core.set_clock(2 * time, b"now");
    core.expire();
    assert_eq!(core.sites.periodic.next(), 3 * time, "both have failed, and rsp.every is due again");
    let key = core.accepted(Wire::new(&[]), None).expect("a client");
    assert!(!core.on_connect_allows(key));
    fails.set(false);
    assert!(core.on_connect_allows(key));
}
