//! The pump: moves one pair's bytes until nothing moves.
//!
//! ```text
//!   client.input ─ decode ─► exchange ─ encode ─► backend.output ─ flush
//!   client.output ◄─ encode ─ exchange ◄─ decode ─ backend.input ◄─ fill
//! ```
//!
//! Progress is decided only here. Nothing is read that the other side has no room for; what a socket does not take
//! stays buffered, in order. Writing makes room, so it causes another round only if more bytes are waiting in that
//! direction. A turn that uses up its budget returns `Again`, so that one fast pair does not starve the others.
//!
//! For a scripted answer there is no server; `send_answer` moves a large body to the client.

use crate::base::buffer::BlockPool;
use crate::exchange::{Failure, RequestHalf, ResponseHalf};
use crate::http::{Fields, ResponseHead};
use crate::net::Transport;
use crate::worker::conn::backend::{Backend, BackendState};
use crate::worker::conn::client::Client;
use crate::worker::pair::Pair;
use crate::worker::pair::answer_body::send_answer;
use crate::worker::pair::pipes::Pipes;
use crate::worker::pair::script_errors::ScriptErrors;
use crate::worker::pair::to_client::to_client;
use crate::worker::pair::to_server::{flush_backend, to_server};
use crate::worker::site::Site;

/// Spare blocks that stay allocated.
const SPARE_BLOCKS: usize = 256;
/// Rounds of both directions per turn.
const ROUNDS: usize = 2;

/// What the pump needs besides the pair, kept as one struct so that no turn has to assemble it.
pub struct Tools<S: Transport> {
    pub blocks: BlockPool,
    pub pipes: Pipes<S::Pipe>,
    pub errors: ScriptErrors,
    /// Scratch storage for decoded heads and trailers.
    pub response: ResponseHead,
    pub trailers: Fields,
    /// The clock, read once per loop iteration, in microseconds, and the date to send.
    pub now: u64,
    pub date: Vec<u8>,
    pub draining: bool,
    /// The generation of the current site.
    pub generation: u64,
}

impl<S: Transport> Tools<S> {
    pub fn new(site: &Site, now: u64) -> Tools<S> {
        Tools {
            blocks: BlockPool::new(SPARE_BLOCKS),
            pipes: Pipes::new(site.settings().splice),
            errors: ScriptErrors::default(),
            response: ResponseHead::default(),
            trailers: Fields::default(),
            now,
            date: Vec::new(),
            draining: false,
            generation: site.generation,
        }
    }
}

/// The result of one step in one direction.
pub enum Progress {
    /// No progress.
    Stuck,
    /// Bytes or an end of stream were read from a socket.
    Read,
    /// Buffered bytes were passed on.
    Passed,
}

impl Progress {
    pub fn of_read(came: bool) -> Progress {
        if came { Progress::Read } else { Progress::Stuck }
    }
}

/// The result of a pair's turn.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No progress until a socket is ready or a timer fires.
    Wait,
    /// The connection in progress may be established.
    Connected,
    /// The budget is spent.
    Again,
    /// The server's response is complete; part of it is still to be written to the client.
    ReleaseBackend,
    /// Everything is written.
    Finished,
    Failed(Failure),
}

pub fn turn<S: Transport>(
    client: &mut Client<S>,
    mut backend: Option<&mut Backend<S>>,
    pair: &mut Pair,
    tools: &mut Tools<S>,
) -> Outcome {
    for _ in 0..ROUNDS {
        if let Some(outcome) = round(client, backend.as_deref_mut(), pair, tools) {
            return outcome;
        }
    }
    Outcome::Again
}

/// Runs both directions once; `None` if something moved and there may be more. Not inlined: most turns are one round
/// and should not pay for the loop's state.
#[inline(never)]
fn round<S: Transport>(
    client: &mut Client<S>,
    mut backend: Option<&mut Backend<S>>,
    pair: &mut Pair,
    tools: &mut Tools<S>,
) -> Option<Outcome> {
    let mut moved = false;
    if let Some(backend) = backend.as_deref_mut().filter(|b| b.role.state == BackendState::Busy) {
        match both_ways(client, backend, pair, tools) {
            Ok(any) => moved |= any,
            Err(failure) => return Some(Outcome::Failed(failure)),
        }
    } else if pair.answer.is_some() {
        match send_answer(client, pair, tools) {
            Ok(any) => moved |= any,
            Err(failure) => return Some(Outcome::Failed(failure)),
        }
    }
    match client.flush(&mut tools.blocks, tools.now) {
        Ok(any) => moved |= any && pair.exchange.response != ResponseHalf::Done,
        Err(_) => return Some(Outcome::Failed(Failure::ClientGone)),
    }
    if pair.exchange.is_over() {
        let unsent = backend.as_ref().is_some_and(|b| is_unsent(b, pair));
        if client.is_flushed() && !unsent {
            return Some(Outcome::Finished);
        }
        if backend.is_some() && !unsent && !pair.exchange.tunnel {
            return Some(Outcome::ReleaseBackend);
        }
    }
    (!moved).then_some(Outcome::Wait)
}

/// Returns true if request bytes must be flushed before the exchange ends: the response may be complete earlier.
fn is_unsent<S: Transport>(backend: &Backend<S>, pair: &Pair) -> bool {
    !(backend.is_flushed() || backend.role.write_failed || pair.exchange.ends_with_response)
}

fn both_ways<S: Transport>(
    client: &mut Client<S>,
    backend: &mut Backend<S>,
    pair: &mut Pair,
    tools: &mut Tools<S>,
) -> Result<bool, Failure> {
    let mut moved = to_server(client, backend, pair, tools)?;
    moved |= flush_backend(backend, tools) && pair.exchange.request != RequestHalf::Done;
    moved |= to_client(client, backend, pair, tools)?;
    let x = &pair.exchange;
    if x.response == ResponseHalf::Done && (x.request == RequestHalf::Body || !backend.is_flushed()) {
        moved |= watch_upload(backend, pair, tools)?;
    }
    Ok(moved)
}

/// Continues the upload after the response is complete, until the server closes. A tunnel whose server ended its side
/// continues until the server accepts no more bytes.
#[cold]
fn watch_upload<S: Transport>(
    backend: &mut Backend<S>,
    pair: &mut Pair,
    tools: &mut Tools<S>,
) -> Result<bool, Failure> {
    let x = &mut pair.exchange;
    match x.tunnel {
        _ if x.ends_with_response => return Ok(false),
        true if backend.role.write_failed => return Err(Failure::ResponseCut),
        true => return Ok(false),
        false => {}
    }
    let read = backend.fill(&mut tools.blocks, tools.now);
    let closed = read.is_err() || backend.eof || backend.role.write_failed;
    if closed {
        x.end_with_response();
    }
    Ok(closed)
}
