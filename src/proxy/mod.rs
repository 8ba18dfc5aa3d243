//! Floor 3: the PROXY protocol, versions 1 and 2, without sockets: the few bytes at the beginning of a connection
//! by which a proxy says for whom it was made (haproxy's doc/proxy-protocol.txt; section numbers here are its).
//!
//! A header is short and bounded, so there is no state between two looks: `read` is handed all that came so far
//! and looks from the front again. What cannot become a header any more is a fault at once; whatever follows a
//! header stays where it is for the codec.
//!
//! | file | what it knows |
//! |---|---|
//! | v1 | the text line: `PROXY TCP4 192.0.2.7 192.0.2.1 56324 80` |
//! | v2 | the binary block |
//! | write | both, as a sender |

#![forbid(unsafe_code)]

mod v1;
mod v2;
mod write;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;

pub use write::write;

/// What a sender may make us keep at most.
pub mod limits {
    /// Bytes of a version 1 line with its end (section 2.1).
    pub const LINE: usize = 107;
    /// Bytes behind the 16 fixed ones of version 2: addresses and extensions, which are passed over.
    pub const BLOCK: usize = 4096;
}

/// For whom a connection was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnBehalf {
    /// The proxy itself, a health check say: version 2's LOCAL.
    Itself,
    /// Somebody whose address it does not say, or says in a family that means nothing here: version 1's UNKNOWN,
    /// version 2's UNSPEC, datagrams, Unix sockets.
    Unknown,
    /// The client, and the address it connected to.
    Client { source: SocketAddr, destination: SocketAddr },
}

/// A whole header and how many bytes it took.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    pub on_behalf: OnBehalf,
    pub consumed: usize,
}

/// Why the first bytes of a connection are no PROXY header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// They are something else: HTTP, TLS, noise.
    NotProxy,
    /// A version 1 line against its grammar, or without an end within its bound.
    Line,
    /// A binary block that is not version 2.
    Version,
    /// A command that is neither LOCAL nor PROXY.
    Command,
    /// An address family or a protocol that version 2 does not know.
    Family,
    /// A block too short for its addresses, or longer than `limits::BLOCK`.
    Length,
}

impl Fault {
    /// One short phrase for the log.
    pub fn text(self) -> &'static str {
        match self {
            Fault::NotProxy => "no PROXY header",
            Fault::Line => "malformed PROXY line",
            Fault::Version => "unknown version in the PROXY header",
            Fault::Command => "unknown command in the PROXY header",
            Fault::Family => "unknown address family in the PROXY header",
            Fault::Length => "wrong length in the PROXY header",
        }
    }
}

/// The header at the front of all bytes a connection brought so far; `None` while it takes more of them to say.
pub fn read(input: &[u8]) -> Result<Option<Header>, Fault> {
    match input.first() {
        None => Ok(None),
        Some(b'P') => v1::read(input),
        Some(b'\r') => v2::read(input),
        Some(_) => Err(Fault::NotProxy),
    }
}
