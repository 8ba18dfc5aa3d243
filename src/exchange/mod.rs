//! Floor 4: one request and its response, pure. Heads come in and go out changed, failures become decisions,
//! and at the end stands a record. Nothing here names a wire protocol, a socket or a clock.

mod answer;
mod claims;
pub mod end;
mod failure;
mod hop;
mod id;
mod pair;
mod passage;
pub mod record;
mod retry;
mod rewrite;
pub mod tally;

pub use answer::{last_hop, plain, scripted};
pub use claims::{client as claimed_client, scheme as claimed_scheme};
pub use failure::Failure;
pub use id::{Id, Ids};
pub use pair::{Exchange, RequestHalf, ResponseHalf, ResponseStep};
pub use passage::{Passage, passage};
pub use retry::Next;
pub use rewrite::{
    Inbound, interim as rewrite_interim, request as rewrite_request, response as rewrite_response,
};
