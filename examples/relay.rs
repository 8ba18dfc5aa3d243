//! cargo run --release --example relay -- 127.0.0.1:8080 127.0.0.1:8081 127.0.0.1:8082
//!
//! The physical reference of `scripts/compare`: the first address listens, the others are servers in turns. It
//! copies bytes both ways between a client and a server and understands none of them, so what it costs is what
//! sockets and epoll cost, and what rsp costs above it is HTTP, Lua and care. One thread, one pair of connections
//! a client, no timeouts, no limits, no fairness between pairs: nothing to put before a real server.

use std::collections::VecDeque;
use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};
use slab::Slab;

const LISTENER: Token = Token(usize::MAX >> 1);
const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);
const BLOCK: usize = 64 << 10;

/// One socket and what epoll last said about it; `WouldBlock` and short reads take it back.
struct Side {
    stream: TcpStream,
    readable: bool,
    writable: bool,
    /// The peer's FIN may come in the same edge as data: from then on a short read says nothing.
    closing: bool,
    /// Read to its end.
    ended: bool,
    /// What the kernel did not take yet, in order; nothing is read for this side before it is empty.
    unsent: VecDeque<u8>,
}

/// A client and its server are gone, or one of them failed.
struct Gone;

impl Side {
    fn new(stream: TcpStream, connected: bool) -> Side {
        let unsent = VecDeque::new();
        Side { stream, readable: false, writable: connected, closing: false, ended: false, unsent }
    }

    /// Bytes read into `block`; `None` when there is nothing now, or nothing any more.
    fn fill(&mut self, block: &mut [u8]) -> Result<Option<usize>, Gone> {
        match self.stream.read(block) {
            Ok(0) => {
                (self.ended, self.readable) = (true, false);
                Ok(None)
            }
            Ok(count) => {
                // A short read found the socket empty: asking again would be one system call for nothing.
                self.readable = count == block.len() || self.closing;
                Ok(Some(count))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(None)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(None),
            Err(_) => Err(Gone),
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        let count = if self.writable { self.write(bytes)? } else { 0 };
        self.unsent.extend(&bytes[count..]);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Gone> {
        while self.writable && !self.unsent.is_empty() {
            let unsent = std::mem::take(&mut self.unsent);
            let written = self.write(unsent.as_slices().0);
            self.unsent = unsent;
            self.unsent.drain(..written?);
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, Gone> {
        match self.stream.write(bytes) {
            Ok(count) => {
                self.writable = count == bytes.len();
                Ok(count)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.writable = false;
                Ok(0)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(0),
            Err(_) => Err(Gone),
        }
    }
}

struct Pair {
    client: Side,
    server: Side,
}

impl Pair {
    fn run(&mut self, block: &mut [u8]) -> Result<(), Gone> {
        copy(&mut self.client, &mut self.server, block)?;
        copy(&mut self.server, &mut self.client, block)?;
        match self.client.ended && self.server.ended {
            true if self.client.unsent.is_empty() && self.server.unsent.is_empty() => Err(Gone),
            _ => Ok(()),
        }
    }
}

fn copy(from: &mut Side, to: &mut Side, block: &mut [u8]) -> Result<(), Gone> {
    to.flush()?;
    let open = !from.ended;
    while from.readable && to.unsent.is_empty() {
        if let Some(count) = from.fill(block)? {
            to.send(&block[..count])?;
        }
    }
    if open && from.ended {
        // All was sent before, or the loop above would not have read up to the end.
        let _ = to.stream.shutdown(Shutdown::Write);
    }
    Ok(())
}

struct Relay {
    servers: Vec<SocketAddr>,
    next: usize,
    pairs: Slab<Pair>,
    block: Vec<u8>,
}

impl Relay {
    fn event(&mut self, event: &mio::event::Event) {
        let Token(token) = event.token();
        let Some(pair) = self.pairs.get_mut(token / 2) else { return };
        let side = if token % 2 == 0 { &mut pair.client } else { &mut pair.server };
        side.readable |= event.is_readable();
        side.writable |= event.is_writable();
        side.closing |= event.is_read_closed() || event.is_error();
        if pair.run(&mut self.block).is_err() {
            self.pairs.remove(token / 2);
        }
    }

    /// Takes every client that waits. After the other events of a turn, so that none of them meets a new pair.
    fn accept(&mut self, listener: &TcpListener, registry: &Registry) {
        loop {
            match listener.accept() {
                Ok((client, _)) => {
                    if let Err(error) = self.pair(client, registry) {
                        eprintln!("relay: no server for a client: {error}");
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => return eprintln!("relay: accept: {error}"),
            }
        }
    }

    fn pair(&mut self, mut client: TcpStream, registry: &Registry) -> std::io::Result<()> {
        let mut server = TcpStream::connect(self.servers[self.next])?;
        self.next = (self.next + 1) % self.servers.len();
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let entry = self.pairs.vacant_entry();
        registry.register(&mut client, Token(entry.key() * 2), BOTH)?;
        registry.register(&mut server, Token(entry.key() * 2 + 1), BOTH)?;
        entry.insert(Pair { client: Side::new(client, true), server: Side::new(server, false) });
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let addresses: Result<Vec<SocketAddr>, _> = std::env::args().skip(1).map(|word| word.parse()).collect();
    let mut servers = addresses.map_err(|error| format!("relay: an address is IP:PORT: {error}"))?;
    if servers.len() < 2 {
        return Err("relay LISTEN SERVER [SERVER …]".into());
    }
    let mut listener = TcpListener::bind(servers.remove(0))?;
    let mut relay = Relay { servers, next: 0, pairs: Slab::new(), block: vec![0; BLOCK] };
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(1024));
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    println!("Listening on {}", listener.local_addr()?);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        events.iter().filter(|event| event.token() != LISTENER).for_each(|event| relay.event(event));
        if events.iter().any(|event| event.token() == LISTENER) {
            relay.accept(&listener, poll.registry());
        }
    }
}
