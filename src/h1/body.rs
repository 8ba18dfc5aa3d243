//! Reads the body of one message: which of the next bytes are its own and whether it ends with them.

use std::ops::Range;

use super::chunked::Chunked;
use super::lenient::Leniency;
use crate::http::{Decoded, Event, Fault, Fields, Framing, StreamId};

/// What is still to come of a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Body {
    /// This many bytes, at least one.
    Exact(u64),
    Chunked(Chunked),
    /// All until the connection ends, which is a good end (`UntilClose`, `Tunnel`).
    Rest,
}

impl Body {
    /// None if there is nothing to come.
    pub(super) fn of(framing: Framing) -> Option<Body> {
        match framing {
            Framing::None | Framing::Exact(0) => None,
            Framing::Exact(n) => Some(Body::Exact(n)),
            Framing::Chunked => Some(Body::Chunked(Chunked::START)),
            Framing::UntilClose | Framing::Tunnel => Some(Body::Rest),
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
            Body::Exact(left) => exact(left, input, limit),
            Body::Chunked(chunked) => chunked.step(input, limit, trailers, leniency)?,
            Body::Rest if input.is_empty() && eof => Some(end(0, Event::Nothing)),
            Body::Rest => some_body(input.len().min(limit)),
        };
        match decoded {
            None if eof && self.is_cut(input, limit) => Err(Fault::CutBody),
            decoded => Ok(decoded),
        }
    }

    /// Whether more bytes are needed, and not only more room for those that are here.
    fn is_cut(&self, input: &[u8], limit: usize) -> bool {
        let waits_for_room = limit == 0 && !input.is_empty();
        match self {
            Body::Exact(_) | Body::Chunked(Chunked::Data { .. }) => !waits_for_room,
            Body::Chunked(_) => true,
            Body::Rest => false,
        }
    }
}

fn exact(left: &mut u64, input: &[u8], limit: usize) -> Option<Decoded> {
    let take = input.len().min(limit).min(usize::try_from(*left).unwrap_or(usize::MAX));
    *left -= take as u64;
    let decoded = some_body(take)?;
    Some(Decoded { end: *left == 0, ..decoded })
}

/// The first `len` bytes are body, unless there are none.
fn some_body(len: usize) -> Option<Decoded> {
    (len > 0).then(|| body(0..len))
}

/// A body step, with the framing in front of its range used up.
pub(super) fn body(range: Range<usize>) -> Decoded {
    Decoded { stream: StreamId::ONLY, consumed: range.end, event: Event::Body(range), end: false }
}

/// Progress in framing alone, if there was any.
pub(super) fn nothing(consumed: usize) -> Option<Decoded> {
    (consumed > 0).then_some(Decoded { stream: StreamId::ONLY, consumed, event: Event::Nothing, end: false })
}

/// The step that ends a message.
pub(super) fn end(consumed: usize, event: Event) -> Decoded {
    Decoded { stream: StreamId::ONLY, consumed, event, end: true }
}
