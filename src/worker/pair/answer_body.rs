//! From rsp itself to a client: the body of a scripted answer that its output does not take at once. It goes out by
//! room, like a server's; the body is shared by all who are given the same one, so that a client which reads slowly
//! has a place in it and no copy.

use crate::exchange::{Failure, ResponseHalf};
use crate::h1::After;
use crate::http::Codec;
use crate::net::Transport;
use crate::script::Body;
use crate::worker::conn::client::Client;
use crate::worker::conn::connection::OutputSink;
use crate::worker::pair::Pair;
use crate::worker::pair::pump::Tools;

/// Pieces of at most a block, before others get their turn.
const PIECES: usize = 4;

/// What a client has yet to get of an answer's body.
pub struct AnswerBody {
    body: Body,
    /// Bytes that are in its output or further.
    passed: usize,
}

impl AnswerBody {
    pub fn new(body: Body) -> AnswerBody {
        AnswerBody { body, passed: 0 }
    }
}

/// True if anything moved. Few pairs ever come here.
#[inline(never)]
pub fn send_answer<S: Transport>(
    client: &mut Client<S>,
    pair: &mut Pair,
    tools: &mut Tools<S>,
) -> Result<bool, Failure> {
    let Some(answer) = &mut pair.answer else { return Ok(false) };
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
    pair.answer = None;
    pair.exchange.response = ResponseHalf::Done;
    let out = &mut OutputSink { output: &mut client.output, blocks: &mut tools.blocks };
    pair.exchange.close_client |= client.role.codec.encode_end(pair.source, None, out) == After::MustClose;
}
