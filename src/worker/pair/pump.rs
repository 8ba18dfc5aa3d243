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

use std::io;

use crate::base::buffer::BlockPool;
use crate::base::buffer_memory::BufferMemory;
use crate::exchange::{Failure, RequestHalf, ResponseHalf};
use crate::http::{Fields, ResponseHead};
use crate::net::Transport;
use crate::worker::conn::backend::{Backend, BackendState};
use crate::worker::conn::client::Client;
use crate::worker::pair::answer_body::send_answer;
use crate::worker::pair::hedge_table::Hedges;
use crate::worker::pair::mirror::Mirrored;
use crate::worker::pair::pass_through;
use crate::worker::pair::pipes::Pipes;
use crate::worker::pair::script_errors::ScriptErrors;
use crate::worker::pair::to_client::to_client;
use crate::worker::pair::to_server::{flush_backend, to_server, writing_failed};
use crate::worker::pair::waiting::Asks;
use crate::worker::pair::{Pair, Stage};
use crate::worker::site::Site;

/// Spare blocks that stay allocated.
const SPARE_BLOCKS: usize = 256;
/// Reads of one direction per round.
pub const READS: u32 = 4;
/// Rounds of both directions per turn.
const ROUNDS: usize = 2;

/// What the pump needs besides the pair, in one struct so that it is not assembled for every turn.
pub struct Tools<S: Transport> {
    pub blocks: BlockPool,
    pub pipes: Pipes<S::Pipe>,
    pub errors: ScriptErrors,
    /// Scratch storage for decoded heads and trailers.
    pub response: ResponseHead,
    pub trailers: Fields,
    pub buffers: BufferMemory,
    /// The clock, read once per loop iteration, in microseconds, and the date to send.
    pub now: u64,
    pub date: Vec<u8>,
    pub draining: bool,
    /// Reads from sockets in the present turn.
    pub reads: u32,
    /// A handler of `on_response` is about to wait, or a held body is filled.
    pub asks: Option<Box<Asks>>,
    pub hedges: Hedges,
    pub mirrored: Mirrored,
    /// The error with which a server refused rsp's certificate, for the log.
    pub refused_certificate: Option<io::Error>,
}

impl<S: Transport> Tools<S> {
    pub fn new(site: &Site, now: u64) -> Tools<S> {
        Tools {
            blocks: BlockPool::new(SPARE_BLOCKS),
            pipes: Pipes::new(site.settings().splice),
            errors: ScriptErrors::default(),
            response: ResponseHead::default(),
            trailers: Fields::default(),
            buffers: BufferMemory::default().limited(site.settings().buffer_memory as usize),
            now,
            date: Vec::new(),
            draining: false,
            reads: 0,
            asks: None,
            hedges: Hedges::default(),
            mirrored: Mirrored::default(),
            refused_certificate: None,
        }
    }
}

/// The result of a pair's turn.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No progress until a socket is ready or a timer fires.
    Wait,
    /// The connection in progress may be established.
    Connected,
    /// The budget is exhausted.
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
    tools.reads = 0;
    for _ in 1..ROUNDS {
        match round(client, backend.as_deref_mut(), pair, tools) {
            Outcome::Again => {}
            outcome => return outcome,
        }
    }
    round(client, backend, pair, tools)
}

/// Runs both directions once; `Again` if something moved and there may be more. Not inlined: most turns are one round
/// and should not pay for the loop's state.
#[inline(never)]
fn round<S: Transport>(
    client: &mut Client<S>,
    mut backend: Option<&mut Backend<S>>,
    pair: &mut Pair,
    tools: &mut Tools<S>,
) -> Outcome {
    let moved = match &mut backend {
        Some(backend) if backend.role.state == BackendState::Busy => both_ways(client, backend, pair, tools),
        Some(backend) if backend.role.state == BackendState::Passing => {
            pass_through::both_ways(client, backend, pair, tools)
        }
        Some(_) => Ok(false),
        None => send_answer(client, pair, tools),
    };
    let mut moved = match moved {
        Ok(moved) => moved,
        Err(failure) => return Outcome::Failed(failure),
    };
    match client.flush(&mut tools.blocks, tools.now) {
        Ok(any) => moved |= any && pair.exchange.response != ResponseHalf::Done,
        Err(_) => return Outcome::Failed(Failure::ClientGone),
    }
    if pair.exchange.is_over() {
        let unsent = backend.as_ref().is_some_and(|b| is_unsent(b, pair));
        if client.is_flushed() && !unsent {
            return Outcome::Finished;
        }
        if matches!(pair.stage, Stage::Forwarding(_)) && !unsent {
            return Outcome::ReleaseBackend;
        }
    }
    if moved { Outcome::Again } else { Outcome::Wait }
}

/// Returns true if request bytes must be flushed before the exchange ends: the response may be complete earlier.
fn is_unsent<S: Transport>(backend: &Backend<S>, pair: &Pair) -> bool {
    !(backend.is_flushed() || backend.role.write_failed || pair.exchange.request == RequestHalf::Ending)
}

fn both_ways<S: Transport>(
    client: &mut Client<S>,
    backend: &mut Backend<S>,
    pair: &mut Pair,
    tools: &mut Tools<S>,
) -> Result<bool, Failure> {
    let mut moved = to_server(client, backend, pair, tools)?;
    moved |= flush_backend(backend, tools) && pair.exchange.request.is_open();
    moved |= to_client(client, backend, pair, tools)?;
    if pair.exchange.response == ResponseHalf::Done && is_early(backend, pair) {
        backend.role.keep_alive = false;
        moved |= watch_upload(backend, pair, tools)?;
    }
    Ok(moved)
}

/// Returns true if the server's response, which is whole, came before all of the request had gone to the server. The
/// connection is not kept then: the next request would have to wait until the server has read the rest of this one, or
/// come to a server that reads no more.
pub fn is_early<S: Transport>(backend: &Backend<S>, pair: &Pair) -> bool {
    pair.exchange.request.is_open() || !backend.is_flushed()
}

/// Continues the upload after the response is complete, until the server closes. A tunnel whose server ended its side
/// continues until the server accepts no more bytes.
#[cold]
pub fn watch_upload<S: Transport>(
    backend: &mut Backend<S>,
    pair: &mut Pair,
    tools: &mut Tools<S>,
) -> Result<bool, Failure> {
    match pair.stage {
        _ if pair.exchange.request == RequestHalf::Ending => return Ok(false),
        Stage::Tunnel(..) if backend.role.write_failed => return Err(Failure::ResponseCut),
        Stage::Tunnel(..) => return Ok(false),
        _ => {}
    }
    let read = backend.fill(&mut tools.blocks, tools.now);
    let closed = read.is_err() || backend.eof || backend.role.write_failed;
    if closed {
        writing_failed(backend, tools);
        pair.exchange.end_with_response();
    }
    Ok(closed)
}
