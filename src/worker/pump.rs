//! The pump: moves one pair's bytes until nothing moves.
//!
//! ```text
//!   client.input ─ decode ─► exchange ─ encode ─► backend.output ─ flush
//!   client.output ◄─ encode ─ exchange ◄─ decode ─ backend.input ◄─ fill
//! ```
//!
//! Progress is decided here and nowhere else. Nothing is read for which there is no room on the other side; what
//! a socket does not take stays where it is, in order. A turn that ends on its budget says `Again`, so that one
//! fast pair does not starve the others.

use super::connection::{FRAME_MAX, OutputSink, WriteEnd};
use super::ends::{client_gone, closed_early, is_cut};
use super::sides::{Backend, BackendState, Client, Lane};
use crate::base::buffer::Pool;
use crate::exchange::record::NEVER;
use crate::exchange::{Failure, RequestHalf, ResponseHalf, ResponseStep, rewrite_interim, rewrite_response};
use crate::h1::{After, RequestFacts};
use crate::http::{Decoded, Event, Fields, Persistence, ResponseHead};
use crate::net::Transport;
use crate::route::Router;
use crate::script;

/// Rounds of both directions, and reads of one direction within a round, before others get their turn.
const ROUNDS: usize = 4;
const READS: usize = 8;

/// What the pump needs besides the pair.
pub struct Tools<'a> {
    pub blocks: &'a mut Pool,
    pub router: &'a mut Router,
    /// Storage for what is decoded and passed on at once.
    pub response: &'a mut ResponseHead,
    pub trailers: &'a mut Fields,
    pub date: &'a [u8],
    pub now: u64,
    pub draining: bool,
}

/// How a turn of a pair ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing moves until a socket is ready or a timer fires.
    Wait,
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
    lane: &mut Lane,
    tools: &mut Tools<'_>,
) -> Outcome {
    for _ in 0..ROUNDS {
        let mut moved = false;
        if let Some(backend) = backend.as_deref_mut().filter(|b| b.role.state == BackendState::Busy) {
            match both_ways(client, backend, lane, tools) {
                Ok(any) => moved |= any,
                Err(failure) => return Outcome::Failed(failure),
            }
        }
        match client.flush(tools.blocks, tools.now) {
            Ok(any) => moved |= any,
            Err(_) => return Outcome::Failed(Failure::CLIENT_GONE),
        }
        if lane.exchange.is_response_done() {
            let waits = !client.output.is_empty() || backend.as_ref().is_some_and(|b| tunnel_waits(b, lane));
            if !waits {
                return Outcome::Finished;
            }
            if backend.is_some() && !lane.exchange.tunnel {
                return Outcome::ReleaseBackend;
            }
        }
        if !moved {
            return Outcome::Wait;
        }
    }
    Outcome::Again
}

/// A tunnel's last bytes to the server have to leave before it is over.
fn tunnel_waits<S>(backend: &Backend<S>, lane: &Lane) -> bool {
    lane.exchange.tunnel && !backend.output.is_empty() && !backend.role.write_failed
}

fn both_ways<S: Transport>(
    client: &mut Client<S>,
    backend: &mut Backend<S>,
    lane: &mut Lane,
    tools: &mut Tools<'_>,
) -> Result<bool, Failure> {
    let mut moved = request_way(client, backend, lane, tools)?;
    moved |= flush_backend(backend, lane, tools)?;
    moved |= response_way(client, backend, lane, tools)?;
    Ok(moved)
}

/// Client to server: the request's body (its head was written when the connection was had).
fn request_way<S: Transport>(
    client: &mut Client<S>,
    backend: &mut Backend<S>,
    lane: &mut Lane,
    tools: &mut Tools<'_>,
) -> Result<bool, Failure> {
    let (mut moved, mut reads) = (false, 0);
    while lane.exchange.request == RequestHalf::Body && !backend.role.write_failed && reads < READS {
        let room = backend.output.room().saturating_sub(FRAME_MAX);
        if room == 0 {
            break;
        }
        if client.input.is_empty() && !client.eof {
            reads += 1;
            if !fill_client(client, lane, tools)? {
                break;
            }
            moved = true;
        }
        let (head, trailers) = (&mut lane.exchange.head, &mut *tools.trailers);
        let decoded = client
            .role
            .codec
            .decode(client.input.bytes(), client.eof, room, head, trailers)
            .map_err(Failure::of_request)?;
        match decoded {
            Some(step) => {
                pass_request(client, backend, lane, &step, tools)?;
                moved = true;
            }
            None if client.eof => return Err(Failure::REQUEST_CUT),
            None => {
                reads += 1;
                if !fill_client(client, lane, tools)? {
                    break;
                }
                moved = true;
            }
        }
    }
    Ok(moved)
}

fn fill_client<S: Transport>(
    client: &mut Client<S>,
    lane: &Lane,
    tools: &mut Tools<'_>,
) -> Result<bool, Failure> {
    client.fill(tools.blocks, tools.now).map_err(|_| client_gone(lane))
}

fn pass_request<S: Transport>(
    client: &mut Client<S>,
    backend: &mut Backend<S>,
    lane: &mut Lane,
    step: &Decoded,
    tools: &mut Tools<'_>,
) -> Result<(), Failure> {
    let x = &mut lane.exchange;
    if let Event::Body(range) = &step.event {
        let body = &client.input.bytes()[range.clone()];
        let frame = backend.role.codec.frame_body(body.len());
        x.received += body.len() as u64;
        x.body_taken = true;
        let parts = [frame.before(), body, frame.after()];
        backend.role.wrote = true;
        if backend.send_body(tools.blocks, parts, tools.now).is_err() {
            writing_failed(backend, tools);
        }
    }
    client.input.consume(tools.blocks, step.consumed);
    if step.end {
        x.request = RequestHalf::Done;
        x.body_taken = true;
        if x.tunnel {
            backend.write_end = WriteEnd::Wanted;
        } else {
            let trailers = (step.event == Event::Trailers).then_some(&*tools.trailers);
            let out = &mut OutputSink { output: &mut backend.output, blocks: tools.blocks };
            backend.role.codec.encode_end(trailers, out);
        }
    }
    Ok(())
}

fn flush_backend<S: Transport>(
    backend: &mut Backend<S>,
    lane: &mut Lane,
    tools: &mut Tools<'_>,
) -> Result<bool, Failure> {
    match backend.flush(tools.blocks, tools.now) {
        Ok(moved) => {
            backend.role.wrote |= moved;
            Ok(moved)
        }
        Err(_) if lane.exchange.tunnel => Err(Failure::RESPONSE_CUT),
        Err(_) => {
            writing_failed(backend, tools);
            Ok(true)
        }
    }
}

/// A server may answer and close without having read the whole request: what it said is still to be read, so a
/// failed write ends only the writing.
fn writing_failed<S: Transport>(backend: &mut Backend<S>, tools: &mut Tools<'_>) {
    backend.role.write_failed = true;
    backend.output.clear(tools.blocks);
    backend.readable = true;
    backend.read_closed = true;
}

/// Server to client.
fn response_way<S: Transport>(
    client: &mut Client<S>,
    backend: &mut Backend<S>,
    lane: &mut Lane,
    tools: &mut Tools<'_>,
) -> Result<bool, Failure> {
    let (mut moved, mut reads) = (false, 0);
    while lane.exchange.response != ResponseHalf::Done && reads < READS {
        let room = client.output.room().saturating_sub(FRAME_MAX);
        if room == 0 {
            break;
        }
        if backend.input.is_empty() && !backend.eof {
            reads += 1;
            if !fill_backend(backend, lane, tools)? {
                break;
            }
            moved = true;
        }
        let bytes = backend.input.bytes();
        if bytes.is_empty() && backend.eof && is_cut(backend, lane) {
            return Err(closed_early(lane));
        }
        if lane.exchange.times.first_byte == NEVER && !bytes.is_empty() {
            lane.exchange.times.first_byte = lane.exchange.elapsed(tools.now);
        }
        let decoded = backend
            .role
            .codec
            .decode(bytes, backend.eof, room, tools.response, tools.trailers)
            .map_err(Failure::of_response)?;
        match decoded {
            Some(step) => {
                pass_response(client, backend, lane, &step, tools)?;
                moved = true;
            }
            None if backend.eof => return Err(Failure::RESPONSE_CUT),
            None => {
                reads += 1;
                if !fill_backend(backend, lane, tools)? {
                    break;
                }
                moved = true;
            }
        }
    }
    Ok(moved)
}

fn fill_backend<S: Transport>(
    backend: &mut Backend<S>,
    lane: &Lane,
    tools: &mut Tools<'_>,
) -> Result<bool, Failure> {
    backend.fill(tools.blocks, tools.now).map_err(|_| closed_early(lane))
}

fn pass_response<S: Transport>(
    client: &mut Client<S>,
    backend: &mut Backend<S>,
    lane: &mut Lane,
    step: &Decoded,
    tools: &mut Tools<'_>,
) -> Result<(), Failure> {
    match &step.event {
        Event::Head => pass_response_head(client, backend, lane, tools)?,
        Event::Body(range) => {
            let body = &backend.input.bytes()[range.clone()];
            let frame = client.role.codec.frame_body(body.len());
            lane.exchange.sent += body.len() as u64;
            let parts = [frame.before(), body, frame.after()];
            client.send_body(tools.blocks, parts, tools.now).map_err(|_| Failure::CLIENT_GONE)?;
        }
        Event::Nothing | Event::Trailers => {}
    }
    backend.input.consume(tools.blocks, step.consumed);
    if step.end {
        end_response(client, lane, step, tools);
    }
    Ok(())
}

fn end_response<S: Transport>(
    client: &mut Client<S>,
    lane: &mut Lane,
    step: &Decoded,
    tools: &mut Tools<'_>,
) {
    lane.exchange.response = ResponseHalf::Done;
    if lane.exchange.tunnel {
        client.write_end = WriteEnd::Wanted;
        return;
    }
    let trailers = (step.event == Event::Trailers).then_some(&*tools.trailers);
    let out = &mut OutputSink { output: &mut client.output, blocks: tools.blocks };
    if client.role.codec.encode_end(trailers, out) == After::MustClose {
        lane.exchange.close_client = true;
    }
}

fn pass_response_head<S: Transport>(
    client: &mut Client<S>,
    backend: &mut Backend<S>,
    lane: &mut Lane,
    tools: &mut Tools<'_>,
) -> Result<(), Failure> {
    match lane.exchange.response_head(tools.response)? {
        ResponseStep::Interim { pass: false } => Ok(()),
        ResponseStep::Interim { pass: true } => {
            rewrite_interim(tools.response);
            let out = &mut OutputSink { output: &mut client.output, blocks: tools.blocks };
            client.role.codec.encode_interim(tools.response, out);
            Ok(())
        }
        ResponseStep::Switch => {
            backend.role.codec.switch();
            rewrite_response(tools.response, tools.date);
            let out = &mut OutputSink { output: &mut client.output, blocks: tools.blocks };
            client.role.codec.encode_switch(tools.response, out);
            lane.exchange.begun = true;
            lane.exchange.close_client = true;
            Ok(())
        }
        ResponseStep::Final => {
            backend.role.keep_alive = tools.response.keep_alive;
            // The server will not read what is left of the request, so the client's connection cannot go on.
            lane.exchange.close_client |=
                lane.exchange.request == RequestHalf::Body && !tools.response.keep_alive;
            pass_final_head(client, lane, tools)
        }
    }
}

fn pass_final_head<S: Transport>(
    client: &mut Client<S>,
    lane: &mut Lane,
    tools: &mut Tools<'_>,
) -> Result<(), Failure> {
    let x = &mut lane.exchange;
    rewrite_response(tools.response, tools.date);
    if tools.router.config.on_response {
        let about = script::Client { address: x.client, scheme: x.scheme.text(), id: x.id.as_bytes() };
        if let Err(error) = tools.router.respond(&mut x.head, about, tools.response) {
            log::error!("on_response: {}", error.0);
            return Err(Failure::SCRIPT);
        }
    }
    let facts = RequestFacts::of(&x.head);
    let persistence = x.persistence(tools.draining);
    let out = &mut OutputSink { output: &mut client.output, blocks: tools.blocks };
    let (_, persistence) = client.role.codec.encode_head(facts, tools.response, persistence, out);
    x.begun = true;
    x.close_client |= persistence == Persistence::Close;
    Ok(())
}
