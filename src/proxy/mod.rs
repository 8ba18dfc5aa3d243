//! Floor 3: the PROXY protocol, versions 1 and 2, without sockets: the bytes at the beginning of a connection with
//! which a proxy states the client (haproxy's doc/proxy-protocol.txt; section numbers refer to it).
//!
//! A header is short and bounded, so parsing keeps no state: `read` is given all bytes received so far and starts
//! from the front. Bytes that cannot become a header are an error at once; bytes after a header are left for the
//! codec.

#![forbid(unsafe_code)]

mod v1;
mod v2;
mod write;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;

pub use write::write;

/// What a sender can make us buffer at most.
pub mod limits {
    /// Bytes of a version 1 line with its CRLF (section 2.1).
    pub const LINE: usize = 107;
    /// Bytes after the 16 fixed ones of version 2: addresses and extensions; the latter are skipped.
    pub const BLOCK: usize = 4096;
}

/// The client of a connection, as the header states it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnBehalf {
    /// The proxy itself, such as a health check: version 2's LOCAL.
    Itself,
    /// Not stated, or in a family that rsp cannot use: version 1's UNKNOWN, version 2's UNSPEC, datagrams, Unix
    /// sockets.
    Unknown,
    /// The client, and the address it connected to.
    Client { source: SocketAddr, destination: SocketAddr },
}

/// A complete header and its length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    pub on_behalf: OnBehalf,
    pub consumed: usize,
}

/// Why the first bytes of a connection are not a PROXY header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeaderError {
    /// Another protocol: HTTP, TLS, noise.
    NotProxy,
    /// Malformed version 1 line, or no end within its limit.
    Line,
    /// A binary block that is not version 2.
    Version,
    /// A command that is neither LOCAL nor PROXY.
    Command,
    /// An address family or protocol unknown to version 2.
    Family,
    /// A block too short for its addresses, or longer than `limits::BLOCK`.
    Length,
}

impl HeaderError {
    /// A short phrase for the log.
    pub fn text(self) -> &'static str {
        match self {
            HeaderError::NotProxy => "no PROXY header",
            HeaderError::Line => "malformed PROXY line",
            HeaderError::Version => "unknown version in the PROXY header",
            HeaderError::Command => "unknown command in the PROXY header",
            HeaderError::Family => "unknown address family in the PROXY header",
            HeaderError::Length => "wrong length in the PROXY header",
        }
    }
}

/// Parses the header from all bytes received so far; `None` while more are needed.
pub fn read(input: &[u8]) -> Result<Option<Header>, HeaderError> {
    match input.first() {
        None => Ok(None),
        Some(b'P') => v1::read(input),
        Some(b'\r') => v2::read(input),
        Some(_) => Err(HeaderError::NotProxy),
    }
}
