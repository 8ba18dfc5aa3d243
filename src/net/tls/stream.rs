//! TLS as a filter over another transport.
//!
//! ```text
//! Before ─ start ─► Handshake ─► Open ─► (our end announced) ─► (the socket's write side is shut down)
//! (a PROXY header)      └──────► Plain: the client does not speak TLS; it is told so and closed
//! ```

use std::cell::RefCell;
use std::io::{self, ErrorKind, IoSlice, Write};
use std::net::SocketAddr;
use std::rc::Rc;

use super::session::{Session, TlsInfo};
use crate::net::Transport;
use crate::tls::{Client, Server, speaks_http};

/// Bytes of cipher text that are read at once.
const READ: usize = 32 * 1024;
/// The least that is asked for, even if the caller has less room.
const LEAST: usize = 4096;
/// Cipher text without plain text in it (tickets, key updates, empty records) that may follow each other. Whoever sends
/// more costs work for nothing; it is more than the longest record, which may come in small pieces.
const FRUITLESS: usize = 32 * 1024;
/// Reads that drop what a refused peer still sends, at a time.
const DROPPED: usize = 4;

thread_local! {
    /// Cipher text just read: nothing is kept in it between calls.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into_boxed_slice());
}

pub struct Tls<S> {
    socket: S,
    session: Session,
    state: State,
    /// Plain bytes that go out first, then, of a client that does not speak TLS, those that were read.
    plain: Vec<u8>,
    /// The beginning of the handshake, if it came with a PROXY header.
    early: Vec<u8>,
    /// Cipher text received since there was plain text in it.
    fruitless: usize,
    info: Option<Rc<TlsInfo>>,
    /// Something was received.
    heard: bool,
    /// The last read left nothing in the socket and nothing inside.
    drained: bool,
    /// The socket ended without the peer's announcement.
    truncated: bool,
    /// Our end was announced; once that is written, the socket's write side is shut down.
    end: End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// A PROXY header comes first, without TLS.
    Before,
    Handshake,
    Open,
    /// The handshake failed, or the connection will be reset: nothing more is said.
    Failed,
    Plain,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    No,
    Announced,
    Done,
}

impl<S: Transport> Tls<S> {
    /// With a client. `after_header`: its handshake begins after a PROXY header.
    pub fn server(socket: S, server: &Server, after_header: bool) -> io::Result<Tls<S>> {
        let state = if after_header { State::Before } else { State::Handshake };
        Ok(Tls::new(socket, Session::server(server)?, state))
    }

    /// With a server.
    pub fn client(socket: S, client: &Client) -> io::Result<Tls<S>> {
        Ok(Tls::new(socket, Session::client(client)?, State::Handshake))
    }

    fn new(socket: S, session: Session, state: State) -> Tls<S> {
        Tls {
            socket,
            session,
            state,
            plain: Vec::new(),
            early: Vec::new(),
            fruitless: 0,
            info: None,
            heard: false,
            drained: false,
            truncated: false,
            end: End::No,
        }
    }

    /// The transport below.
    pub fn socket(&mut self) -> &mut S {
        &mut self.socket
    }

    /// Reads cipher text until there is plain text.
    fn receive(&mut self, space: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(n) = self.receive_once(space)? {
                self.fruitless = 0;
                return Ok(n);
            }
            if self.fruitless > FRUITLESS {
                return Err(io::Error::new(ErrorKind::InvalidData, "too many records without data"));
            }
        }
    }

    /// `None`: what came had no plain text.
    fn receive_once(&mut self, space: &mut [u8]) -> io::Result<Option<usize>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let scratch = &mut scratch[..space.len().clamp(LEAST, READ)];
            let n = self.socket.recv(scratch)?;
            if n == 0 {
                self.truncated = true;
                return match self.session.is_with_server() {
                    // The end of the connection may be taken for the end of a body.
                    true => Err(ErrorKind::UnexpectedEof.into()),
                    false => Ok(Some(0)),
                };
            }
            self.fruitless += n;
            let opened = self.session.open(&scratch[..n], space)?;
            self.drained = n < scratch.len()
                && opened < space.len()
                && !self.session.is_at_end()
                && self.socket.short_recv_is_empty();
            if opened > 0 {
                return Ok(Some(opened));
            }
            match self.session.take(space) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
                result => result.map(Some),
            }
        })
    }

    fn write_records(&mut self) -> io::Result<()> {
        self.session.write_to(&mut Records(&mut self.socket))
    }

    /// One read of the handshake: a short one, since what follows it stays inside until somebody takes it.
    fn step(&mut self) -> io::Result<()> {
        SCRATCH.with_borrow_mut(|scratch| {
            let scratch = &mut scratch[..LEAST];
            let n = self.socket.recv(scratch)?;
            if n == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.go_on(&scratch[..n])
        })
    }

    fn go_on(&mut self, received: &[u8]) -> io::Result<()> {
        let first = !std::mem::replace(&mut self.heard, true) && !self.session.is_with_server();
        if first && speaks_http(received) {
            self.state = State::Plain;
            self.plain = received.to_vec();
            return Ok(());
        }
        let opened = self.session.open(received, &mut []);
        if opened.is_err() {
            self.state = State::Failed;
            // The alert that says why, if the socket takes it.
            let _ = self.write_records();
        }
        opened.map(|_| ())
    }

    /// Reads and drops what a peer sends that was refused, so that the alert reaches it.
    fn drop_received(&mut self) -> io::Result<usize> {
        SCRATCH.with_borrow_mut(|scratch| {
            for _ in 0..DROPPED {
                if self.socket.recv(scratch)? == 0 {
                    return Ok(0);
                }
            }
            Err(ErrorKind::Interrupted.into())
        })
    }

    fn shake_hands(&mut self) -> io::Result<()> {
        while !self.plain.is_empty() {
            let n = self.socket.send(&self.plain)?;
            self.plain.drain(..n);
        }
        if !self.early.is_empty() {
            let early = std::mem::take(&mut self.early);
            self.go_on(&early)?;
            if self.state == State::Plain {
                return Ok(());
            }
        }
        loop {
            self.write_records()?;
            if !self.session.is_handshaking() {
                self.info = Some(Rc::new(self.session.info()));
                self.state = State::Open;
                return Ok(());
            }
            self.step()?;
            if self.state == State::Plain {
                return Ok(());
            }
        }
    }
}

/// Writes records to a transport.
struct Records<'a, S>(&'a mut S);

impl<S: Transport> Write for Records<'_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match parts {
            [one] => self.0.send(one),
            all => self.0.send_parts(all),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What sockets do often is not inlined here, so that it is inlined where there is no TLS: together both are too large.
impl<S: Transport> Transport for Tls<S> {
    type Pipe = S::Pipe;

    fn recv(&mut self, space: &mut [u8]) -> io::Result<usize> {
        self.drained = false;
        match self.state {
            State::Open => match self.session.take(space) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.receive(space),
                result => result,
            },
            State::Plain if !self.plain.is_empty() => {
                let n = self.plain.len().min(space.len());
                space[..n].copy_from_slice(&self.plain[..n]);
                self.plain.drain(..n);
                Ok(n)
            }
            State::Before | State::Plain => self.socket.recv(space),
            State::Failed => self.drop_received(),
            State::Handshake => Err(ErrorKind::NotConnected.into()),
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send_parts(&[IoSlice::new(bytes)])
    }

    fn send_parts(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match self.state {
            State::Open => {}
            State::Before | State::Plain => return self.socket.send_parts(parts),
            State::Handshake | State::Failed => return Err(ErrorKind::NotConnected.into()),
        }
        let sealed = self.session.seal(parts)?;
        let waiting = self.session.waiting();
        match self.write_records() {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                Ok(sealed)
            }
            // An error says that none of it has gone out; where some has, the next call meets the error again.
            Err(error) if self.session.waiting() == waiting => Err(error),
            _ => Ok(sealed),
        }
    }

    fn wants_write(&self) -> bool {
        self.state == State::Open && (self.session.has_records() || self.end == End::Announced)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_records()?;
        if self.end == End::Announced {
            self.end = End::Done;
            return self.socket.shutdown_write();
        }
        Ok(())
    }

    fn is_established(&self) -> bool {
        matches!(self.state, State::Open | State::Plain | State::Before)
    }

    fn handshake(&mut self) -> io::Result<()> {
        match self.state {
            State::Handshake => self.shake_hands(),
            State::Failed => Err(ErrorKind::InvalidData.into()),
            State::Before | State::Open | State::Plain => Ok(()),
        }
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        if self.state != State::Open {
            return self.socket.shutdown_write();
        }
        if self.end == End::No {
            self.session.end();
            self.end = End::Announced;
        }
        match self.flush() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            result => result,
        }
    }

    fn farewell(&mut self) -> bool {
        if self.state == State::Open && self.end == End::No {
            self.session.end();
            return self.write_records().is_ok();
        }
        true
    }

    fn connect_result(&mut self) -> io::Result<()> {
        self.socket.connect_result()
    }

    fn reset_on_close(&mut self) {
        self.state = State::Failed;
        self.socket.reset_on_close();
    }

    fn short_recv_is_empty(&self) -> bool {
        self.drained
    }

    fn new_pipe() -> io::Result<S::Pipe> {
        S::new_pipe()
    }

    fn can_splice(&self) -> bool {
        false
    }

    fn splice_in(&mut self, _: &mut S::Pipe, _: usize) -> io::Result<usize> {
        Err(ErrorKind::Unsupported.into())
    }

    fn splice_out(&mut self, _: &mut S::Pipe, _: usize) -> io::Result<usize> {
        Err(ErrorKind::Unsupported.into())
    }

    fn unacknowledged(&self) -> usize {
        self.session.waiting() + self.socket.unacknowledged()
    }

    fn local_address(&self) -> Option<SocketAddr> {
        self.socket.local_address()
    }

    fn start_tls(&mut self, received: &[u8]) -> io::Result<bool> {
        if self.state != State::Before {
            return Ok(false);
        }
        self.state = State::Handshake;
        self.early = received.to_vec();
        Ok(true)
    }

    fn send_before_tls(&mut self, bytes: &[u8]) -> bool {
        self.plain.extend_from_slice(bytes);
        true
    }

    fn has_answered(&self) -> bool {
        self.session.has_written()
    }

    fn lacks_tls(&self) -> bool {
        self.state == State::Plain
    }

    fn tls(&self) -> Option<&Rc<TlsInfo>> {
        self.info.as_ref()
    }

    fn was_truncated(&self) -> bool {
        self.truncated
    }
}
