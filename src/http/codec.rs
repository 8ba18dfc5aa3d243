//! The contract between a codec and everything above it.
//!
//! A codec is sans-IO: it is handed the unread bytes of a connection and says which event they begin with and
//! how many of them that used up. It may be called at any split of the bytes; until an event is complete it
//! says `None` and keeps only where it stopped looking. The heads and trailers themselves are written into
//! storage that the caller owns, so that nothing is allocated for a message.

use std::ops::Range;

/// One lane of a connection. HTTP/1 has one; HTTP/2 will number them.
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
    /// Stays open, which HTTP/1.1 need not say.
    Keep,
    /// Stays open, and says so: the answer to an HTTP/1.0 client that asked for it.
    KeepExplicit,
    /// Closes after this message.
    Close,
    /// `Connection: upgrade`.
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
