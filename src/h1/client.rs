//! The codec that faces a server: encodes requests, decodes responses.

use super::encode::{self, Writing};
use super::frame::Frame;
use super::reading::{self, Reading};
use super::{head, limits, scan};
use crate::http::{Decoded, Fault, Fields, Framing, Method, Persistence, RequestHead, ResponseHead, Sink};

#[derive(Default)]
pub struct Client {
    reading: Reading,
    writing: Writing,
    asked: Asked,
}

/// What the request that is being answered changes about the reading of its response.
#[derive(Default, Clone, Copy)]
struct Asked {
    is_head: bool,
    upgrade: bool,
}

impl Client {
    /// Writes a request head, always as HTTP/1.1.
    pub fn encode_head(&mut self, head: &RequestHead, persistence: Persistence, out: &mut impl Sink) {
        encode::request_head(head, persistence, out);
        self.writing = Writing::start(head.framing, head.nominates);
        self.asked =
            Asked { is_head: head.method == Method::Head, upgrade: persistence == Persistence::Upgrade };
    }

    /// What stands around the next `len` body bytes.
    pub fn frame_body(&mut self, len: usize) -> Frame {
        self.writing.frame(len)
    }

    /// Ends the request's body. Trailers go on only in chunked framing.
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
        head: &mut ResponseHead,
        trailers: &mut Fields,
    ) -> Result<Option<Decoded>, Fault> {
        match self.reading {
            Reading::Head { scanned, begun } => self.decode_head(scanned, begun, input, eof, head),
            _ => self.reading.step_body(input, eof, limit, trailers),
        }
    }

    fn decode_head(
        &mut self,
        mut scanned: u32,
        begun: bool,
        input: &[u8],
        eof: bool,
        head: &mut ResponseHead,
    ) -> Result<Option<Decoded>, Fault> {
        // What cannot become a response (another protocol's greeting, say) is not waited for.
        const NAME: &[u8] = b"HTTP/";
        let seen = input.len().min(NAME.len());
        if input[..seen] != NAME[..seen] {
            return Err(Fault::StartLine);
        }
        // Nearly every head is here as a whole the first time it is looked at, and has nothing wrong.
        if scanned == 0 {
            let seen = &input[..input.len().min(limits::RESPONSE_HEAD)];
            if let Ok(Some(len)) = head::response(seen, self.asked.is_head, head) {
                return self.take_head(len, head).map(Some);
            }
        }
        match scan::section_end(input, &mut scanned, limits::RESPONSE_HEAD)? {
            None if eof && (begun || !input.is_empty()) => Err(Fault::CutHead),
            None => {
                self.reading = Reading::Head { scanned, begun };
                Ok(None)
            }
            Some(len) => {
                head::whole_response(&input[..len], self.asked.is_head, head)?;
                self.take_head(len, head).map(Some)
            }
        }
    }

    fn take_head(&mut self, len: usize, head: &ResponseHead) -> Result<Decoded, Fault> {
        match head.status {
            101 if !(self.asked.upgrade && head.upgrade) => Err(Fault::Status),
            101 => {
                self.reading = Reading::Done;
                Ok(reading::head(len, false))
            }
            100..=199 => {
                self.reading = Reading::Head { scanned: 0, begun: true };
                Ok(reading::head(len, false))
            }
            _ => Ok(self.reading.take_head(len, head.framing)),
        }
    }

    /// Makes a tunnel of both directions, after a 101 was accepted.
    pub fn switch(&mut self) {
        self.reading = Reading::TUNNEL;
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

    pub fn next_message(&mut self) {
        *self = Client::default();
    }
}
