//! The network in memory: pipes of limited size between rsp and the peers, edge-triggered readiness that is
//! delivered late and in any order, half-closes and resets. `Wire` is rsp's end (a `Transport`), the peers hold
//! the other end by its number.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::rc::Rc;

use rsp::config::Address;
use rsp::net::{Network, Transport};
use rsp::worker::Ready;

use crate::rng::Rng;

/// One direction.
#[derive(Default)]
pub struct Pipe {
    data: VecDeque<u8>,
    room: usize,
    /// The writer has ended it.
    pub fin: bool,
    /// rsp was told to wait, and is owed an event.
    blocked: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialed {
    /// Accepted by us from a client.
    No,
    /// rsp's connect is under way to this server.
    Pending(usize),
    Made(usize),
    Refused,
}

pub struct Link {
    /// Towards rsp, and from it.
    pub to_rsp: Pipe,
    pub from_rsp: Pipe,
    pub reset: bool,
    /// rsp dropped its end.
    pub closed: bool,
    pub dialed: Dialed,
    token: Option<u64>,
    /// A short `recv` means empty (TCP); otherwise `recv` may return less than there is (Unix sockets).
    tcp: bool,
    linger_reset: bool,
    /// Readiness that was not delivered yet.
    due: Option<Ready>,
}

pub struct World {
    pub rng: Rng,
    pub links: Vec<Link>,
    /// Whether each server accepts connections now.
    pub up: Vec<bool>,
    /// Links that rsp dialed and no server has noticed yet.
    pub arrived: Vec<usize>,
}

pub type Shared = Rc<RefCell<World>>;

impl World {
    fn open(&mut self, dialed: Dialed) -> usize {
        let mut pipe = || Pipe { room: 1 + self.rng.size().max(64), ..Pipe::default() };
        let (to_rsp, from_rsp) = (pipe(), pipe());
        let tcp = !self.rng.one_in(4);
        self.links.push(Link {
            to_rsp,
            from_rsp,
            reset: false,
            closed: false,
            dialed,
            token: None,
            tcp,
            linger_reset: false,
            due: None,
        });
        self.links.len() - 1
    }

    /// A peer writes; as much as fits is taken.
    pub fn peer_write(&mut self, link: usize, bytes: &[u8]) -> usize {
        let link = &mut self.links[link];
        if link.closed || link.reset {
            return 0;
        }
        let n = bytes.len().min(link.to_rsp.room - link.to_rsp.data.len());
        link.to_rsp.data.extend(&bytes[..n]);
        if n > 0 {
            link.owe(Ready { readable: true, ..Ready::default() });
        }
        n
    }

    pub fn peer_read(&mut self, link: usize, most: usize) -> Vec<u8> {
        let link = &mut self.links[link];
        let n = most.min(link.from_rsp.data.len());
        let bytes = link.from_rsp.data.drain(..n).collect();
        if n > 0 && std::mem::take(&mut link.from_rsp.blocked) {
            link.owe(Ready { writable: true, ..Ready::default() });
        }
        bytes
    }

    /// The peer will send no more.
    pub fn peer_finish(&mut self, link: usize) {
        let link = &mut self.links[link];
        link.to_rsp.fin = true;
        link.owe(Ready { readable: true, read_closed: true, ..Ready::default() });
    }

    /// The peer goes at once; what it has not read is lost, what rsp has not read stays readable.
    pub fn peer_reset(&mut self, link: usize) {
        let link = &mut self.links[link];
        link.reset = true;
        link.from_rsp.data.clear();
        link.owe(Ready { readable: true, writable: true, read_closed: true, hung_up: true });
    }

    /// Nothing more will come from rsp on this link: its end was closed and all was read.
    pub fn is_over(&self, link: usize) -> bool {
        let link = &self.links[link];
        link.reset || link.from_rsp.fin && link.from_rsp.data.is_empty()
    }

    /// Readiness to be delivered now, some of it, in any order.
    pub fn deliver(&mut self, all: bool) -> Vec<(u64, Ready)> {
        let mut out = Vec::new();
        for link in &mut self.links {
            let Some(token) = link.token else { continue };
            if link.due.is_some() && (all || !self.rng.one_in(3)) {
                out.extend(link.due.take().map(|ready| (token, ready)));
            }
        }
        for i in (1..out.len()).rev() {
            out.swap(i, self.rng.below(i + 1));
        }
        out
    }

    pub fn has_due(&self) -> bool {
        self.links.iter().any(|l| l.due.is_some() && l.token.is_some())
    }
}

impl Link {
    fn owe(&mut self, ready: Ready) {
        if self.closed {
            return;
        }
        let due = self.due.get_or_insert_default();
        due.readable |= ready.readable;
        due.writable |= ready.writable;
        due.read_closed |= ready.read_closed;
        due.hung_up |= ready.hung_up;
    }
}

pub struct Wire {
    pub id: usize,
    world: Shared,
}

impl Transport for Wire {
    fn recv(&mut self, space: &mut [u8]) -> io::Result<usize> {
        let World { rng, links, .. } = &mut *self.world.borrow_mut();
        let link = &mut links[self.id];
        if link.to_rsp.data.is_empty() {
            return match (link.reset, link.to_rsp.fin) {
                (true, _) => Err(ErrorKind::ConnectionReset.into()),
                (_, true) => Ok(0),
                _ => Err(ErrorKind::WouldBlock.into()),
            };
        }
        let mut n = space.len().min(link.to_rsp.data.len());
        if !link.tcp {
            n = rng.upto(n);
        }
        for (to, from) in space.iter_mut().zip(link.to_rsp.data.drain(..n)) {
            *to = from;
        }
        Ok(n)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let World { rng, links, .. } = &mut *self.world.borrow_mut();
        let link = &mut links[self.id];
        if link.reset {
            return Err(ErrorKind::BrokenPipe.into());
        }
        if matches!(link.dialed, Dialed::Pending(_)) {
            return Err(ErrorKind::NotConnected.into());
        }
        let room = link.from_rsp.room - link.from_rsp.data.len();
        if room == 0 {
            link.from_rsp.blocked = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        let mut n = bytes.len().min(room);
        if rng.one_in(4) {
            n = rng.upto(n);
        }
        link.from_rsp.data.extend(&bytes[..n]);
        Ok(n)
    }

    fn send_parts(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let all: Vec<u8> = parts.iter().flat_map(|p| p.iter().copied()).collect();
        self.send(&all)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.world.borrow_mut().links[self.id].from_rsp.fin = true;
        Ok(())
    }

    fn connect_result(&mut self) -> io::Result<()> {
        match self.world.borrow().links[self.id].dialed {
            Dialed::Refused => Err(ErrorKind::ConnectionRefused.into()),
            Dialed::Pending(_) => Err(ErrorKind::NotConnected.into()),
            _ => Ok(()),
        }
    }

    fn reset_on_close(&mut self) {
        self.world.borrow_mut().links[self.id].linger_reset = true;
    }

    fn short_recv_is_empty(&self) -> bool {
        self.world.borrow().links[self.id].tcp
    }
}

/// Closing with unread bytes, or when told so, resets.
impl Drop for Wire {
    fn drop(&mut self) {
        let mut world = self.world.borrow_mut();
        let link = &mut world.links[self.id];
        link.closed = true;
        link.due = None;
        link.token = None;
        if link.linger_reset {
            link.reset = true;
            link.from_rsp.data.clear();
        } else {
            link.from_rsp.fin = true;
        }
    }
}

pub struct Net {
    pub world: Shared,
}

impl Net {
    /// A client connects; gives rsp's end and the link's number.
    pub fn client(world: &Shared) -> (Wire, usize) {
        let id = world.borrow_mut().open(Dialed::No);
        (Wire { id, world: world.clone() }, id)
    }
}

impl Network for Net {
    type Stream = Wire;

    fn connect(&mut self, address: &Address, token: u64) -> io::Result<Wire> {
        let Address::Ip(address) = address else { return Err(ErrorKind::Unsupported.into()) };
        let server = address.port() as usize - 1;
        let mut world = self.world.borrow_mut();
        if !world.up[server] && world.rng.one_in(2) {
            return Err(ErrorKind::ConnectionRefused.into());
        }
        let id = world.open(Dialed::Pending(server));
        world.links[id].token = Some(token);
        world.arrived.push(id);
        Ok(Wire { id, world: self.world.clone() })
    }

    fn watch(&mut self, stream: &mut Wire, token: u64) -> io::Result<()> {
        let mut world = self.world.borrow_mut();
        world.links[stream.id].token = Some(token);
        Ok(())
    }
}

impl World {
    /// The connect of a link is decided.
    pub fn settle_connect(&mut self, link: usize) -> Option<usize> {
        let Dialed::Pending(server) = self.links[link].dialed else { return None };
        let up = self.up[server];
        let link = &mut self.links[link];
        if link.closed {
            return None;
        }
        if up {
            link.dialed = Dialed::Made(server);
            link.owe(Ready { writable: true, ..Ready::default() });
            Some(server)
        } else {
            link.dialed = Dialed::Refused;
            link.reset = true;
            link.owe(Ready { readable: true, writable: true, read_closed: true, hung_up: true });
            None
        }
    }
}
