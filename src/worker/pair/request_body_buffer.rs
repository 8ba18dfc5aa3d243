//! Request bodies that are held before their request goes to a server: for a handler that wants to read one
//! (`req:body()`), and for pools with `buffer_request`, whose servers are not to wait for slow uploads. What is held goes
//! to the server first, then what follows it, as ever. A body that is held whole stays until a response begins, so that it
//! can be sent to another server.
//!
//! ```text
//!   client.input ─ decode ─► HeldBody, until it is whole or full ─► (a server is found) ─► backend.output
//! ```

use crate::base::buffer_memory::{BodyOf, BufferMemory, Reserved};
use crate::exchange::{Failure, RequestHalf};
use crate::http::{Codec, Decoded, Event, Fields, Name, Sink};
use crate::net::Transport;
use crate::route::Route;
use crate::worker::conn::backend::Backend;
use crate::worker::conn::client::Client;
use crate::worker::conn::connection::OutputSink;
use crate::worker::pair::closed::client_gone;
use crate::worker::pair::pump::{READS, Tools};
use crate::worker::pair::to_server::{end_request, writing_failed};
use crate::worker::pair::{Pair, waiting};

/// Memory is reserved in pieces of so many bytes, or of multiples of it.
const PIECE: usize = 4096;

/// The first part of a request's body, or all of it.
pub struct HeldBody {
    /// Room for `reserved` bytes.
    bytes: Vec<u8>,
    /// Bytes that went into the output of the connection to the server.
    passed: usize,
    /// All of it did, and the body's end.
    sent: bool,
    /// Nothing of the request follows; these are its trailers.
    end: Option<Option<Box<Fields>>>,
    /// It is being filled up to so many bytes.
    fills: Option<usize>,
    /// Where the request goes once it is held.
    pub route: Option<Route>,
    /// No memory was left for more.
    pub short: bool,
    reserved: Reserved,
}

impl HeldBody {
    pub fn new(memory: &BufferMemory) -> HeldBody {
        let (bytes, reserved) = (Vec::new(), Reserved::new(memory));
        HeldBody {
            bytes,
            passed: 0,
            sent: false,
            end: None,
            fills: None,
            route: None,
            short: false,
            reserved,
        }
    }

    /// All of the body; `None` if that is not here.
    pub fn whole(&self) -> Option<&[u8]> {
        self.end.as_ref().map(|_| &self.bytes[..])
    }

    /// Returns a copy of it, if it is whole and there is memory for one.
    pub fn copy(&self) -> Option<HeldBody> {
        let mut copy =
            HeldBody { reserved: self.reserved.beside(), ..HeldBody::new(&BufferMemory::default()) };
        if self.end.is_none() || self.passed > 0 || !copy.reserved.grow_spare(self.bytes.len()) {
            return None;
        }
        (copy.bytes, copy.end) = (self.bytes.clone(), self.end.clone());
        Some(copy)
    }

    pub fn is_filling(&self) -> bool {
        self.fills.is_some()
    }

    /// Fills it further, up to `most` bytes; what exceeds them by one shows that there is more.
    pub fn fill(&mut self, most: usize) {
        self.fills = (self.end.is_none() && self.bytes.len() <= most && !self.short).then_some(most);
    }

    fn push(&mut self, bytes: &[u8]) {
        debug_assert!(self.bytes.len() + bytes.len() <= self.reserved.bytes(), "more than is counted");
        self.bytes.extend_from_slice(bytes);
    }

    /// Makes room for more, up to `most` bytes in all; nothing if no memory is left. Returns the room.
    fn make_room(&mut self, most: usize) -> usize {
        if self.reserved.bytes() == self.bytes.len() {
            self.grow(most);
        }
        self.reserved.bytes().min(most).saturating_sub(self.bytes.len())
    }

    /// Doubles, as far as that is wanted and there is memory; what is counted is what is allocated.
    fn grow(&mut self, most: usize) {
        let wanted = most.saturating_sub(self.bytes.len()).next_multiple_of(PIECE);
        let doubled = self.bytes.len().max(PIECE).min(wanted);
        match [doubled, PIECE].into_iter().find(|more| self.reserved.grow(*more)) {
            Some(more) => self.bytes.reserve_exact(more),
            None => self.short = true,
        }
    }
}

/// Fills the held body of a request that has no server yet. Returns true if anything came.
#[inline(never)]
pub fn fill_held<S: Transport>(
    client: &mut Client<S>,
    pair: &mut Pair,
    tools: &mut Tools<S>,
) -> Result<bool, Failure> {
    let (mut moved, most) = (false, tools.reads + READS);
    while let Some(limit) = pair.held.as_ref().and_then(|held| held.fills) {
        if !fill_step(client, pair, tools, limit)? {
            return Ok(moved);
        }
        moved = true;
        if tools.reads >= most {
            return Ok(true);
        }
    }
    Ok(moved)
}

fn fill_step<S: Transport>(
    client: &mut Client<S>,
    pair: &mut Pair,
    tools: &mut Tools<S>,
    limit: usize,
) -> Result<bool, Failure> {
    let Some(held) = &mut pair.held else { return Ok(false) };
    let room = held.make_room(limit + 1);
    if room == 0 {
        if held.short {
            tools.buffers.note_short(BodyOf::Request);
        }
        filled(pair, tools);
        return Ok(true);
    }
    let (x, trailers) = (&mut pair.exchange, &mut tools.trailers);
    let limits = &pair.site.heads.request;
    let decoded = client
        .role
        .codec
        .decode(client.input.bytes(), client.eof, room, limits, &mut x.head, trailers)
        .map_err(Failure::of_request)?;
    client.role.codec.emit(&mut OutputSink { output: &mut client.output, blocks: &mut tools.blocks });
    let Some(step) = decoded else {
        if client.eof {
            return Err(Failure::RequestCut);
        }
        tools.reads += 1;
        return client.fill(&mut tools.blocks, tools.now).map_err(|_| client_gone(pair));
    };
    hold(client, pair, tools, &step)?;
    let full = pair.held.as_ref().is_some_and(|held| held.bytes.len() > limit);
    client.input.consume(&mut tools.blocks, step.consumed);
    if step.end || full {
        filled(pair, tools);
    }
    Ok(true)
}

/// Holds what was decoded.
fn hold<S: Transport>(
    client: &Client<S>,
    pair: &mut Pair,
    tools: &mut Tools<S>,
    step: &Decoded,
) -> Result<(), Failure> {
    let Some(held) = &mut pair.held else { return Ok(()) };
    match &step.event {
        Event::Reset => return Err(client_gone(pair)),
        Event::Body(range) => {
            held.push(&client.input.bytes()[range.clone()]);
            pair.exchange.received += range.len() as u64;
            if pair.site.settings().max_body.is_some_and(|most| pair.exchange.received > most) {
                return Err(Failure::TooLarge);
            }
        }
        Event::Head | Event::Trailers | Event::Nothing => {}
    }
    if step.end {
        held.end = Some((step.event == Event::Trailers).then(|| Box::new(tools.trailers.clone())));
    }
    Ok(())
}

/// The held body is whole or full: the core continues what waits for it.
fn filled<S: Transport>(pair: &mut Pair, tools: &mut Tools<S>) {
    if let Some(held) = &mut pair.held {
        held.fills = None;
        tools.asks = Some(Box::new(waiting::Asks::Filled));
    }
}

/// Sends what is held to the server, as far as there is room. Returns true if anything moved.
pub fn send_held<S: Transport>(
    client: &mut Client<S>,
    backend: &mut Backend<S>,
    pair: &mut Pair,
    tools: &mut Tools<S>,
) -> Result<bool, Failure> {
    let Some(held) = &mut pair.held else { return Ok(false) };
    let left = &held.bytes[held.passed..];
    let piece = &left[..left.len().min(backend.room())];
    let moved = !piece.is_empty();
    if moved {
        let frame = backend.role.codec.frame_body(pair.target, piece.len());
        let parts = [frame.before(), piece, frame.after()];
        pair.exchange.take_body(false);
        let (length, more) = (piece.len(), piece.len() < left.len());
        if backend.send_body(&mut tools.blocks, parts, more, tools.now).is_err() {
            writing_failed(backend, tools);
        }
        held.passed += length;
    }
    if held.passed < held.bytes.len() {
        return Ok(moved);
    }
    all_passed(client, backend, pair, tools);
    Ok(true)
}

/// What was held has gone to the server. If that is the whole body it may be sent a second time, until a response begins.
fn all_passed<S: Transport>(
    client: &mut Client<S>,
    backend: &mut Backend<S>,
    pair: &mut Pair,
    tools: &mut Tools<S>,
) {
    let Some(held) = &mut pair.held else { return };
    if !held.bytes.is_empty() {
        pair.exchange.take_body(false);
    }
    let Some(trailers) = &held.end else {
        pair.held = None;
        // Nobody waited for the client while this part was held.
        client.read_at = tools.now;
        return;
    };
    let has_trailers = trailers.is_some();
    if let Some(trailers) = trailers {
        tools.trailers.clone_from(trailers);
    }
    held.sent = true;
    end_request(client, backend, pair, has_trailers, tools);
    if pair.exchange.has_begun() {
        pair.held = None;
    }
}

/// A body that is to be held is asked for, if the client waits for that, and the server never hears of it.
pub fn ask_for_body<S: Transport>(client: &mut Client<S>, pair: &mut Pair, tools: &mut Tools<S>) {
    let x = &mut pair.exchange;
    if !x.head.fields.has(Name::Expect) {
        return;
    }
    if x.awaits_continue() {
        let out = &mut OutputSink { output: &mut client.output, blocks: &mut tools.blocks };
        out.put(b"HTTP/1.1 100 Continue\r\n\r\n");
        x.continue_at = Some(tools.now);
    }
    x.head.fields.remove_where(|tag, _| tag == Name::Expect);
}

impl Pair {
    /// The present try failed: a body that is held whole can be sent again, from its beginning.
    pub(crate) fn rewind_held(&mut self) {
        if let Some(held) = self.held.as_mut().filter(|held| held.end.is_some())
            && !self.exchange.has_begun()
        {
            (held.passed, held.sent) = (0, false);
            self.exchange.begin_body_again();
        }
    }

    /// A response has begun: a body of which all was passed on is not sent again.
    #[cold]
    pub(crate) fn release_sent_body(&mut self) {
        self.held.take_if(|held| held.sent);
    }

    /// rsp answers itself: a body that is held whole is read from the client's connection, which can go on.
    pub(crate) fn release_held_body(&mut self) {
        if let Some(held) = self.held.take()
            && held.end.is_some()
            && self.exchange.request == RequestHalf::BodyPending
        {
            self.exchange.request = RequestHalf::Done;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_finds_no_memory_is_as_full_as_it_gets() {
        let memory = BufferMemory::default().limited(2 * PIECE);
        let (mut first, mut second) = (HeldBody::new(&memory), HeldBody::new(&memory));
        assert_eq!(first.make_room(usize::MAX / 2), PIECE);
        first.push(&vec![0; PIECE]);
        assert_eq!((first.make_room(usize::MAX / 2), memory.used()), (PIECE, 2 * PIECE));
        assert_eq!(second.make_room(usize::MAX / 2), 0);
        assert!(second.short && !first.short);
        second.fill(10);
        assert!(!second.is_filling());
        drop((first, second));
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn what_is_counted_is_what_is_allocated() {
        for most in [1, PIECE, 65_537, 1_000_001] {
            let memory = BufferMemory::default();
            let mut held = HeldBody::new(&memory);
            while held.bytes.len() < most {
                let room = held.make_room(most);
                assert!(room > 0 && held.bytes.len() + room <= most);
                held.push(&vec![0; room.min(1000)]);
                assert_eq!(held.bytes.capacity(), memory.used());
            }
            assert!(memory.used() < most + PIECE, "{most}");
        }
        let memory = BufferMemory::default().limited(7 * PIECE);
        let mut held = HeldBody::new(&memory);
        loop {
            match held.make_room(usize::MAX / 2) {
                0 => break,
                room => held.push(&vec![0; room]),
            }
        }
        assert_eq!((held.bytes.len(), held.bytes.capacity(), held.short), (7 * PIECE, 7 * PIECE, true));
    }
}
