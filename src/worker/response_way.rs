//! From server to client: interim and final heads, rewritten, and the body behind them.

use super::connection::{OutputSink, WriteEnd};
use super::ends::{closed_early, is_cut};
use super::pump::{Progress, Tools};
use super::sides::{Backend, Client, Lane};
use super::splice::{self, Spliced};
use crate::exchange::record::NEVER;
use crate::exchange::{Failure, RequestHalf, ResponseHalf, ResponseStep, rewrite_interim, rewrite_response};
use crate::h1::{After, RequestFacts};
use crate::http::{Decoded, Event, Persistence};
use crate::net::Transport;
use crate::script;

/// Reads of one direction before the other has its turn.
const READS: usize = 4;

/// Server to client.
pub fn response_way<S: Transport>(
    client: &mut Client<S>,
    backend: &mut Backend<S>,
    lane: &mut Lane,
    tools: &mut Tools<'_, S>,
) -> Result<bool, Failure> {
    let (mut moved, mut reads) = (false, 0);
    while lane.exchange.response != ResponseHalf::Done && reads < READS && client.room() > 0 {
        match step(client, backend, lane, tools)? {
            Progress::Stuck => break,
            Progress::Read => reads += 1,
            Progress::Passed => {}
        }
        moved = true;
    }
    Ok(moved)
}

fn step<S: Transport>(
    client: &mut Client<S>,
    backend: &mut Backend<S>,
    lane: &mut Lane,
    tools: &mut Tools<'_, S>,
) -> Result<Progress, Failure> {
    match splice::response(client, backend, lane, tools)? {
        Spliced::No => {}
        Spliced::Empty => return Ok(Progress::Stuck),
        Spliced::Moved => return Ok(Progress::Read),
    }
    if backend.input.is_empty() && !backend.eof {
        return fill_backend(backend, lane, tools);
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
        .decode(bytes, backend.eof, client.room(), tools.response, tools.trailers)
        .map_err(Failure::of_response)?;
    match decoded {
        Some(step) => {
            pass_response(client, backend, lane, &step, tools)?;
            Ok(Progress::Passed)
        }
        None if backend.eof => Err(Failure::RESPONSE_CUT),
        None => fill_backend(backend, lane, tools),
    }
}

fn fill_backend<S: Transport>(
    backend: &mut Backend<S>,
    lane: &Lane,
    tools: &mut Tools<'_, S>,
) -> Result<Progress, Failure> {
    backend.fill(tools.blocks, tools.now).map(Progress::of_read).map_err(|_| closed_early(lane))
}

fn pass_response<S: Transport>(
    client: &mut Client<S>,
    backend: &mut Backend<S>,
    lane: &mut Lane,
    step: &Decoded,
    tools: &mut Tools<'_, S>,
) -> Result<(), Failure> {
    match &step.event {
        Event::Head => pass_response_head(client, backend, lane, tools)?,
        Event::Body(range) => {
            let body = &backend.input.bytes()[range.clone()];
            let frame = client.role.codec.frame_body(body.len());
            lane.exchange.sent += body.len() as u64;
            let parts = [frame.before(), body, frame.after()];
            let more = backend.input.len() > step.consumed;
            client.send_body(tools.blocks, parts, more, tools.now).map_err(|_| Failure::CLIENT_GONE)?;
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
    tools: &mut Tools<'_, S>,
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
    tools: &mut Tools<'_, S>,
) -> Result<(), Failure> {
    match lane.exchange.response_head(tools.response)? {
        ResponseStep::Interim { pass: false } => Ok(()),
        ResponseStep::Interim { pass: true } => {
            if tools.response.status == 100 {
                lane.exchange.asked_for_body.get_or_insert(tools.now);
            }
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
            // What is left of the request may never be read to its end, so the client's connection cannot go on;
            // that it will close is to be said while that can be said.
            lane.exchange.close_client |= lane.exchange.request == RequestHalf::Body;
            pass_final_head(client, lane, tools)
        }
    }
}

fn pass_final_head<S: Transport>(
    client: &mut Client<S>,
    lane: &mut Lane,
    tools: &mut Tools<'_, S>,
) -> Result<(), Failure> {
    let x = &mut lane.exchange;
    rewrite_response(tools.response, tools.date);
    if tools.router.config.on_response {
        let about = script::Client { address: x.client, scheme: x.scheme.text(), id: x.id.as_bytes() };
        if let Err(error) = tools.router.respond(&mut x.head, about, tools.response) {
            tools.errors.log("on_response", &error, "", tools.now);
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
