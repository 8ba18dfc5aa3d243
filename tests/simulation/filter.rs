//! A toy of what TLS does to a connection: two messages of a handshake before anything else, bytes in records that are
//! of no use until they are whole, records that carry nothing, and bytes that are held back after they were taken.
//! `Filter` is rsp's end, over a `Wire`; `PeerFilter` is what a peer's link has.

use std::io::{self, ErrorKind, IoSlice};

use rsp::net::Transport;

use crate::wire::Wire;

const KEY: u8 = 0x5a;
/// Bytes in front of a record's payload: its length.
const HEADER: usize = 2;
/// The longest payload.
pub const LONGEST: usize = 1000;
pub const HELLO: &[u8] = b"hello";
pub const WELCOME: &[u8] = b"welcome";

pub fn record(payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u16).to_be_bytes();
    length.into_iter().chain(payload.iter().map(|byte| byte ^ KEY)).collect()
}

/// Takes the first whole record's payload off the front.
fn next(bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = u16::from_be_bytes(*bytes.first_chunk::<HEADER>()?) as usize;
    if bytes.len() < HEADER + length {
        return None;
    }
    let payload = bytes[HEADER..HEADER + length].iter().map(|byte| byte ^ KEY).collect();
    bytes.drain(..HEADER + length);
    Some(payload)
}

/// A peer's end: what it has read of a record, and of a payload that it has not taken yet.
#[derive(Default)]
pub struct PeerFilter {
    pub established: bool,
    /// The peer never takes part in the handshake.
    pub mute: bool,
    read: Vec<u8>,
    pub payload: Vec<u8>,
}

impl PeerFilter {
    /// Bytes from the wire; gives what is to be sent in answer.
    pub fn receive(&mut self, bytes: &[u8], dials: bool) -> Option<Vec<u8>> {
        self.read.extend_from_slice(bytes);
        while let Some(payload) = next(&mut self.read) {
            if self.established {
                self.payload.extend_from_slice(&payload);
                continue;
            }
            assert_eq!(payload, if dials { WELCOME } else { HELLO });
            self.established = true;
            if !dials {
                return Some(record(WELCOME));
            }
        }
        None
    }
}

/// A connection of rsp's with or without the filter.
pub struct Filter {
    pub wire: Wire,
    /// `None`: bytes pass as they are.
    state: Option<State>,
}

struct State {
    /// rsp made the connection.
    dials: bool,
    said_hello: bool,
    heard: bool,
    /// Both messages have gone their way.
    established: bool,
    read: Vec<u8>,
    /// Payload that rsp has not taken.
    plain: Vec<u8>,
    /// Records that the wire has not taken.
    held: Vec<u8>,
}

impl Filter {
    pub fn new(wire: Wire, dials: bool) -> Filter {
        let filtered = wire.is_filtered();
        let state = State {
            dials,
            said_hello: false,
            heard: false,
            established: false,
            read: Vec::new(),
            plain: Vec::new(),
            held: Vec::new(),
        };
        Filter { wire, state: filtered.then_some(state) }
    }
}

impl State {
    /// Until nothing is held, or the wire takes no more.
    fn flush(&mut self, wire: &mut Wire) -> io::Result<()> {
        while !self.held.is_empty() {
            match wire.send(&self.held) {
                Ok(n) => _ = self.held.drain(..n),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The next record's payload; `None` at the end.
    fn receive(&mut self, wire: &mut Wire) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(payload) = next(&mut self.read) {
                return Ok(Some(payload));
            }
            let mut space = [0; 700];
            match wire.recv(&mut space)? {
                0 => return Ok(None),
                n => self.read.extend_from_slice(&space[..n]),
            }
        }
    }

    fn handshake(&mut self, wire: &mut Wire) -> io::Result<()> {
        if self.dials && !std::mem::replace(&mut self.said_hello, true) {
            self.held = record(HELLO);
        }
        self.flush(wire)?;
        if !self.heard {
            match self.receive(wire)? {
                Some(payload) if payload == if self.dials { WELCOME } else { HELLO } => {}
                Some(payload) => panic!("{payload:?} instead of a handshake"),
                None => return Err(ErrorKind::UnexpectedEof.into()),
            }
            self.heard = true;
            if !self.dials {
                self.held = record(WELCOME);
            }
        }
        self.flush(wire)?;
        self.established = true;
        Ok(())
    }
}

impl Transport for Filter {
    type Pipe = Vec<u8>;

    fn new_pipe() -> io::Result<Vec<u8>> {
        Wire::new_pipe()
    }

    fn can_splice(&self) -> bool {
        self.state.is_none() && self.wire.can_splice()
    }

    fn splice_in(&mut self, pipe: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        assert!(self.state.is_none(), "bytes passed the filter unseen");
        self.wire.splice_in(pipe, most)
    }

    fn splice_out(&mut self, pipe: &mut Vec<u8>, held: usize) -> io::Result<usize> {
        assert!(self.state.is_none(), "bytes passed the filter unseen");
        self.wire.splice_out(pipe, held)
    }

    fn recv(&mut self, space: &mut [u8]) -> io::Result<usize> {
        let Some(state) = &mut self.state else { return self.wire.recv(space) };
        assert!(state.established, "read before the handshake");
        while state.plain.is_empty() {
            match state.receive(&mut self.wire)? {
                Some(payload) => state.plain = payload,
                None => return Ok(0),
            }
        }
        let n = space.len().min(state.plain.len());
        space[..n].copy_from_slice(&state.plain[..n]);
        state.plain.drain(..n);
        Ok(n)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(state) = &mut self.state else { return self.wire.send(bytes) };
        assert!(state.established, "written before the handshake");
        state.flush(&mut self.wire)?;
        let n = bytes.len().min(LONGEST);
        state.held = record(&bytes[..n]);
        self.wire.took(n);
        Ok(n)
    }

    fn send_parts(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let all: Vec<u8> = parts.iter().flat_map(|p| p.to_vec()).collect();
        self.send(&all)
    }

    fn wants_write(&self) -> bool {
        self.state.as_ref().is_some_and(|state| !state.held.is_empty())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.state.as_mut().map_or(Ok(()), |state| state.flush(&mut self.wire))
    }

    fn is_established(&self) -> bool {
        self.state.as_ref().is_none_or(|state| state.established)
    }

    fn handshake(&mut self) -> io::Result<()> {
        self.state.as_mut().map_or(Ok(()), |state| state.handshake(&mut self.wire))
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.wire.shutdown_write()
    }

    fn connect_result(&mut self) -> io::Result<()> {
        self.wire.connect_result()
    }

    fn reset_on_close(&mut self) {
        self.wire.reset_on_close();
    }

    fn unacknowledged(&self) -> usize {
        self.state.as_ref().map_or(0, |state| state.held.len()) + self.wire.unacknowledged()
    }

    fn short_recv_is_empty(&self) -> bool {
        self.state.is_none() && self.wire.short_recv_is_empty()
    }
}
