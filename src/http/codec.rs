//! The contract between a codec and everything above it.
//!
//! A codec is sans-IO: it is handed the unread bytes of a connection and says which event they begin with and
//! how many of them that used up. It may be called at any split of the bytes; until an event is complete it
//! says `None` and keeps only where it stopped looking. The heads and trailers themselves are written into
//! storage that the caller owns, so that nothing is allocated for a message.

use std::ops::Range;

use super::{Fault, Fields};

/// One exchange of a connection. HTTP/1 has one at a time; HTTP/2 numbers them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StreamId(pub u32);

impl StreamId {
    pub const ONLY: StreamId = StreamId(0);
}

/// What the next bytes of a connection mean.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Bytes of framing only, or the end of a message alone.
    Nothing,
    /// A whole head; it stands in the head storage that was handed in.
    Head,
    /// Body bytes: this range of the input that was handed in.
    Body(Range<usize>),
    /// A trailer section; it stands in the trailer storage that was handed in. Always the end of a message.
    Trailers,
    /// The peer gives this stream up; the connection goes on. HTTP/1 has no such thing.
    Reset,
}

/// One decoded step: the event, how many bytes of the input it used (a body's bytes included) and whether the
/// message ends with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decoded {
    pub stream: StreamId,
    pub consumed: usize,
    pub event: Event,
    pub end: bool,
}

/// Limits on received heads; set by the config.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeadLimits {
    pub bytes: usize,
    pub fields: usize,
}

impl HeadLimits {
    /// The default for requests.
    pub const REQUEST: HeadLimits = HeadLimits { bytes: 16 * 1024, fields: 100 };
    pub const RESPONSE: HeadLimits = HeadLimits::REQUEST.twice();

    /// Responses may be twice as large.
    pub const fn twice(self) -> HeadLimits {
        HeadLimits { bytes: 2 * self.bytes, fields: 2 * self.fields }
    }
}

/// What happens to the connection after an encoded message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum After {
    /// The message is delimited by its own framing.
    Reusable,
    /// Only closing the connection ends the message, or shows that it was cut.
    MustClose,
}

/// What a connection's codec does, whatever the protocol. Everything but `decode` and `emit` is about one stream.
pub trait Codec {
    /// What it decodes: the head of a request, or of a response.
    type Head;
    /// What stands around a piece of a body.
    type Frame;

    /// The first event of `input`; `None` while more bytes (or a larger `limit`) are needed. `eof`: no more input
    /// will come. `limit`: how many body bytes may be returned now.
    fn decode(
        &mut self,
        input: &[u8],
        eof: bool,
        limit: usize,
        limits: &HeadLimits,
        head: &mut Self::Head,
        trailers: &mut Fields,
    ) -> Result<Option<Decoded>, Fault>;

    /// Writes bytes of its own that belong to no message (acknowledgements, settings); false if there are none.
    fn emit(&mut self, _out: &mut impl Sink) -> bool {
        false
    }

    /// Body bytes left, if the length is known: they may bypass `decode`.
    fn known_rest(&self, stream: StreamId) -> u64;

    /// Counts body bytes that bypassed `decode`; true if they were the last.
    fn pass(&mut self, stream: StreamId, n: u64) -> bool;

    /// The framing around the next `len` body bytes.
    fn frame_body(&mut self, stream: StreamId, len: usize) -> Self::Frame;

    /// Ends the body being written.
    fn encode_end(&mut self, stream: StreamId, trailers: Option<&Fields>, out: &mut impl Sink) -> After;

    /// Prepares for the next message of the connection.
    fn next_message(&mut self, stream: StreamId);
}

/// How the end of a message's body is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Framing {
    /// There is no body (and for a response, none may be written).
    #[default]
    None,
    /// Exactly this many bytes (Content-Length).
    Exact(u64),
    /// In chunks, perhaps with trailers.
    Chunked,
    /// Everything until the connection closes. Responses only.
    UntilClose,
    /// After a switch of protocols: bytes both ways until each side closes.
    Tunnel,
}

/// What a head says about the connection after this message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Persistence {
    /// Stays open.
    Keep,
    /// Closes after this message.
    Close,
    /// Becomes another protocol's.
    Upgrade,
}

/// Where encoded bytes go. Takes everything: bounds are kept by whoever calls.
pub trait Sink {
    fn put(&mut self, bytes: &[u8]);

    /// Lends free space in one piece to `write`, which says how many bytes it put there, so that not every piece
    /// has to look for room. False if nothing was put there; it is `put` then.
    fn fill(&mut self, write: impl FnOnce(&mut [u8]) -> Option<usize>) -> bool;
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn fill(&mut self, write: impl FnOnce(&mut [u8]) -> Option<usize>) -> bool {
        let start = self.len();
        self.resize(start + 4096, 0);
        let written = write(&mut self[start..]);
        self.truncate(start + written.unwrap_or(0));
        written.is_some()
    }
}
