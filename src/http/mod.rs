//! Floor 2: the words that every protocol of HTTP shares. A codec (HTTP/1 today) translates bytes into these
//! and back; the exchange and the script speak only these.

mod codec;
mod fault;
mod fields;
mod head;
mod name;
mod status;

pub use codec::{Decoded, Event, Framing, Persistence, Sink, StreamId};
pub use fault::Fault;
pub use fields::{Field, Fields, Span};
pub use head::{Method, OwnLines, RequestHead, ResponseHead, Scheme, Version};
pub use name::{Name, Names, is_same, is_word};
pub use status::reason_phrase;

/// Options that all Connection fields of a head may have together: each may name a field, with which all are compared.
pub const MOST_OPTIONS: usize = 32;
