//! The codec that faces a server: encodes requests, decodes responses.

use super::decoder_state::{self, DecoderState};
use super::encode::{self, Writing};
use super::frame::Frame;
use super::lenient::{self, Leniency};
use super::{HeadLimits, body, head, head_end};
use crate::http::{
    After, Codec, Decoded, Fault, Fields, Framing, Method, Persistence, RequestHead, ResponseHead, Sink,
    StreamId,
};

#[derive(Default)]
pub struct BackendCodec {
    reading: DecoderState,
    writing: Writing,
    asked: Asked,
    leniency: Leniency,
    /// An empty line was skipped before the next status line.
    skipped: bool,
}

/// Properties of the request that change how its response is parsed.
#[derive(Default, Clone, Copy)]
struct Asked {
    is_head: bool,
    upgrade: bool,
}

impl BackendCodec {
    /// `strict`: no leniency for the server.
    pub fn new(strict: bool) -> BackendCodec {
        BackendCodec { leniency: Leniency::new(strict), ..BackendCodec::default() }
    }

    /// Writes a request head, always as HTTP/1.1. Trailers are dropped unless `pass_trailers` follows: some servers
    /// do not read them and take them for the next request.
    pub fn encode_head(&mut self, head: &RequestHead, persistence: Persistence, out: &mut impl Sink) {
        encode::request_head(head, persistence.into(), out);
        self.writing = Writing::start(head.framing, true);
        self.asked =
            Asked { is_head: head.method == Method::Head, upgrade: persistence == Persistence::Upgrade };
    }

    /// The server reads trailers: forwards those that have no meaning in a head, unless the head's Connection
    /// nominates fields.
    pub fn pass_trailers(&mut self, head: &RequestHead) {
        self.writing = Writing::start(head.framing, head.nominates);
    }

    fn decode_head(
        &mut self,
        (mut scanned, begun): (u32, bool),
        input: &[u8],
        eof: bool,
        limits: &HeadLimits,
        head: &mut ResponseHead,
    ) -> Result<Option<Decoded>, Fault> {
        // What cannot become a response (another protocol's greeting) is refused at once.
        const NAME: &[u8] = b"HTTP/";
        let seen = input.len().min(NAME.len());
        if input[..seen] != NAME[..seen] {
            return self.skip_empty_line(input, eof);
        }
        // The fast path: nearly every head is complete and valid when it is first seen.
        if scanned == 0 {
            let seen = &input[..input.len().min(limits.bytes)];
            if let Ok(Some(len)) = head::response(seen, limits.fields, self.asked.is_head, head) {
                return self.take_head(len, head).map(Some);
            }
        }
        let end = match self.leniency.is_strict() {
            true => head_end::section_end(input, &mut scanned, limits.bytes)?,
            false => head_end::loose_end(input, &mut scanned, limits.bytes)?,
        };
        match end {
            None if eof && (begun || !input.is_empty()) => Err(Fault::CutHead),
            None => {
                self.reading = DecoderState::Head { scanned, begun };
                Ok(None)
            }
            Some(len) => {
                let raw = &input[..len];
                if let Err(fault) = head::whole_response(raw, limits.fields, self.asked.is_head, head) {
                    lenient::response(raw, fault, self.asked.is_head, limits, &mut self.leniency, head)?;
                }
                self.take_head(len, head).map(Some)
            }
        }
    }

    /// At most one empty line is allowed before a status line: some servers send one after a body without counting
    /// it.
    fn skip_empty_line(&mut self, input: &[u8], eof: bool) -> Result<Option<Decoded>, Fault> {
        let len = match input {
            _ if self.skipped => return Err(Fault::StartLine),
            [b'\n', ..] => 1,
            [b'\r', b'\n', ..] => 2,
            [b'\r'] if !self.leniency.is_strict() => {
                return if eof { Err(Fault::CutHead) } else { Ok(None) };
            }
            _ => return Err(Fault::StartLine),
        };
        if !self.leniency.forgive() {
            return Err(Fault::StartLine);
        }
        self.skipped = true;
        Ok(body::nothing(len))
    }

    fn take_head(&mut self, len: usize, head: &mut ResponseHead) -> Result<Decoded, Fault> {
        self.skipped = false;
        head.keep_alive &= !self.leniency.was_used();
        match head.status {
            101 if !(self.asked.upgrade && head.upgrade) => Err(Fault::Status),
            101 => {
                self.reading = DecoderState::Done;
                Ok(decoder_state::head(len, false))
            }
            100..=199 => {
                self.reading = DecoderState::Head { scanned: 0, begun: true };
                Ok(decoder_state::head(len, false))
            }
            _ => Ok(self.reading.take_head(len, head.framing)),
        }
    }

    /// Turns both directions into a tunnel, after a 101 was accepted.
    pub fn switch(&mut self) {
        self.reading = DecoderState::TUNNEL;
        self.writing = Writing::Framed(Framing::Tunnel);
    }

    /// Whether leniency was needed: the connection must not be reused then.
    pub fn was_lenient(&self) -> bool {
        self.leniency.was_used()
    }
}

impl Codec for BackendCodec {
    type Head = ResponseHead;
    type Frame = Frame;

    /// At `eof`, `None` means that the input ends within a message.
    fn decode(
        &mut self,
        input: &[u8],
        eof: bool,
        limit: usize,
        limits: &HeadLimits,
        head: &mut ResponseHead,
        trailers: &mut Fields,
    ) -> Result<Option<Decoded>, Fault> {
        match self.reading {
            DecoderState::Head { scanned, begun } => {
                self.decode_head((scanned, begun), input, eof, limits, head)
            }
            _ => self.reading.step_body(input, eof, limit, trailers, &mut self.leniency),
        }
    }

    fn known_rest(&self, _: StreamId) -> u64 {
        self.reading.known_rest()
    }

    fn pass(&mut self, _: StreamId, n: u64) -> bool {
        self.reading.pass(n)
    }

    fn frame_body(&mut self, _: StreamId, len: usize) -> Frame {
        self.writing.frame(len)
    }

    /// Trailers are forwarded only in chunked framing, and only if enabled.
    fn encode_end(&mut self, _: StreamId, trailers: Option<&Fields>, out: &mut impl Sink) -> After {
        self.writing.end(trailers, out)
    }

    fn next_message(&mut self, _: StreamId) {
        *self = BackendCodec::new(self.leniency.is_strict());
    }
}
