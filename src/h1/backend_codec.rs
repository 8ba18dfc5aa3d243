//! The codec that faces a server: encodes requests, decodes responses.

use super::decoder_state::{self, DecoderState};
use super::encode::{self, Writing};
use super::frame::Frame;
use super::lenient::{self, Leniency};
use super::{HeadLimits, body, head, head_end};
use crate::http::{Decoded, Fault, Fields, Framing, Method, Persistence, RequestHead, ResponseHead, Sink};

#[derive(Default)]
pub struct BackendCodec {
    reading: DecoderState,
    writing: Writing,
    asked: Asked,
    leniency: Leniency,
    /// An empty line stood where the next status line was to begin.
    skipped: bool,
}

/// What the request that is being answered changes about the reading of its response.
#[derive(Default, Clone, Copy)]
struct Asked {
    is_head: bool,
    upgrade: bool,
}

impl BackendCodec {
    /// `strict`: the server is forgiven nothing.
    pub fn new(strict: bool) -> BackendCodec {
        BackendCodec { leniency: Leniency::new(strict), ..BackendCodec::default() }
    }

    /// Writes a request head, always as HTTP/1.1. Trailers stay here unless `pass_trailers` follows: there are servers
    /// that leave them unread and take them for the next request.
    pub fn encode_head(&mut self, head: &RequestHead, persistence: Persistence, out: &mut impl Sink) {
        encode::request_head(head, persistence, out);
        self.writing = Writing::start(head.framing, true);
        self.asked =
            Asked { is_head: head.method == Method::Head, upgrade: persistence == Persistence::Upgrade };
    }

    /// The server reads trailers: those go on that mean nothing in a head, if the head's Connection names none.
    pub fn pass_trailers(&mut self, head: &RequestHead) {
        self.writing = Writing::start(head.framing, head.nominates);
    }

    /// What stands around the next `len` body bytes.
    pub fn frame_body(&mut self, len: usize) -> Frame {
        self.writing.frame(len)
    }

    /// Ends the request's body. Trailers go on only in chunked framing, and where they may.
    pub fn encode_end(&mut self, trailers: Option<&Fields>, out: &mut impl Sink) {
        self.writing.end(trailers, out);
    }

    /// What `input` begins with, or `None` while that takes more bytes (or more `limit`) to say. At `eof`, `None`
    /// means that not one byte of a response came; an interim response is followed by a final one or is cut.
    /// After a 101, `None` until `switch`.
    pub fn decode(
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

    fn decode_head(
        &mut self,
        (mut scanned, begun): (u32, bool),
        input: &[u8],
        eof: bool,
        limits: &HeadLimits,
        head: &mut ResponseHead,
    ) -> Result<Option<Decoded>, Fault> {
        // What cannot become a response (another protocol's greeting, say) is not waited for.
        const NAME: &[u8] = b"HTTP/";
        let seen = input.len().min(NAME.len());
        if input[..seen] != NAME[..seen] {
            return self.skip_empty_line(input, eof);
        }
        // Nearly every head is here as a whole the first time it is looked at, and has nothing wrong.
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

    /// Nothing but one empty line may stand in front of a status line: what a server sends behind a body, say, that it
    /// does not count as a part of it.
    #[cold]
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

    /// Makes a tunnel of both directions, after a 101 was accepted.
    pub fn switch(&mut self) {
        self.reading = DecoderState::TUNNEL;
        self.writing = Writing::Framed(Framing::Tunnel);
    }

    /// Bytes still to come of a body whose length is known: they may go past `decode`, if nothing looks at them.
    pub fn known_rest(&self) -> u64 {
        self.reading.known_rest()
    }

    /// Counts body bytes that went past `decode`; true if they were the last.
    pub fn pass(&mut self, n: u64) -> bool {
        self.reading.pass(n)
    }

    /// Whether the server was forgiven anything: nobody else may get what comes next on its connection.
    pub fn was_lenient(&self) -> bool {
        self.leniency.was_used()
    }

    pub fn next_message(&mut self) {
        *self = BackendCodec::new(self.leniency.is_strict());
    }
}
