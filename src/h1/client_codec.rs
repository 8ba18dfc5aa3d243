//! The codec that faces a client: decodes requests, encodes responses.

use super::decoder_state::DecoderState;
use super::encode::{self, ConnectionLine, Length, Writing};
use super::frame::Frame;
use super::grammar::TOKEN;
use super::lenient::Leniency;
use super::{HeadLimits, body, fault, framing, head, head_end};
use crate::http::{
    After, Codec, Decoded, Fault, Fields, Framing, Method, Persistence, RequestHead, ResponseHead, Sink,
    StreamId, Version,
};

#[derive(Default)]
pub struct ClientCodec {
    reading: DecoderState,
    writing: Writing,
}

/// Properties of a request that determine the framing of its response.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RequestFacts {
    pub version: Version,
    pub is_head: bool,
    pub is_connect: bool,
}

impl RequestFacts {
    pub fn of(head: &RequestHead) -> RequestFacts {
        RequestFacts {
            version: head.version,
            is_head: head.method == Method::Head,
            is_connect: head.method == Method::Connect,
        }
    }
}

impl ClientCodec {
    fn decode_head(
        &mut self,
        (mut scanned, begun): (u32, bool),
        input: &[u8],
        eof: bool,
        limits: &HeadLimits,
        head: &mut RequestHead,
    ) -> Result<Option<Decoded>, Fault> {
        // What cannot become a request (a TLS hello) is refused at once.
        if input.first().is_some_and(|first| !TOKEN.has(*first) && !matches!(first, b'\r' | b'\n')) {
            return Err(fault::of_no_request(input));
        }
        // The fast path: nearly every head is complete and valid when it is first seen.
        if scanned == 0
            && let Ok(Some(len)) = head::request(&input[..input.len().min(limits.bytes)], limits.fields, head)
        {
            return Ok(Some(self.reading.take_head(len, head.framing)));
        }
        let seen = &input[..input.len().min(limits.bytes)];
        head::check_request_line(seen, scanned as usize, head)?;
        let end =
            head_end::section_end(input, &mut scanned, limits.bytes).map_err(|fault| sharpen(fault, seen))?;
        match end {
            None if eof && !input.is_empty() => Err(Fault::CutHead),
            None => {
                self.reading = DecoderState::Head { scanned, begun };
                Ok(None)
            }
            // RFC 9112 section 2.2: one empty line before a request is ignored.
            Some(2) if begun => Err(Fault::StartLine),
            Some(2) => {
                self.reading = DecoderState::Head { scanned: 0, begun: true };
                Ok(body::nothing(2))
            }
            Some(len) => {
                head::whole_request(&input[..len], limits.fields, head)?;
                Ok(Some(self.reading.take_head(len, head.framing)))
            }
        }
    }

    /// Between messages, with no byte of the next head.
    pub fn is_between_messages(&self) -> bool {
        matches!(self.reading, DecoderState::Head { scanned: 0, .. })
    }

    /// Writes the head of the final response and decides its framing towards the client. A response delimited by
    /// close sets `Connection: close`.
    #[inline(always)]
    pub fn encode_head(
        &mut self,
        request: RequestFacts,
        head: &ResponseHead,
        persistence: Persistence,
        out: &mut impl Sink,
    ) -> (Framing, Persistence) {
        let framing = framing_to_client(request, head);
        let persistence = if framing == Framing::UntilClose { Persistence::Close } else { persistence };
        let connection = match (persistence, request.version) {
            (Persistence::Keep, Version::Http10) => ConnectionLine::KeepAlive,
            _ => persistence.into(),
        };
        encode::response_head(head, length_to_client(request, head, framing), connection, out);
        self.writing = Writing::start(framing, head.nominates);
        (framing, persistence)
    }

    /// Writes a 1xx other than 101; the final head follows.
    pub fn encode_interim(&mut self, head: &ResponseHead, out: &mut impl Sink) {
        encode::response_head(head, Length::Unstated, ConnectionLine::Unstated, out);
    }

    /// Writes the 101 and turns both directions into a tunnel.
    pub fn encode_switch(&mut self, head: &ResponseHead, out: &mut impl Sink) {
        encode::response_head(head, Length::Unstated, ConnectionLine::Upgrade, out);
        self.switch();
    }

    /// Turns both directions into a tunnel.
    pub fn switch(&mut self) {
        self.reading = DecoderState::TUNNEL;
        self.writing = Writing::Framed(Framing::Tunnel);
    }

    /// Whether closing the connection now shows the client that its response is cut: by an unfinished length or a
    /// missing last chunk. Otherwise the close would be taken for the end of the body.
    pub fn shows_cut(&self) -> bool {
        !matches!(self.writing, Writing::Framed(Framing::UntilClose | Framing::Tunnel))
    }
}

impl Codec for ClientCodec {
    type Head = RequestHead;
    type Frame = Frame;

    fn decode(
        &mut self,
        input: &[u8],
        eof: bool,
        limit: usize,
        limits: &HeadLimits,
        head: &mut RequestHead,
        trailers: &mut Fields,
    ) -> Result<Option<Decoded>, Fault> {
        match self.reading {
            DecoderState::Head { scanned, begun } => {
                self.decode_head((scanned, begun), input, eof, limits, head)
            }
            _ => self.reading.step_body(input, eof, limit, trailers, &mut Leniency::none()),
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

    /// Trailers are forwarded only in chunked framing.
    fn encode_end(&mut self, _: StreamId, trailers: Option<&Fields>, out: &mut impl Sink) -> After {
        self.writing.end(trailers, out)
    }

    fn next_message(&mut self, _: StreamId) {
        *self = ClientCodec::default();
    }
}

/// A head that exceeds its limit within the first line has a target that is too long.
fn sharpen(fault: Fault, seen: &[u8]) -> Fault {
    let is_one_line = || memchr::memchr(b'\n', seen).is_none();
    if fault == Fault::HeadTooLarge && is_one_line() { Fault::TargetTooLong } else { fault }
}

/// The framing of a response towards this client, independent of the server's.
fn framing_to_client(request: RequestFacts, head: &ResponseHead) -> Framing {
    match (head.framing, request.version) {
        _ if request.is_head || framing::is_bodiless(head.status) => Framing::None,
        // RFC 9112 section 6.3: after it the connection is a tunnel for the client, so it has no framing.
        _ if request.is_connect && head.status < 300 => Framing::UntilClose,
        (Framing::Exact(n), _) => Framing::Exact(n),
        (Framing::None, _) => Framing::Exact(0),
        (Framing::Chunked | Framing::UntilClose | Framing::Tunnel, Version::Http11) => Framing::Chunked,
        (Framing::Chunked | Framing::UntilClose | Framing::Tunnel, Version::Http10) => Framing::UntilClose,
    }
}

/// Answers to HEAD and 304s may state the length of the omitted body; 1xx and 204 may not.
fn length_to_client(request: RequestFacts, head: &ResponseHead, framing: Framing) -> Length {
    match (head.status, head.framing) {
        (100..=199 | 204, _) => Length::Unstated,
        (304, _) => Length::Received,
        (_, Framing::Exact(n)) if request.is_head => Length::Exact(n),
        _ if request.is_head => Length::Received,
        _ => Length::from(framing),
    }
}
