//! Large bodies of known length pass through a pipe instead of a block: splice(2) from one socket into the pipe and
//! from the pipe into the other. Only the codecs' counts learn of them.
//!
//! Where others stalled: "try again" from splice means that the socket is empty or that the pipe is full, and a
//! short splice says nothing about the socket. So a pipe is filled only when it is empty, and readiness is only
//! cleared by "try again". Copying goes on by itself wherever this does not apply: bytes already read (the callers
//! look), something
//! still to be written, too little left, no pipe to be had, a transport that has to see the bytes.
//!
//! Nothing is held back for more to come (SPLICE_F_MORE, MSG_MORE): a server that pauses within a body would leave its
//! client waiting for bytes that are here, up to 0.2 s. A head goes with the bytes that were read with it, in one write.

use std::io::{self, ErrorKind};

use crate::base::buffer::BLOCK;
use crate::base::os_error::os_error;
use crate::exchange::{Failure, RequestHalf, ResponseHalf};
use crate::http::Codec;
use crate::net::Transport;
use crate::worker::conn::backend::Backend;
use crate::worker::conn::client::Client;
use crate::worker::conn::connection::Connection;
use crate::worker::pair::Pair;
use crate::worker::pair::closed::{client_gone, closed_early, is_cut};
use crate::worker::pair::pipes::Pipes;
use crate::worker::pair::pump::Tools;

/// Moved at once: what a pipe holds. The other directions have their turn then. (Half of it costs a tenth more a
/// byte, twice of it saves nothing.)
const MOST: u64 = 256 * 1024;

/// What came of a try.
pub enum Spliced {
    /// Not here: copy.
    No,
    /// Nothing to be had now.
    Empty,
    Moved,
}

/// Server to client.
pub fn response<S: Transport>(
    client: &mut Client<S>,
    backend: &mut Backend<S>,
    pair: &mut Pair,
    tools: &mut Tools<S>,
) -> Result<Spliced, Failure> {
    let left = backend.role.codec.known_rest(pair.target);
    match fit(backend, client, left, &tools.pipes) {
        Fit::Not => return Ok(Spliced::No),
        Fit::Later => return Ok(Spliced::Empty),
        Fit::Now => {}
    }
    let came = fill(backend, client, left, &mut tools.pipes, tools.now);
    let n = match came.map_err(|_| closed_early(pair))? {
        Came::Bytes(n) => n,
        Came::End if is_cut(backend, pair) => return Err(closed_early(pair)),
        other => return Ok(other.spliced()),
    };
    pair.exchange.sent += n as u64;
    client.role.codec.frame_body(pair.source, n);
    client.flush(&mut tools.blocks, tools.now).map_err(|_| Failure::ClientGone)?;
    if backend.role.codec.pass(pair.target, n as u64) {
        pair.exchange.response = ResponseHalf::Done;
    }
    Ok(Spliced::Moved)
}

/// Client to server. A write that fails is noticed by the flush that follows.
pub fn request<S: Transport>(
    client: &mut Client<S>,
    backend: &mut Backend<S>,
    pair: &mut Pair,
    tools: &mut Tools<S>,
) -> Result<Spliced, Failure> {
    let left = client.role.codec.known_rest(pair.source);
    match fit(client, backend, left, &tools.pipes) {
        Fit::Not => return Ok(Spliced::No),
        Fit::Later => return Ok(Spliced::Empty),
        Fit::Now => {}
    }
    let came = fill(client, backend, left, &mut tools.pipes, tools.now);
    let n = match came.map_err(|_| client_gone(pair))? {
        Came::Bytes(n) => n,
        other => return Ok(other.spliced()),
    };
    pair.exchange.received += n as u64;
    pair.exchange.body_taken = true;
    backend.role.wrote = true;
    backend.role.codec.frame_body(pair.target, n);
    if client.role.codec.pass(pair.source, n as u64) {
        pair.exchange.request = RequestHalf::Done;
    }
    Ok(Spliced::Moved)
}

enum Fit {
    /// Copy.
    Not,
    /// In a moment: what is there for `to` goes first. Copying behind it would only put that moment off.
    Later,
    Now,
}

/// Whether the next bytes of `from` can go to `to` unseen. None of them has been read: that was seen to.
fn fit<S: Transport, A, B>(
    from: &Connection<S, A>,
    to: &Connection<S, B>,
    left: u64,
    pipes: &Pipes<S::Pipe>,
) -> Fit {
    let worth = pipes.least.is_some_and(|least| left >= worth_from(least, to.spliced.is_some()))
        && from.stream.can_splice()
        && to.stream.can_splice();
    match worth {
        false => Fit::Not,
        // Either way it will be written to: that is the event to wait for.
        true if !to.writable || !to.is_flushed() => Fit::Later,
        true => Fit::Now,
    }
}

/// Behind bytes that went through a pipe the next ones do, down to what is copied with one read: that read is short
/// and so finds the socket empty, where a splice would leave the question open.
fn worth_from(least: u64, begun: bool) -> u64 {
    if begun { least.clamp(1, BLOCK as u64) } else { least.max(1) }
}

enum Came {
    Bytes(usize),
    End,
    Nothing,
    /// Interrupted by a signal.
    Again,
    /// No pipe, or one that these sockets do not take.
    NoPipe,
}

impl Came {
    fn spliced(self) -> Spliced {
        match self {
            Came::Nothing => Spliced::Empty,
            Came::NoPipe => Spliced::No,
            Came::Bytes(_) | Came::End | Came::Again => Spliced::Moved,
        }
    }
}

/// From a socket into the pipe of the other one.
fn fill<S: Transport, A, B>(
    from: &mut Connection<S, A>,
    to: &mut Connection<S, B>,
    left: u64,
    pipes: &mut Pipes<S::Pipe>,
    now: u64,
) -> io::Result<Came> {
    if !from.readable {
        return Ok(Came::Nothing);
    }
    let Some(mut held) = to.spliced.take().or_else(|| pipes.borrow(S::new_pipe)) else {
        return Ok(Came::NoPipe);
    };
    let came = from.stream.splice_in(&mut held.pipe, left.min(MOST) as usize);
    held.bytes = *came.as_ref().unwrap_or(&0);
    to.spliced = Some(held);
    match came {
        Ok(0) => {
            (from.eof, from.readable) = (true, false);
            Ok(Came::End)
        }
        Ok(n) => {
            from.read_at = now;
            Ok(Came::Bytes(n))
        }
        Err(error) => refused(from, error, pipes),
    }
}

/// What an error of splice means.
fn refused<S: Transport, A>(
    from: &mut Connection<S, A>,
    error: io::Error,
    pipes: &mut Pipes<S::Pipe>,
) -> io::Result<Came> {
    match error.kind() {
        ErrorKind::Interrupted => Ok(Came::Again),
        // The kernel cannot do this with these sockets: copy, here and from now on.
        ErrorKind::InvalidInput | ErrorKind::Unsupported => {
            pipes.give_up();
            log::warn!("splice is not possible here, bodies are copied from now on: {}", os_error(&error));
            Ok(Came::NoPipe)
        }
        ErrorKind::WouldBlock => {
            from.readable = false;
            Ok(Came::Nothing)
        }
        _ => {
            from.readable = false;
            Err(error)
        }
    }
}
