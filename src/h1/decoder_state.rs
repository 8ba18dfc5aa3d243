//! The state of a codec between two calls of `decode`.
//!
//! ```text
//!   Head --whole head--> Body --last byte--> Done --next_message--> Head
//!     '---no body----------------------------^
//! ```

use super::body::BodyDecoder;
use super::lenient::Leniency;
use crate::http::{Decoded, Event, Fault, Fields, Framing, StreamId};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum DecoderState {
    /// Waiting for a head, whose first `scanned` bytes were scanned. `begun`: something that belongs to it came
    /// before (an empty line before a request, an interim response).
    Head {
        scanned: u32,
        begun: bool,
    },
    Body(BodyDecoder),
    /// The message is complete; further input waits.
    Done,
}

impl Default for DecoderState {
    fn default() -> DecoderState {
        DecoderState::Head { scanned: 0, begun: false }
    }
}

impl DecoderState {
    pub(super) const TUNNEL: DecoderState = DecoderState::Body(BodyDecoder::Rest);

    /// The state after a head with this body framing.
    fn after_head(framing: Framing) -> DecoderState {
        BodyDecoder::of(framing).map_or(DecoderState::Done, DecoderState::Body)
    }

    /// The event of a head of `len` bytes with this body framing.
    pub(super) fn take_head(&mut self, len: usize, framing: Framing) -> Decoded {
        *self = DecoderState::after_head(framing);
        head(len, *self == DecoderState::Done)
    }

    /// Body bytes left, if the length is known.
    pub(super) fn known_rest(&self) -> u64 {
        match self {
            DecoderState::Body(BodyDecoder::Exact(left)) => *left,
            _ => 0,
        }
    }

    /// Counts body bytes that bypassed `decode`; true if they were the last.
    pub(super) fn pass(&mut self, n: u64) -> bool {
        if let DecoderState::Body(BodyDecoder::Exact(left)) = self {
            debug_assert!(n <= *left, "more passed than there was to come");
            *left = left.saturating_sub(n);
            if *left == 0 {
                *self = DecoderState::Done;
                return true;
            }
        }
        false
    }

    /// Decodes everything that is not a head.
    pub(super) fn step_body(
        &mut self,
        input: &[u8],
        eof: bool,
        limit: usize,
        trailers: &mut Fields,
        leniency: &mut Leniency,
    ) -> Result<Option<Decoded>, Fault> {
        let DecoderState::Body(body) = self else { return Ok(None) };
        let decoded = body.step(input, eof, limit, trailers, leniency)?;
        if decoded.as_ref().is_some_and(|decoded| decoded.end) {
            *self = DecoderState::Done;
        }
        Ok(decoded)
    }
}

pub(super) fn head(consumed: usize, end: bool) -> Decoded {
    Decoded { stream: StreamId::ONLY, consumed, event: Event::Head, end }
}
