//! From client to server: the request's body, as far as it has arrived and there is room. The head was written when the
//! connection was attached.

use crate::exchange::{Failure, RequestHalf, remove_client_headers};
use crate::http::{Codec, Decoded, Event, Fields};
use crate::net::Transport;
use crate::worker::conn::backend::Backend;
use crate::worker::conn::client::Client;
use crate::worker::conn::connection::OutputSink;
use crate::worker::pair::Pair;
use crate::worker::pair::closed::client_gone;
use crate::worker::pair::pump::{READS, Tools};
use crate::worker::pair::request_body_buffer::send_held;
use crate::worker::pair::splice::{self, SpliceResult};

/// Client to server: the request's body.
#[inline(always)]
pub fn to_server<S: Transport>(
    client: &mut Client<S>,
    backend: &mut Backend<S>,
    pair: &mut Pair,
    tools: &mut Tools<S>,
) -> Result<bool, Failure> {
    let (mut moved, most) = (false, tools.reads + READS);
    while pair.exchange.request.is_open()
        && !backend.role.write_failed
        && tools.reads < most
        && backend.room() > 0
    {
        if !step(client, backend, pair, tools)? {
            break;
        }
        moved = true;
    }
    Ok(moved)
}

/// Returns true if bytes or an end were read or passed on. Not inlined: most requests have no body.
#[inline(never)]
fn step<S: Transport>(
    client: &mut Client<S>,
    backend: &mut Backend<S>,
    pair: &mut Pair,
    tools: &mut Tools<S>,
) -> Result<bool, Failure> {
    match pair.held {
        Some(_) => send_held(client, backend, pair, tools),
        None => pass_on(client, backend, pair, tools),
    }
}

fn pass_on<S: Transport>(
    client: &mut Client<S>,
    backend: &mut Backend<S>,
    pair: &mut Pair,
    tools: &mut Tools<S>,
) -> Result<bool, Failure> {
    if client.input.is_empty() && !client.eof {
        return match splice::request(client, backend, pair, tools)? {
            SpliceResult::No => fill_client(client, pair, tools),
            SpliceResult::Empty => Ok(false),
            SpliceResult::Moved => Ok(true),
        };
    }
    let (head, trailers) = (&mut pair.exchange.head, &mut tools.trailers);
    let decoded = client
        .role
        .codec
        .decode(client.input.bytes(), client.eof, backend.room(), &pair.site.heads.request, head, trailers)
        .map_err(Failure::of_request);
    // Flushed by the round.
    client.role.codec.emit(&mut OutputSink { output: &mut client.output, blocks: &mut tools.blocks });
    // A client that sees such a response should end its side (RFC 9112 section 9.5).
    if client.eof
        && pair.exchange.request == RequestHalf::Ending
        && matches!(decoded, Ok(None) | Err(Failure::RequestCut))
    {
        return Ok(false);
    }
    match decoded? {
        Some(step) if step.event == Event::Reset => Err(client_gone(pair)),
        Some(step) => {
            pass_request(client, backend, pair, &step, tools)?;
            Ok(true)
        }
        None if client.eof => Err(Failure::RequestCut),
        None => fill_client(client, pair, tools),
    }
}

fn fill_client<S: Transport>(
    client: &mut Client<S>,
    pair: &Pair,
    tools: &mut Tools<S>,
) -> Result<bool, Failure> {
    tools.reads += 1;
    client.fill(&mut tools.blocks, tools.now).map_err(|_| client_gone(pair))
}

fn pass_request<S: Transport>(
    client: &mut Client<S>,
    backend: &mut Backend<S>,
    pair: &mut Pair,
    step: &Decoded,
    tools: &mut Tools<S>,
) -> Result<(), Failure> {
    debug_assert_eq!(step.stream, pair.source, "another stream's has its own pair");
    let tunnel = pair.is_tunnel();
    let mut end = step.end;
    if let Event::Body(range) = &step.event {
        let body = &client.input.bytes()[range.clone()];
        end |= tunnel && pair.client_answers_close(body);
        let x = &mut pair.exchange;
        let frame = backend.role.codec.frame_body(pair.target, body.len());
        x.received += body.len() as u64;
        let most = pair.site.settings().max_body;
        if !tunnel && most.is_some_and(|most| x.received > most) {
            return Err(Failure::TooLarge);
        }
        x.take_body(false);
        let parts = [frame.before(), body, frame.after()];
        let more = client.input.len() > step.consumed;
        if backend.send_body(&mut tools.blocks, parts, more, tools.now).is_err() {
            writing_failed(backend, tools);
        }
    }
    client.input.consume(&mut tools.blocks, step.consumed);
    if end && tunnel && client.stream.was_truncated() && !pair.has_client_closed() {
        // The server would take the cut for the body's end.
        return Err(Failure::ClientGone);
    }
    if end {
        end_request(client, backend, pair, step.event == Event::Trailers, tools);
    }
    Ok(())
}

pub fn end_request<S: Transport>(
    client: &mut Client<S>,
    backend: &mut Backend<S>,
    pair: &mut Pair,
    trailers: bool,
    tools: &mut Tools<S>,
) {
    pair.exchange.take_body(true);
    if pair.is_tunnel() {
        backend.end_output();
        if pair.is_client_asked_to_close() {
            client.end_output();
        }
        return;
    }
    let trailers = trailers.then(|| believable(&mut tools.trailers, pair));
    let out = &mut OutputSink { output: &mut backend.output, blocks: &mut tools.blocks };
    backend.role.codec.encode_end(pair.target, trailers, out);
}

/// Without what only rsp may say of a client: a server that merges trailers into the head would believe it.
#[cold]
fn believable<'a>(trailers: &'a mut Fields, pair: &Pair) -> &'a Fields {
    remove_client_headers(trailers, &pair.site.routes.config.client_headers);
    trailers
}

#[inline(always)]
pub fn flush_backend<S: Transport>(backend: &mut Backend<S>, tools: &mut Tools<S>) -> bool {
    // What a filter holds inside would fail again each time.
    if backend.role.write_failed {
        return false;
    }
    match backend.flush(&mut tools.blocks, tools.now) {
        Ok(moved) => moved,
        Err(_) => {
            writing_failed(backend, tools);
            true
        }
    }
}

/// Marks writing as failed. A server may respond and close without reading the whole request (or all of a tunnel's
/// bytes), so its response is still read.
pub fn writing_failed<S: Transport>(backend: &mut Backend<S>, tools: &mut Tools<S>) {
    backend.role.write_failed = true;
    backend.clear_output(&mut tools.blocks);
    backend.readable = true;
    backend.read_closed = true;
}
