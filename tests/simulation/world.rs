//! The network in memory: pipes of limited size between rsp and the peers, edge-triggered readiness that is
//! delivered late and in any order, half-closes and resets. rsp's end is a `Wire` (a `Transport`), the peers hold
//! the other end by its number.
//!
//! It follows Linux where that matters: an event is an edge but tells the state at its delivery; what arrived
//! before a reset stays readable; a reset is reported once, by whichever call comes first, and later reads see a
//! plain end; closing with unread bytes resets; a Unix socket may return less than there is.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::rc::Rc;

use rsp::worker::Ready;

use crate::filter::{HELLO, LONGEST, PeerFilter, record};
use crate::rng::Rng;

/// One direction: at most `room` bytes on their way.
pub struct Pipe {
    data: Vec<u8>,
    start: usize,
    room: usize,
    /// The writer has ended it.
    pub fin: bool,
}

impl Pipe {
    fn new(rng: &mut Rng) -> Pipe {
        let room = match rng.below(8) {
            0 => 16 + rng.below(400),
            1 | 2 => 1000 + rng.below(10_000),
            _ => 10_000 + rng.below(100_000),
        };
        Pipe { data: Vec::new(), start: 0, room, fin: false }
    }

    pub fn len(&self) -> usize {
        self.data.len() - self.start
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn free(&self) -> usize {
        self.room.saturating_sub(self.len())
    }

    fn put(&mut self, bytes: &[u8]) {
        self.data.extend_from_slice(bytes);
    }

    fn take(&mut self, n: usize) -> &[u8] {
        if self.start > 200_000 {
            self.data.drain(..self.start);
            self.start = 0;
        }
        self.start += n;
        &self.data[self.start - n..self.start]
    }

    /// A reset loses what its receiver has not read, or some of it.
    pub fn lose(&mut self, rng: &mut Rng) {
        let kept = rng.below(self.len() + 1);
        self.data.truncate(self.start + kept);
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialed {
    /// Accepted by rsp from a client.
    No,
    /// rsp's connect is under way to this server.
    Pending(usize),
    Made,
    Refused,
}

pub struct Link {
    pub to_rsp: Pipe,
    pub from_rsp: Pipe,
    /// The peer reset it: the socket is dead for rsp, which has been told so unless `error` is still there.
    pub dead: bool,
    pub error: Option<ErrorKind>,
    /// The peer closed its socket: whatever rsp writes now is answered by a reset.
    peer_closed: bool,
    /// rsp dropped its end.
    pub closed: bool,
    /// rsp reset it.
    pub cut: bool,
    pub dialed: Dialed,
    pub token: Option<u64>,
    /// A short `recv` means empty.
    pub tcp: bool,
    /// The most that a call takes or gives.
    most: usize,
    /// The peer reads no more and says so (a Unix socket can): writing fails, reading goes on.
    pub refuses: bool,
    pub linger_reset: bool,
    /// rsp was told to wait with writing, and is owed an event.
    blocked: bool,
    /// Bytes that rsp wrote, and whether it has more that was not taken.
    pub written: usize,
    holds: bool,
    /// What it had written when it was told of the peer's end, unless it held more then.
    pub left_at: Option<usize>,
    /// An event is owed.
    pub due: bool,
    /// rsp was told that nothing is there when something was.
    pub raced: bool,
    /// The peer's end of a filter that both sides have.
    pub filter: Option<PeerFilter>,
}

pub struct World {
    pub rng: Rng,
    pub links: Vec<Link>,
    /// Whether each server accepts connections now.
    pub up: Vec<bool>,
    /// Links whose connect is under way.
    pub pending: Vec<usize>,
    /// Servers never fail.
    pub honest: bool,
    /// No server ever has room in its queue of new connections.
    pub crowded: bool,
    /// Every call and event is told, for reading a seed that failed (`RSP_TRACE`).
    trace: bool,
}

pub type Shared = Rc<RefCell<World>>;

impl World {
    pub fn new(rng: Rng, servers: usize, honest: bool) -> World {
        World {
            rng,
            links: Vec::new(),
            up: vec![true; servers],
            pending: Vec::new(),
            honest,
            crowded: false,
            trace: std::env::var_os("RSP_TRACE").is_some(),
        }
    }

    pub fn open(&mut self, dialed: Dialed) -> usize {
        let (to_rsp, from_rsp) = (Pipe::new(&mut self.rng), Pipe::new(&mut self.rng));
        let tcp = !self.rng.one_in(4);
        let stingy = !tcp && self.rng.one_in(3);
        let most = if stingy { 16 + self.rng.below(100) } else { usize::MAX };
        self.links.push(Link {
            to_rsp,
            from_rsp,
            dead: false,
            error: None,
            peer_closed: false,
            closed: false,
            cut: false,
            dialed,
            token: None,
            tcp,
            most,
            refuses: false,
            linger_reset: false,
            blocked: false,
            written: 0,
            holds: false,
            left_at: None,
            due: false,
            raced: false,
            filter: None,
        });
        let id = self.links.len() - 1;
        if self.rng.one_in(4) {
            self.filter(id, dialed == Dialed::No);
        }
        id
    }

    /// Both ends of a new link have the filter. The one that dialed speaks first.
    fn filter(&mut self, id: usize, peer_dials: bool) {
        let mute = !self.honest && !peer_dials && self.rng.one_in(10);
        let link = &mut self.links[id];
        link.filter.insert(PeerFilter::default()).mute = mute;
        if peer_dials {
            link.to_rsp.put(&record(HELLO));
        }
    }

    /// The peer reads one more record's worth, where it has taken all of the last one.
    fn peer_fill(&mut self, id: usize) {
        let link = &mut self.links[id];
        let Some(filter) = &mut link.filter else { return };
        while !filter.mute && filter.payload.is_empty() && !link.from_rsp.is_empty() {
            let n = link.from_rsp.len().min(100);
            let answer = filter.receive(link.from_rsp.take(n), link.dialed == Dialed::No);
            link.to_rsp.put(&answer.unwrap_or_default());
            link.due |= std::mem::take(&mut link.blocked) || !link.to_rsp.is_empty();
        }
    }

    /// A record that carries nothing, as a ticket of TLS does.
    pub fn peer_ticket(&mut self, id: usize) {
        let link = &mut self.links[id];
        let established = link.filter.as_ref().is_some_and(|filter| filter.established);
        if established && !link.to_rsp.fin && !link.closed {
            link.to_rsp.put(&record(b""));
            link.due = true;
            self.say(id, format_args!("sends a ticket"));
        }
    }

    pub fn say(&self, link: usize, what: std::fmt::Arguments<'_>) {
        if self.trace {
            eprintln!(
                "{} {link}: {what}",
                if self.links[link].dialed == Dialed::No { "client" } else { "server" }
            );
        }
    }

    /// A peer writes; as much as fits is taken.
    pub fn peer_write(&mut self, id: usize, bytes: &[u8]) -> usize {
        self.peer_fill(id);
        let link = &mut self.links[id];
        assert!(!link.to_rsp.fin, "the simulated peer writes after its end");
        if link.closed {
            // Into the void.
            return bytes.len();
        }
        let free = link.to_rsp.free();
        let n = match &link.filter {
            None => bytes.len().min(free),
            Some(filter) if filter.established => bytes.len().min(LONGEST).min(free.saturating_sub(2)),
            Some(_) => 0,
        };
        match link.filter {
            Some(_) if n > 0 => link.to_rsp.put(&record(&bytes[..n])),
            Some(_) => {}
            None => link.to_rsp.put(&bytes[..n]),
        }
        link.due |= n > 0;
        self.say(id, format_args!("sends {n} of {}", bytes.len()));
        n
    }

    pub fn peer_read(&mut self, id: usize, most: usize) -> Vec<u8> {
        self.peer_fill(id);
        let link = &mut self.links[id];
        let (n, bytes) = match &mut link.filter {
            None => {
                let n = most.min(link.from_rsp.len());
                (n, link.from_rsp.take(n).to_vec())
            }
            Some(filter) => {
                let n = most.min(filter.payload.len());
                (n, filter.payload.drain(..n).collect())
            }
        };
        // What the filter holds took its room when it was read.
        if n > 0 && link.filter.is_none() && std::mem::take(&mut link.blocked) {
            link.due = true;
        }
        if n > 0 {
            self.say(id, format_args!("reads {n}"));
        }
        bytes
    }

    /// The first byte that the peer can read now.
    pub fn peer_peek(&mut self, id: usize) -> Option<u8> {
        self.peer_fill(id);
        let link = &self.links[id];
        match &link.filter {
            None if link.from_rsp.is_empty() => None,
            None => link.from_rsp.data.get(link.from_rsp.start).copied(),
            Some(filter) => filter.payload.first().copied(),
        }
    }

    /// The peer will send no more.
    pub fn peer_finish(&mut self, id: usize) {
        let link = &mut self.links[id];
        link.to_rsp.fin = true;
        link.due = true;
        self.say(id, format_args!("ends its side"));
    }

    /// The peer closes its socket. What it has not read becomes a reset, as does what is still written to it.
    pub fn peer_close(&mut self, link: usize) {
        let unread = |filter: &PeerFilter| !filter.payload.is_empty();
        let end = &self.links[link];
        if !end.from_rsp.is_empty() || end.filter.as_ref().is_some_and(unread) {
            return self.peer_reset(link);
        }
        self.links[link].peer_closed = true;
        self.peer_finish(link);
    }

    /// The peer will read no more, and goes on sending.
    pub fn peer_refuse(&mut self, link: usize) {
        self.links[link].refuses = true;
        self.links[link].due = true;
        self.say(link, format_args!("reads no more"));
    }

    /// The peer goes at once; what rsp has not read stays readable.
    pub fn peer_reset(&mut self, link: usize) {
        self.links[link].die(ErrorKind::ConnectionReset);
        self.say(link, format_args!("resets"));
    }

    /// Nothing more will come from rsp on this link.
    pub fn is_over(&self, link: usize) -> bool {
        let link = &self.links[link];
        let taken = link.filter.as_ref().is_none_or(|filter| filter.payload.is_empty());
        (link.cut || link.from_rsp.fin) && link.from_rsp.is_empty() && taken
    }

    /// Readiness to be delivered now, some of it, in any order.
    pub fn deliver(&mut self, all: bool) -> Vec<(u64, Ready)> {
        let mut out = Vec::new();
        for id in 0..self.links.len() {
            let link = &mut self.links[id];
            let Some(token) = link.token else { continue };
            if link.due && (all || !self.rng.one_in(3)) {
                link.due = false;
                let state = link.state();
                if state.read_closed && !link.holds {
                    link.left_at.get_or_insert(link.written);
                }
                self.say(id, format_args!("event {state:?}"));
                out.push((token, state));
            }
        }
        for i in (1..out.len()).rev() {
            out.swap(i, self.rng.below(i + 1));
        }
        out
    }

    /// A connect that is under way is decided, or not yet. Gives the link and its server if it was made.
    pub fn settle_connect(&mut self) -> Option<(usize, usize)> {
        if self.pending.is_empty() {
            return None;
        }
        let at = self.rng.below(self.pending.len());
        let id = self.pending.swap_remove(at);
        let Dialed::Pending(server) = self.links[id].dialed else { return None };
        if !self.honest && self.rng.one_in(30) {
            // Never decided: the packets are lost.
            return None;
        }
        let (up, link) = (self.up[server], &mut self.links[id]);
        if link.closed {
            return None;
        }
        if !up {
            link.dialed = Dialed::Refused;
            link.die(ErrorKind::ConnectionRefused);
            return None;
        }
        link.dialed = Dialed::Made;
        link.due = true;
        Some((id, server))
    }
}

impl Link {
    /// What epoll would say now.
    fn state(&self) -> Ready {
        let pending = matches!(self.dialed, Dialed::Pending(_));
        let end = self.to_rsp.fin || self.dead;
        let both = end && self.from_rsp.fin || self.peer_closed && !self.tcp;
        Ready {
            readable: !self.to_rsp.is_empty() || end,
            writable: !pending && (self.from_rsp.free() > 0 || self.dead || self.from_rsp.fin),
            read_closed: end,
            hung_up: self.dead || both,
        }
    }

    fn die(&mut self, error: ErrorKind) {
        self.dead = true;
        self.error = Some(error);
        self.from_rsp.data.clear();
        self.from_rsp.start = 0;
        self.due = true;
    }
}

impl World {
    pub fn recv(&mut self, id: usize, space: &mut [u8]) -> io::Result<usize> {
        let World { rng, links, .. } = self;
        let link = &mut links[id];
        if rng.one_in(50) {
            return Err(ErrorKind::Interrupted.into());
        }
        if link.to_rsp.is_empty() {
            return match (link.error.take(), link.to_rsp.fin || link.dead) {
                (Some(error), _) => Err(error.into()),
                (_, true) => Ok(0),
                _ => Err(ErrorKind::WouldBlock.into()),
            };
        }
        if rng.one_in(20) {
            // What is here had not arrived yet.
            (link.due, link.raced) = (true, true);
            return Err(ErrorKind::WouldBlock.into());
        }
        let mut n = space.len().min(link.to_rsp.len());
        if !link.tcp {
            n = rng.upto(n).min(link.most);
        }
        space[..n].copy_from_slice(link.to_rsp.take(n));
        Ok(n)
    }

    pub fn send(&mut self, id: usize, bytes: &[u8]) -> io::Result<usize> {
        let World { rng, links, .. } = self;
        let link = &mut links[id];
        assert!(!bytes.is_empty(), "a write of nothing");
        assert!(!link.from_rsp.fin, "written after shutdown");
        assert!(!matches!(link.dialed, Dialed::Pending(_)), "written before the connection is there");
        if let Some(error) = link.error.take() {
            return Err(error.into());
        }
        if link.dead || link.refuses {
            return Err(ErrorKind::BrokenPipe.into());
        }
        if rng.one_in(50) {
            return Err(ErrorKind::Interrupted.into());
        }
        if link.peer_closed {
            link.die(ErrorKind::ConnectionReset);
            return Ok(rng.upto(bytes.len()));
        }
        if link.from_rsp.free() == 0 || rng.one_in(20) {
            (link.blocked, link.holds) = (true, true);
            // Room that comes at once still comes as an event.
            link.due |= link.from_rsp.free() > 0;
            return Err(ErrorKind::WouldBlock.into());
        }
        let mut n = bytes.len().min(link.from_rsp.free());
        if rng.one_in(4) {
            n = rng.upto(n).min(link.most);
        }
        link.from_rsp.put(&bytes[..n]);
        link.written += if link.filter.is_none() { n } else { 0 };
        link.holds = n < bytes.len();
        Ok(n)
    }
}
