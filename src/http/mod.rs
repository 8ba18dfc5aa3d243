//! Floor 2: the vocabulary that all HTTP versions share. A codec (HTTP/1 today) translates between bytes and these;
//! the exchange and the script know only these.

mod codec;
mod fault;
mod fields;
mod head;
mod name;
mod pairs;
mod protected_names;
mod status;

pub use codec::{After, Codec, Decoded, Event, Framing, HeadLimits, Persistence, Sink, StreamId};
pub use fault::Fault;
pub use fields::{Field, Fields, Span};
pub use head::{CodecNote, Method, RequestHead, ResponseHead, Scheme, Version};
pub use name::{Name, Names, is_same, is_word};
pub use pairs::{arguments, cookies, keep_alive_timeout, percent_decode, remove_cookie, set_cookie};
pub use protected_names::is_protected;
pub use status::reason_phrase;

/// Limit on the options of all Connection fields of a head: each may name a field and is compared with all of them.
pub const MOST_OPTIONS: usize = 32;
