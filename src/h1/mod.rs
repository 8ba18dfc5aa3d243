//! Floor 3: the HTTP/1 wire format, without sockets and without a clock.
//!
//! Two codecs share the same parts. Each decodes the unread bytes of its connection into events and encodes heads and
//! frames into a `Sink`. They are strict (RFC 9110, RFC 9112): ambiguous messages are refused, and everything written
//! is framed anew. For servers, not clients, a few unambiguous deviations are accepted (lenient).
//!
//! ```text
//!             ClientCodec: faces a client                       BackendCodec: faces a server
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
mod locate;
mod own_lines;
mod simd;
mod target;
mod trailers;
mod understood_fields;

#[cfg(test)]
mod tests;

pub use crate::http::{After, HeadLimits};
pub use backend_codec::BackendCodec;
pub use client_codec::{ClientCodec, RequestFacts};
pub use frame::Frame;
pub use locate::{Kind, locate};
pub use target::{is_authority as is_host, is_path, is_query};

/// Other limits on received bytes.
pub mod limits {
    /// Fields of a trailer section.
    pub const TRAILER_FIELDS: usize = 100;
    /// Options in all Connection fields of a head.
    pub const OPTIONS: usize = crate::http::MOST_OPTIONS;
    /// Bytes of a trailer section.
    pub const TRAILERS: usize = 8 * 1024;
    /// Bytes of one chunk-size line after its digits.
    pub const CHUNK_LINE: usize = 1024;
    /// Bytes of all chunk extensions of one message: they cost CPU and are dropped.
    pub const EXTENSIONS: usize = 16 * 1024;
}
