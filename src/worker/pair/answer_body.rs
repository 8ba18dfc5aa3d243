//! Scripted bodies too large for a client's output. They are sent as room becomes available, like a server's body;
//! clients that get the same body share it, so a slow one holds an offset and not a copy.

use crate::exchange::{Failure, ResponseHalf};
use crate::h1::After;
use crate::http::Codec;
use crate::net::Transport;
use crate::script::Body;
use crate::worker::conn::client::Client;
use crate::worker::conn::connection::OutputSink;
use crate::worker::pair::pump::Tools;
use crate::worker::pair::request_body_buffer::fill_held;
use crate::worker::pair::{Pair, Stage};

/// Pieces of at most a block sent per turn.
const PIECES: usize = 4;

/// The unsent rest of a scripted body.
pub struct AnswerBody {
    body: Body,
    /// Bytes already moved to the client's output.
    passed: usize,
}

impl AnswerBody {
    pub fn new(body: Body) -> AnswerBody {
        AnswerBody { body, passed: 0 }
    }
}

/// What is there to do without a server: a large answer is sent, or a body is held. Returns true if anything was moved.
/// Not inlined: few pairs need it.
#[inline(never)]
pub fn send_answer<S: Transport>(
    client: &mut Client<S>,
    pair: &mut Pair,
    tools: &mut Tools<S>,
) -> Result<bool, Failure> {
    let Stage::Delivering(Some(answer)) = &mut pair.stage else { return fill_held(client, pair, tools) };
    let mut moved = false;
    for _ in 0..PIECES {
        let left = &answer.body[answer.passed..];
        let piece = &left[..left.len().min(client.room())];
        if piece.is_empty() {
            break;
        }
        let frame = client.role.codec.frame_body(pair.source, piece.len());
        let parts = [frame.before(), piece, frame.after()];
        answer.passed += piece.len();
        pair.exchange.sent += piece.len() as u64;
        client.send_body(&mut tools.blocks, parts, false, tools.now).map_err(|_| Failure::ClientGone)?;
        moved = true;
    }
    if answer.passed == answer.body.len() {
        end(client, pair, tools);
    }
    Ok(moved)
}

fn end<S: Transport>(client: &mut Client<S>, pair: &mut Pair, tools: &mut Tools<S>) {
    pair.stage = Stage::Delivering(None);
    pair.exchange.response = ResponseHalf::Done;
    let out = &mut OutputSink { output: &mut client.output, blocks: &mut tools.blocks };
    pair.exchange.close_client |= client.role.codec.encode_end(pair.source, None, out) == After::MustClose;
}
