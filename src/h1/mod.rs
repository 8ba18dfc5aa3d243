//! Floor 3: the HTTP/1 wire format, without sockets and without a clock.
//!
//! Two codecs stand over the same parts. Each is handed the unread bytes of its connection and says what they
//! begin with; each writes heads and frames into a `Sink`. They are strict (RFC 9110, RFC 9112): what has two
//! readings is refused, and what is written is framed anew from what was understood. Servers, not clients, are forgiven
//! a few things that have one reading all the same (lenient).
//!
//! ```text
//!                Server: faces a client                         BackendCodec: faces a server
//!            decode requests  | encode responses            encode requests | decode responses
//!            -----------------+-----------------            ----------------+------------------
//!            Head (scan,      | encode_interim*             encode_head     | Head, after any number
//!             |    parse,     | encode_head                     |           |  |    of interim heads
//!             |    framing)   |     |                       frame_body*     |  |
//!            Body or tunnel   | frame_body*                     |           | Body, until close, tunnel
//!             |               |     |                       encode_end      |  |
//!            Done             | encode_end                      |           | Done
//!             |               |     |                           |           |  |
//!             +-- next_message -----+                           +-- next_message
//! ```
//!
//! | file | what it knows |
//! |---|---|
//! | scan | where a head that comes in pieces ends, resumed where the last look stopped |
//! | head, field_line | the grammar of a head, into spans |
//! | find, chunk | where a piece of a head ends, sixteen bytes at a time |
//! | notes | what the fields say that rsp must understand |
//! | fault | what is wrong with a head that has no reading |
//! | target | the four forms of a request target, and what a host may look like |
//! | options | what Connection, Upgrade and the version say about the connection |
//! | framing | RFC 9112 section 6.3 as one table for requests and one for responses |
//! | lenient | the second reading of a response head that has one reading only, though not the strict one |
//! | reading, body, chunked | the state between two calls of `decode` |
//! | encode, frame, trailers | heads, frames and trailers as bytes |
//! | server, client | the two codecs |

#![forbid(unsafe_code)]

mod backend_codec;
mod body;
mod chunk;
mod chunked;
mod client_codec;
mod connection_options;
mod decoder_state;
mod encode;
mod encode_fast;
mod fault;
mod field_line;
mod frame;
mod framing;
mod grammar;
mod head;
mod head_end;
mod lenient;
mod simd;
mod target;
mod trailers;
mod understood_fields;

#[cfg(test)]
mod tests;

pub use backend_codec::BackendCodec;
pub use client_codec::{ClientCodec, RequestFacts};
pub use encode::After;
pub use frame::Frame;
pub use target::is_authority as is_host;

/// What a sender of heads may make us keep at most: the config says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeadLimits {
    pub bytes: usize,
    pub fields: usize,
}

impl HeadLimits {
    /// Where the config says nothing.
    pub const REQUEST: HeadLimits = HeadLimits { bytes: 16 * 1024, fields: 100 };
    pub const RESPONSE: HeadLimits = HeadLimits::REQUEST.twice();

    /// Servers are trusted with more than clients.
    pub const fn twice(self) -> HeadLimits {
        HeadLimits { bytes: 2 * self.bytes, fields: 2 * self.fields }
    }
}

/// What a sender may make us keep at most besides.
pub mod limits {
    /// Fields of a trailer section.
    pub const TRAILER_FIELDS: usize = 100;
    /// Options in all Connection fields of a head.
    pub const OPTIONS: usize = crate::http::MOST_OPTIONS;
    /// Bytes of a trailer section.
    pub const TRAILERS: usize = 8 * 1024;
    /// Bytes of one chunk-size line behind its digits.
    pub const CHUNK_LINE: usize = 1024;
    /// Bytes of all chunk extensions of one message: they cost work and carry nothing.
    pub const EXTENSIONS: usize = 16 * 1024;
}
