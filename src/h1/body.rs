//! Parses the body of one message: which bytes belong to it and where it ends.

use std::ops::Range;

use super::chunked::Chunked;
use super::lenient::Leniency;
use crate::http::{Decoded, Event, Fault, Fields, Framing, StreamId};

/// What is left of a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum BodyDecoder {
    /// This many bytes, at least one.
    Exact(u64),
    Chunked(Chunked),
    /// Everything until the connection closes, which is a proper end (`UntilClose`, `Tunnel`).
    Rest,
}

impl BodyDecoder {
    /// `None` for an empty body.
    pub(super) fn of(framing: Framing) -> Option<BodyDecoder> {
        match framing {
            Framing::None | Framing::Exact(0) => None,
            Framing::Exact(n) => Some(BodyDecoder::Exact(n)),
            Framing::Chunked => Some(BodyDecoder::Chunked(Chunked::START)),
            Framing::UntilClose | Framing::Tunnel => Some(BodyDecoder::Rest),
        }
    }

    pub(super) fn step(
        &mut self,
        input: &[u8],
        eof: bool,
        limit: usize,
        trailers: &mut Fields,
        leniency: &mut Leniency,
    ) -> Result<Option<Decoded>, Fault> {
        let decoded = match self {
            BodyDecoder::Exact(left) => exact(left, input, limit),
            BodyDecoder::Chunked(chunked) => chunked.step(input, limit, trailers, leniency)?,
            BodyDecoder::Rest if input.is_empty() && eof => Some(end(0, Event::Nothing)),
            BodyDecoder::Rest => some_body(input.len().min(limit)),
        };
        match decoded {
            None if eof && self.is_cut(input, limit) => Err(Fault::CutBody),
            decoded => Ok(decoded),
        }
    }

    /// Whether more bytes are needed, and not only a larger limit.
    fn is_cut(&self, input: &[u8], limit: usize) -> bool {
        let waits_for_room = limit == 0 && !input.is_empty();
        match self {
            BodyDecoder::Exact(_) | BodyDecoder::Chunked(Chunked::Data { .. }) => !waits_for_room,
            BodyDecoder::Chunked(_) => true,
            BodyDecoder::Rest => false,
        }
    }
}

fn exact(left: &mut u64, input: &[u8], limit: usize) -> Option<Decoded> {
    let take = input.len().min(limit).min(usize::try_from(*left).unwrap_or(usize::MAX));
    *left -= take as u64;
    let decoded = some_body(take)?;
    Some(Decoded { end: *left == 0, ..decoded })
}

/// The first `len` bytes are body; `None` for 0.
fn some_body(len: usize) -> Option<Decoded> {
    (len > 0).then(|| body(0..len))
}

/// A body event; the framing before its range is consumed too.
pub(super) fn body(range: Range<usize>) -> Decoded {
    Decoded { stream: StreamId::ONLY, consumed: range.end, event: Event::Body(range), end: false }
}

/// Consumed framing without an event, if any.
pub(super) fn nothing(consumed: usize) -> Option<Decoded> {
    (consumed > 0).then_some(Decoded { stream: StreamId::ONLY, consumed, event: Event::Nothing, end: false })
}

/// The event that ends a message.
pub(super) fn end(consumed: usize, event: Event) -> Decoded {
    Decoded { stream: StreamId::ONLY, consumed, event, end: true }
}
