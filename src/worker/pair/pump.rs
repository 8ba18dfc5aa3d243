//! The pump: moves one pair's bytes until nothing moves.
//!
//! ```text
//!   client.input ─ decode ─► exchange ─ encode ─► backend.output ─ flush
//!   client.output ◄─ encode ─ exchange ◄─ decode ─ backend.input ◄─ fill
//! ```
//!
//! Progress is decided here and nowhere else. Nothing is read for which there is no room on the other side; what
//! a socket does not take stays where it is, in order. Writing makes room, so it asks for another round only where
//! there is more to come that way. A turn that ends on its budget says `Again`, so that one fast pair does not
//! starve the others.
//!
//! Where there is no server, since a script answered, a large answer goes the last part of that way (`send_answer`).

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

/// Unused blocks that stay allocated.
const SPARE_BLOCKS: usize = 256;
/// Rounds of both directions before others get their turn.
const ROUNDS: usize = 2;

/// What the pump needs besides the pair. The worker has it as one piece, so that no turn has to put it together.
pub struct Tools<S: Transport> {
    pub blocks: BlockPool,
    pub pipes: Pipes<S::Pipe>,
    pub errors: ScriptErrors,
    /// Storage for what is decoded and passed on at once.
    pub response: ResponseHead,
    pub trailers: Fields,
    /// The one clock reading of this turn, in microseconds, and the date it shows.
    pub now: u64,
    pub date: Vec<u8>,
    pub draining: bool,
    /// Of the site that new requests begin with.
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

/// What one step in one direction did.
pub enum Progress {
    /// Nothing to be had, or nothing decided without it.
    Stuck,
    /// Bytes, or their end, came from a socket.
    Read,
    /// What had come went on.
    Passed,
}

impl Progress {
    pub fn of_read(came: bool) -> Progress {
        if came { Progress::Read } else { Progress::Stuck }
    }
}

/// How a turn of a pair ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing moves until a socket is ready or a timer fires.
    Wait,
    /// The connection that is being made may be there.
    Connected,
    /// The budget is spent.
    Again,
    /// The server has done its part; the client has still to take the rest.
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

/// Both directions once; `None` where something moved and there may be more. Apart from the loop: most turns are one
/// round, and would pay for what a loop keeps at hand.
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

/// The last bytes to the server have to leave before it is over: a response may come before that.
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

/// The response is done and the request still on its way: that goes on until the server closes. A tunnel whose server
/// ended its side goes on until that takes nothing any more.
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
