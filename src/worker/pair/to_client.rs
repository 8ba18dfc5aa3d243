//! From server to client: interim and final heads, rewritten, and the body.

use std::io;
use std::ops::Range;

use crate::exchange::record::NEVER;
use crate::exchange::{Failure, ResponseHalf, ResponseStep, rewrite_interim, rewrite_response};
use crate::h1::{After, RequestFacts};
use crate::http::{Codec, Decoded, Event, Fault, Name, Persistence, keep_alive_timeout};
use crate::net::{self, Transport};
use crate::route::Responded;
use crate::worker::conn::backend::{Backend, BackendSide};
use crate::worker::conn::client::Client;
use crate::worker::conn::connection::OutputSink;
use crate::worker::pair::Pair;
use crate::worker::pair::closed::{closed_early, is_cut};
use crate::worker::pair::pump::{READS, Tools, is_early};
use crate::worker::pair::response_buffer::make_room;
use crate::worker::pair::splice::{self, SpliceResult};
use crate::worker::pair::to_server::flush_backend;
use crate::worker::pair::tunnel;
use crate::worker::pair::waiting::{Asks, HandlerResponse};

/// Server to client.
#[inline(always)]
pub fn to_client<S: Transport>(
    client: &mut Client<S>,
    backend: &mut Backend<S>,
    pair: &mut Pair,
    tools: &mut Tools<S>,
) -> Result<bool, Failure> {
    let (mut moved, most) = (false, tools.reads + READS);
    while pair.exchange.response.takes_more()
        && tools.reads < most
        && !backend.is_silent()
        && (client.room() > 0 || make_room(client, pair, tools))
    {
        if !step(client, backend, pair, tools)? {
            break;
        }
        moved = true;
    }
    Ok(moved)
}

/// Returns true if bytes or an end were read or passed on. Not inlined into the loop, like `pump::round`.
#[inline(never)]
fn step<S: Transport>(
    client: &mut Client<S>,
    backend: &mut Backend<S>,
    pair: &mut Pair,
    tools: &mut Tools<S>,
) -> Result<bool, Failure> {
    if backend.input.is_empty() && !backend.eof {
        match splice::response(client, backend, pair, tools)? {
            SpliceResult::No => {}
            SpliceResult::Empty => return Ok(false),
            SpliceResult::Moved => return Ok(true),
        }
        if !fill_backend(backend, pair, tools)? {
            return Ok(false);
        }
    }
    let bytes = backend.input.bytes();
    if bytes.is_empty() && backend.eof && is_cut(backend, pair) {
        return Err(closed_early(pair));
    }
    if pair.exchange.times.first_byte == NEVER && !bytes.is_empty() {
        pair.exchange.times.first_byte = pair.exchange.elapsed(tools.now);
    }
    let (room, limits, head) = (client.room(), &pair.site.heads.response, &mut tools.response);
    let decoded = backend
        .role
        .codec
        .decode(bytes, backend.eof, room, limits, head, &mut tools.trailers)
        .map_err(Failure::of_response)?;
    emit(backend, tools);
    match decoded {
        Some(step) => pass_response(client, backend, pair, &step, tools).map(|()| true),
        None if backend.eof => Err(Failure::ResponseCut),
        None => fill_further(backend, pair, tools),
    }
}

/// Sends frames the codec generates itself.
fn emit<S: Transport>(backend: &mut Backend<S>, tools: &mut Tools<S>) {
    if backend.role.codec.emit(&mut OutputSink { output: &mut backend.output, blocks: &mut tools.blocks }) {
        flush_backend(backend, tools);
    }
}

/// Reads more of an incomplete message: a head longer than a block must be buffered as a whole.
fn fill_further<S: Transport>(
    backend: &mut Backend<S>,
    pair: &Pair,
    tools: &mut Tools<S>,
) -> Result<bool, Failure> {
    backend.input.grow(pair.site.heads.response.bytes);
    fill_backend(backend, pair, tools)
}

fn fill_backend<S: Transport>(
    backend: &mut Backend<S>,
    pair: &Pair,
    tools: &mut Tools<S>,
) -> Result<bool, Failure> {
    tools.reads += 1;
    match backend.fill(&mut tools.blocks, tools.now) {
        Ok(came) => Ok(came),
        Err(error) => read_failed(error, backend, pair, tools),
    }
}

#[cold]
fn read_failed<S: Transport>(
    error: io::Error,
    backend: &mut Backend<S>,
    pair: &Pair,
    tools: &mut Tools<S>,
) -> Result<bool, Failure> {
    // In TLS 1.3 a server checks rsp's certificate after the handshake is over for rsp.
    if pair.exchange.response == ResponseHalf::Waiting && net::is_refused_certificate(&error) {
        tools.refused_certificate = Some(error);
        return Err(Failure::Tls);
    }
    // Nothing can have been cut off a WebSocket after its Close frame.
    if error.kind() == io::ErrorKind::UnexpectedEof && pair.has_server_closed() {
        backend.eof = true;
        return Ok(true);
    }
    Err(closed_early(pair))
}

fn pass_response<S: Transport>(
    client: &mut Client<S>,
    backend: &mut Backend<S>,
    pair: &mut Pair,
    step: &Decoded,
    tools: &mut Tools<S>,
) -> Result<(), Failure> {
    debug_assert_eq!(step.stream, pair.target, "another stream's has its own pair");
    let (mut consumed, mut end) = (step.consumed, step.end);
    match &step.event {
        Event::Reset => return Err(closed_early(pair)),
        Event::Head => {
            pass_response_head(client, backend, pair, tools)?;
            if tools.asks.is_some() {
                return wait_with_head(backend, pair, step, tools);
            }
            // Most small responses are complete after one read.
            let (rest, here) = (backend.role.codec.known_rest(pair.target), backend.input.len() - consumed);
            if rest > 0 && rest <= here.min(client.room()) as u64 {
                let body = consumed..consumed + rest as usize;
                pass_body(client, backend, pair, (body.clone(), body.end), tools)?;
                end = backend.role.codec.pass(pair.target, rest);
                consumed = body.end;
            }
        }
        Event::Body(range) if pair.is_tunnel() => pass_tunnel(client, backend, pair, range.clone(), tools)?,
        Event::Body(range) => pass_body(client, backend, pair, (range.clone(), consumed), tools)?,
        // An empty line before a response is not part of it: a server that closes after it has not begun to respond.
        Event::Nothing if pair.exchange.is_unanswered() => pair.exchange.times.first_byte = NEVER,
        Event::Nothing | Event::Trailers => {}
    }
    backend.input.consume(&mut tools.blocks, consumed);
    if end {
        end_response(client, pair, step.event == Event::Trailers, tools);
    }
    Ok(())
}

/// The handler waits with the head, which is taken from the input.
#[cold]
fn wait_with_head<S: Transport>(
    backend: &mut Backend<S>,
    pair: &Pair,
    step: &Decoded,
    tools: &mut Tools<S>,
) -> Result<(), Failure> {
    if let Some(asks) = &mut tools.asks {
        asks.ends_with_head(step.end);
    }
    // The rest of the response may be here already, but is looked at after the handler.
    if is_early(backend, pair) {
        backend.role.keep_alive = false;
    }
    backend.input.consume(&mut tools.blocks, step.consumed);
    Ok(())
}

/// Passes on the bytes in `range`; `done` is where the next message part starts in the input.
fn pass_body<S: Transport>(
    client: &mut Client<S>,
    backend: &Backend<S>,
    pair: &mut Pair,
    (range, done): (Range<usize>, usize),
    tools: &mut Tools<S>,
) -> Result<(), Failure> {
    let more = backend.input.len() > done;
    let body = &backend.input.bytes()[range];
    let frame = client.role.codec.frame_body(pair.source, body.len());
    pair.exchange.sent += body.len() as u64;
    let parts = [frame.before(), body, frame.after()];
    client.send_body(&mut tools.blocks, parts, more, tools.now).map_err(|_| Failure::ClientGone)
}

/// Passes on bytes of a tunnel, as far as they still go to the client.
#[inline(never)]
fn pass_tunnel<S: Transport>(
    client: &mut Client<S>,
    backend: &mut Backend<S>,
    pair: &mut Pair,
    range: Range<usize>,
    tools: &mut Tools<S>,
) -> Result<(), Failure> {
    let passed = pair.passes_to_client(&backend.input.bytes()[range.clone()]);
    if passed > 0 {
        let passed = range.start..range.start + passed;
        pass_body(client, backend, pair, (passed, range.end), tools)?;
    }
    tunnel::close_if_due(client, backend, pair, tools);
    Ok(())
}

pub fn end_response<S: Transport>(
    client: &mut Client<S>,
    pair: &mut Pair,
    trailers: bool,
    tools: &mut Tools<S>,
) {
    pair.exchange.response = ResponseHalf::Done;
    if pair.is_tunnel() {
        client.end_output();
        return;
    }
    let trailers = trailers.then_some(&tools.trailers);
    let out = &mut OutputSink { output: &mut client.output, blocks: &mut tools.blocks };
    if client.role.codec.encode_end(pair.source, trailers, out) == After::MustClose {
        pair.exchange.close_client = true;
    }
}

fn pass_response_head<S: Transport>(
    client: &mut Client<S>,
    backend: &mut Backend<S>,
    pair: &mut Pair,
    tools: &mut Tools<S>,
) -> Result<(), Failure> {
    // The server would take unsent request bytes for the tunnel's.
    if tools.response.status == 101 && (backend.role.write_failed || !backend.is_flushed()) {
        return Err(Failure::of_response(Fault::Status));
    }
    match pair.exchange.response_head(&tools.response)? {
        ResponseStep::Interim { pass } => pass_interim(client, pair, tools, pass),
        ResponseStep::Switch => {
            observe_response(&mut backend.role, pair, tools);
            pass_switch(client, backend, pair, tools);
        }
        ResponseStep::Final => {
            backend.role.keep_alive = tools.response.keep_alive;
            if observe_response(&mut backend.role, pair, tools) {
                return Ok(());
            }
            return pass_final_head(client, pair, tools);
        }
    }
    Ok(())
}

/// A final response tells about its server. Returns true if it is that of a second try.
#[inline(always)]
fn observe_response<S: Transport>(role: &mut BackendSide, pair: &mut Pair, tools: &mut Tools<S>) -> bool {
    let now = tools.now;
    if tools.response.fields.has(Name::KeepAlive)
        && let Some(limit) = keep_alive_timeout(&tools.response.fields)
    {
        role.server.idle_limit.note_limit(limit, now);
    }
    if pair.tells_of_server() {
        pair.note_response(tools.response.status, now.saturating_sub(role.since), now);
        return pair.meets_hedge(tools);
    }
    false
}

#[cold]
fn pass_interim<S: Transport>(client: &mut Client<S>, pair: &mut Pair, tools: &mut Tools<S>, pass: bool) {
    if !pass {
        return;
    }
    if tools.response.status == 100 {
        pair.exchange.continue_at.get_or_insert(tools.now);
    }
    rewrite_interim(&mut tools.response);
    let before = client.output.len();
    let out = &mut OutputSink { output: &mut client.output, blocks: &mut tools.blocks };
    client.role.codec.encode_interim(&tools.response, out);
    note_head(client, pair, before);
}

#[cold]
fn pass_switch<S: Transport>(
    client: &mut Client<S>,
    backend: &mut Backend<S>,
    pair: &mut Pair,
    tools: &mut Tools<S>,
) {
    backend.role.codec.switch();
    rewrite_response(&mut tools.response, &tools.date);
    let before = client.output.len();
    let out = &mut OutputSink { output: &mut client.output, blocks: &mut tools.blocks };
    client.role.codec.encode_switch(&tools.response, out);
    note_head(client, pair, before);
    if pair.site.routes.config.on_log {
        pair.save_sent_head(&tools.response);
    }
    pair.begin_tunnel();
    pair.response_begins();
    if tools.draining {
        tunnel::close(client, backend, pair, tools);
    }
}

#[inline(always)]
pub fn pass_final_head<S: Transport>(
    client: &mut Client<S>,
    pair: &mut Pair,
    tools: &mut Tools<S>,
) -> Result<(), Failure> {
    rewrite_response(&mut tools.response, &tools.date);
    if pair.site.routes.config.on_response && !pair.is_inside() {
        ask_script(pair, tools)?;
        if tools.asks.is_some() {
            return Ok(());
        }
    }
    pass_final(client, pair, tools);
    Ok(())
}

/// Passes on a response whose head a handler that waited has judged; `whole`: nothing follows it.
#[cold]
pub fn pass_judged<S: Transport>(client: &mut Client<S>, pair: &mut Pair, whole: bool, tools: &mut Tools<S>) {
    pair.exchange.response = ResponseHalf::Waiting;
    pass_final(client, pair, tools);
    if whole {
        end_response(client, pair, false, tools);
    }
}

#[inline(always)]
fn pass_final<S: Transport>(client: &mut Client<S>, pair: &mut Pair, tools: &mut Tools<S>) {
    if let Some(context) = &pair.exchange.listener_context {
        context.add_hsts(&mut tools.response);
    }
    if pair.route.as_ref().is_some_and(|route| route.pool.config.sticky.is_some())
        && let Some(cookie) = pair.session_cookie()
    {
        tools.response.fields.append(b"Set-Cookie", cookie.as_bytes());
    }
    if pair.site.routes.config.on_log {
        pair.save_sent_head(&tools.response);
    }
    let x = &mut pair.exchange;
    x.begin_response(&tools.response);
    let facts = RequestFacts::of(&x.head);
    let persistence = x.persistence(tools.draining);
    let before = client.output.len();
    let out = &mut OutputSink { output: &mut client.output, blocks: &mut tools.blocks };
    let (_, persistence) = client.role.codec.encode_head(facts, &tools.response, persistence, out);
    x.close_client |= persistence == Persistence::Close;
    note_head(client, pair, before);
    pair.response_begins();
}

/// Counts a head that is in the client's output now; `before`: the length without it.
#[inline(always)]
fn note_head<S: Transport>(client: &Client<S>, pair: &mut Pair, before: usize) {
    pair.exchange.sent_heads += (client.output.len() - before) as u32;
}

#[inline(never)]
fn ask_script<S: Transport>(pair: &mut Pair, tools: &mut Tools<S>) -> Result<(), Failure> {
    let Pair { exchange: x, handlers, site, .. } = pair;
    let Some(handlers) = handlers else { return Err(Failure::Internal) };
    match handlers.borrow_mut().on_response(x, &mut tools.response, &site.routes.config) {
        Responded::Ok => {}
        Responded::Waits(wait, call) => {
            x.response = ResponseHalf::InHandler;
            let response = HandlerResponse { head: std::mem::take(&mut tools.response), whole: false };
            tools.asks = Some(Box::new(Asks::Wait { wait, call, response }));
        }
        Responded::Unchanged(error) => tools.errors.response_unchanged(&error, tools.now),
        Responded::Failed(error) => return Err(tools.errors.failed("on_response", &error, tools.now)),
    }
    Ok(())
}
